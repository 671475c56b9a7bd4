"""Prints the section of CHANGELOG.md for the version that a tag names: `python .github/release_notes.py v0.1.0`.

Ends with one line and exit code 1 where the tag is not the version of pyproject.toml and prefect.yaml, or where its
section is missing, empty or without a date.
"""

import re
import sys
import tomllib
from pathlib import Path

import yaml

HEADING = re.compile(r"^## (\d+\.\d+\.\d+), (.+)$", flags=re.MULTILINE)
DATE = re.compile(r"\d{4}-\d\d-\d\d")


def notes(tag: str, folder: Path) -> str:
    """The section's text without its heading; raises ValueError with the remedy."""
    version = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    if tag != f"v{version}":
        raise ValueError(f"tag {tag} is not version {version} of pyproject.toml; tag v{version}, or change the version")
    deployments = yaml.safe_load((folder / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    if others := sorted({str(deployment["version"]) for deployment in deployments} - {version}):
        raise ValueError(f"prefect.yaml has deployments of version {', '.join(others)}; write {version} there")
    changelog = (folder / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = list(HEADING.finditer(changelog))
    place = next((place for place, heading in enumerate(headings) if heading[1] == version), None)
    if place is None:
        raise ValueError(f"CHANGELOG.md has no section {version}; add `## {version}, YYYY-MM-DD`")
    if not DATE.fullmatch(headings[place][2]):
        raise ValueError(f"section {version} of CHANGELOG.md is {headings[place][2]}; write its date, YYYY-MM-DD")
    end = headings[place + 1].start() if place + 1 < len(headings) else len(changelog)
    text = changelog[headings[place].end() : end].strip()
    if not text:
        raise ValueError(f"section {version} of CHANGELOG.md is empty; write what changed")
    return text


if __name__ == "__main__":
    try:
        sys.stdout.write(notes(sys.argv[1] if len(sys.argv) > 1 else "", Path.cwd()) + "\n")
    except ValueError as problem:
        sys.stderr.write(f"release: {problem}\n")
        raise SystemExit(1) from None
