"""Commands, flags and variables named in workflows, compose file, image, units and their page exist."""

import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from prefect.settings import Settings as PrefectSettings
from prefect.settings.legacy import _get_settings_fields

from hybrid_ml.config.settings import Settings
from tests.conftest import ROOT
from tests.ways.files import (
    COMPOSE,
    DOCKERFILE,
    PAGE,
    SERVICE_WORKFLOWS,
    UNITS,
    WORKFLOWS,
    code,
    commands_named,
    read,
    steps,
    unit,
)

FILES = [COMPOSE, DOCKERFILE, *UNITS, *WORKFLOWS]
COMMAND_LINES = re.findall(
    r"^\$ (?:.* )?(hybrid-ml [a-z].*?)(?: +#.*)?$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE
)
COMMANDS = sorted(
    {name for path in FILES for name in commands_named(code(path))} | {line.split()[1] for line in COMMAND_LINES}
)
OWN = {name.upper() for name in Settings.model_fields}
KNOWN = OWN | set(_get_settings_fields(PrefectSettings))


GROUPS = ("models", "symbols", "bars", "sessions")
"""Commands with sub-commands."""


@cache
def help_on(*command: str) -> str:
    program = Path(sys.executable).with_name("hybrid-ml")
    return subprocess.run([program, *command, "--help"], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_named_commands_exist(name: str) -> None:
    (commands,) = re.findall(r"\{([\w,]+)\}", help_on())[:1]
    assert name in commands.split(",")


def test_commands_to_operate_the_service_are_named() -> None:
    assert set(COMMANDS) >= {"up", "deploy", "worker", "bot", "migrate", "train", "analyze", "backfill"}


@pytest.mark.parametrize("path", SERVICE_WORKFLOWS, ids=lambda path: path.stem)
def test_flags_in_workflows_exist(path: Path) -> None:
    script = steps(path)[-1]["run"]
    ((command),) = commands_named(script)
    flags = set(re.findall(r"--\w+", script))
    assert flags
    assert flags <= set(re.findall(r"--\w+", help_on(command)))


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_flags_on_the_page_exist(line: str) -> None:
    _, command, *rest = shlex.split(line)
    words = [command, *rest[:1]] if command in GROUPS else [command]
    assert {word for word in rest if word.startswith("--")} <= set(re.findall(r"--\w+", help_on(*words)))


def test_preset_choices_of_the_workflow_equal_the_program() -> None:
    (analysis,) = (path for path in WORKFLOWS if path.stem == "analysis")
    preset = read(analysis)[True]["workflow_dispatch"]["inputs"]["preset"]
    assert f"{{{','.join(preset['options'])}}}" in help_on("analyze")


@pytest.mark.parametrize("path", [*FILES, PAGE], ids=lambda path: path.name)
def test_named_variables_exist(path: Path) -> None:
    variables = set(re.findall(r"\b(?:NEON|TELEGRAM|HYBRID_ML|PREFECT)_[A-Z_]+\b", path.read_text(encoding="utf-8")))
    assert variables - KNOWN <= {
        "PREFECT_AUTH_STRING",
        "PREFECT_PORT",
    }  # variables of the compose file, documented on the page


def test_page_lists_every_file_with_what_was_run() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for path in FILES:
        name = path.relative_to(ROOT).as_posix()
        assert f"| `{name}` |" in text
        assert re.search(r"not run|never", "\n".join(path.read_text().splitlines()[:4]), flags=re.IGNORECASE)
        assert "docs/other_ways.md" in "\n".join(path.read_text().splitlines()[:4])


def test_units_read_secrets_from_a_file() -> None:
    for path in UNITS:
        service = unit(path)["Service"]
        assert service["EnvironmentFile"] == ["/etc/hybrid-ml.env"]
        assert not {line.split("=")[0] for line in service["Environment"]} & {"NEON_CONN_STR", "TELEGRAM_BOT_TOKEN"}
