"""Every command, flag and variable that a workflow, the compose file, the image, a unit or their page names exists."""

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
TYPED = re.findall(r"^\$ (?:.* )?(hybrid-ml [a-z].*?)(?: +#.*)?$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
NAMED = sorted({name for path in FILES for name in commands_named(code(path))} | {line.split()[1] for line in TYPED})
OWN = {name.upper() for name in Settings.model_fields}
KNOWN = OWN | set(_get_settings_fields(PrefectSettings))


@cache
def help_on(*command: str) -> str:
    program = Path(sys.executable).with_name("hybrid-ml")
    return subprocess.run([program, *command, "--help"], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("name", NAMED)
def test_the_program_has_every_command(name: str) -> None:
    (commands,) = re.findall(r"\{([\w,]+)\}", help_on())[:1]
    assert name in commands.split(",")


def test_they_are_the_commands_to_operate_it() -> None:
    assert set(NAMED) >= {"up", "deploy", "worker", "bot", "migrate", "train", "analyze", "backfill"}


@pytest.mark.parametrize("path", SERVICE_WORKFLOWS, ids=lambda path: path.stem)
def test_the_commands_of_a_workflow_have_its_flags(path: Path) -> None:
    script = steps(path)[-1]["run"]
    ((command),) = commands_named(script)
    flags = set(re.findall(r"--\w+", script))
    assert flags
    assert flags <= set(re.findall(r"--\w+", help_on(command)))


@pytest.mark.parametrize("line", TYPED)
def test_the_commands_of_the_page_have_their_flags(line: str) -> None:
    _, command, *rest = shlex.split(line)
    assert {word for word in rest if word.startswith("--")} <= set(re.findall(r"--\w+", help_on(command)))


def test_the_choices_of_the_form_are_those_of_the_program() -> None:
    (analysis,) = (path for path in WORKFLOWS if path.stem == "analysis")
    preset = read(analysis)[True]["workflow_dispatch"]["inputs"]["preset"]
    assert f"{{{','.join(preset['options'])}}}" in help_on("analyze")


@pytest.mark.parametrize("path", [*FILES, PAGE], ids=lambda path: path.name)
def test_every_variable_is_known_to_the_program_or_to_prefect(path: Path) -> None:
    named = set(re.findall(r"\b(?:NEON|TELEGRAM|HYBRID_ML|PREFECT)_[A-Z_]+\b", path.read_text(encoding="utf-8")))
    assert named - KNOWN <= {"PREFECT_AUTH_STRING", "PREFECT_PORT"}  # the compose file's own, explained on the page


def test_the_page_says_of_every_file_what_was_run() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for path in FILES:
        name = path.relative_to(ROOT).as_posix()
        assert f"| `{name}` |" in text
        assert re.search(r"not run|never", "\n".join(path.read_text().splitlines()[:4]), flags=re.IGNORECASE)
        assert "docs/other_ways.md" in "\n".join(path.read_text().splitlines()[:4])


def test_units_read_their_secrets_from_a_file() -> None:
    for path in UNITS:
        service = unit(path)["Service"]
        assert service["EnvironmentFile"] == ["/etc/hybrid-ml.env"]
        assert not {line.split("=")[0] for line in service["Environment"]} & {"NEON_CONN_STR", "TELEGRAM_BOT_TOKEN"}
