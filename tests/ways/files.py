"""Files of the other ways to run the service, and the commands and variables that they name."""

import configparser
import re
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import ROOT

COMPOSE = ROOT / "compose.yaml"
DOCKERFILE = ROOT / "Dockerfile"
SET_UP = ROOT / ".github" / "actions" / "set-up" / "action.yml"
UNITS = sorted((ROOT / "deployments" / "systemd").glob("*.service"))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
SERVICE_WORKFLOWS = [path for path in WORKFLOWS if path.stem in ("analysis", "weekly-training")]
"""Workflows that run the service; the others check a change and make a release."""
PAGE = ROOT / "docs" / "other_ways.md"
SECRETS = ("NEON_CONN_STR", "TELEGRAM_BOT_TOKEN", "TELEGRAM_CHAT_ID")

Unit = dict[str, dict[str, list[str]]]


def read(path: Path) -> dict[Any, Any]:
    """A YAML file as plain values; YAML 1.1 reads a workflow's key `on` as True."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def steps(workflow: Path) -> list[dict[str, Any]]:
    """The steps of a workflow's only job; a job that calls another workflow has none."""
    (job,) = (job for job in read(workflow)["jobs"].values() if "steps" in job)
    return job["steps"]


class Repeated(dict):
    """A section in which a repeated key adds a value, as in systemd."""

    def __setitem__(self, key: str, value: Any) -> None:
        if isinstance(value, list) and isinstance(self.get(key), list):
            self[key].extend(value)
        else:
            super().__setitem__(key, value)


def unit(path: Path) -> Unit:
    """Section, key, and the key's values in order. Raises configparser.Error for an invalid unit file."""
    parser = configparser.RawConfigParser(
        dict_type=Repeated, strict=False, delimiters=("=",), comment_prefixes=("#",), default_section="none"
    )
    parser.optionxform = str  # type: ignore[assignment, method-assign]  # its keys have capitals
    parser.read_string(path.read_text(encoding="utf-8"), str(path))
    return {name: {key: value.split("\n") for key, value in parser[name].items()} for name in parser.sections()}


def code(path: Path) -> str:
    """The file without its comments."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return "\n".join(re.sub(r"(^|\s)#.*", "", line) for line in lines)


def commands_named(text: str) -> set[str]:
    """Every COMMAND of `hybrid-ml COMMAND`, `[hybrid-ml, COMMAND]` and `["hybrid-ml", "COMMAND"]`."""
    return set(re.findall(r"\bhybrid-ml\"?,? \"?([a-z]+)\b", text))
