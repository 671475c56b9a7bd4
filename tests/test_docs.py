"""The documents are tested: commands, flags, links and variables they name exist."""

import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from hybrid_ml.settings import Settings
from tests.conftest import ROOT, Command

README = (ROOT / "README.md").read_text(encoding="utf-8")
ENVIRONMENT = (ROOT / ".env.example").read_text(encoding="utf-8")
SCRIPTS = {
    "train_model.py": "train",
    "analyze.py": "analyze",
    "check_progressive_scaling.py": "scaling",
    "test_hybrid_ml.py": "check",
}
PROJECT_COMMANDS = re.findall(r"^\$ ((?:hybrid-ml|python \w+\.py)[^#\n]*)", README, flags=re.MULTILINE)


@cache
def flags_of(*command: str) -> frozenset[str]:
    program = Path(sys.executable).with_name("hybrid-ml")
    done = subprocess.run([program, *command, "--help"], capture_output=True, text=True, check=True)
    return frozenset(re.findall(r"--\w+", done.stdout))


@pytest.mark.parametrize("line", PROJECT_COMMANDS)
def test_every_command_in_readme_exists_with_its_flags(line: str) -> None:
    program, name, *rest = shlex.split(line)
    if program == "python":
        assert (ROOT / name).is_file()
        name = SCRIPTS[name]
    command = (name, rest[0]) if name == "models" else (name,)
    assert {word for word in rest if word.startswith("--")} <= flags_of(*command)


def test_readme_shows_the_commands_users_know() -> None:
    assert len(PROJECT_COMMANDS) >= 7
    assert "make demo" in README
    assert "make test" in README


@pytest.mark.parametrize(
    "page", ["README.md", "CHANGELOG.md", "docs/architecture.md", "docs/results.md", "docs/review.md"]
)
def test_every_link_to_a_file_leads_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []


def test_every_setting_is_documented_and_nothing_else() -> None:
    known = {name.upper() for name in Settings.model_fields}
    assert set(re.findall(r"^([A-Z_]+)=", ENVIRONMENT, flags=re.MULTILINE)) == known
    assert {name for name in known if f"`{name}`" not in README} == set()


def test_help_lists_every_command(command: Command) -> None:
    done = command("--help")
    assert done.returncode == 0
    for name in (*SCRIPTS.values(), "backfill", "review", "models", "migrate", "demo"):
        assert name in done.stdout


def test_locks_hold_hashes_and_no_addresses() -> None:
    for lock in ROOT.glob("requirements*.lock"):
        text = lock.read_text()
        assert "://" not in text
        pins = re.findall(r"^[\w.-]+(?:\[[\w,-]+\])?==", text, flags=re.MULTILINE)
        assert pins
        assert text.count("--hash=sha256:") >= len(pins)
