"""The documentation: the commands, flags, links and variables that it names exist."""

import re
import runpy
import shlex
from contextlib import redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path

import pytest

from hybrid_ml.cli.__main__ import main
from hybrid_ml.config.settings import Settings
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
ENVIRONMENT = (ROOT / ".env.example").read_text(encoding="utf-8")
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
MAX_WORDS_OF_README = 900
SCRIPTS = {
    "train_model.py": "train",
    "analyze.py": "analyze",
    "check_progressive_scaling.py": "scaling",
    "test_hybrid_ml.py": "check",
}
SHELL_LINE = re.compile(r"^ *\$ (?:[A-Z_]+=\S+ )*((?:hybrid-ml|python (?:bench/)?\w+\.py)[^#\n]*)", flags=re.MULTILINE)
INLINE_CODE = re.compile(r"`(?:[A-Z_]+=\S+ )*((?:hybrid-ml|python (?:bench/)?\w+\.py)[^`]*)`")


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def commands_in(text: str) -> list[str]:
    """Commands of this project: lines of a terminal, and inline code with flags."""
    inline = [line for line in INLINE_CODE.findall(text) if "--" in line and "…" not in line]
    return [line.strip() for line in [*SHELL_LINE.findall(text), *inline]]


PROJECT_COMMANDS = commands_in(README)
ALL_COMMANDS = sorted({line for page in PAGES for line in commands_in(text_of(page))})


@cache
def flags_of(*command: str) -> frozenset[str]:
    return frozenset(re.findall(r"--\w+", help_text(*command)))


@cache
def help_text(*command: str) -> str:
    """What `hybrid-ml COMMAND --help` prints; in this process, as there are as many commands as pages name."""
    with redirect_stdout(StringIO()) as output, pytest.raises(SystemExit) as end:
        main([*command, "--help"])
    assert not end.value.code
    return output.getvalue()


@pytest.mark.parametrize("line", ALL_COMMANDS)
def test_shown_commands_and_their_flags_exist(line: str) -> None:
    program, name, *rest = shlex.split(line)
    if name == "COMMAND":
        return
    flags = {word for word in rest if word.startswith("--")}
    if program == "python":
        assert (ROOT / name).is_file()
        if name.startswith("bench/"):
            source = (ROOT / name).read_text(encoding="utf-8") + (ROOT / "bench" / "common.py").read_text(
                encoding="utf-8"
            )
            assert {flag for flag in flags if f'"{flag}"' not in source} == set()
            return
        name = SCRIPTS[name]
    command = (name, rest[0]) if name in ("models", "symbols", "bars", "sessions") else (name,)
    assert flags <= flags_of(*command)


def test_readme_shows_the_main_commands() -> None:
    assert len(PROJECT_COMMANDS) >= 7
    assert "make demo" in README
    assert "make test" in README


def test_readme_has_at_most_900_words() -> None:
    assert len(README.split()) <= MAX_WORDS_OF_README


@pytest.mark.parametrize("page", PAGES)
def test_shown_make_targets_exist(page: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    known = set(re.findall(r"^([a-z]+):", makefile, flags=re.MULTILINE))
    shown = re.findall(r"(?:^ *\$ |`)make (?:[A-Z_]+=\S+ )*([a-z]+)", text_of(page), flags=re.MULTILINE)
    assert {name for name in shown if name not in known} == set()


def anchor_of(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    words = re.sub(r"[`*]", "", heading.strip().lower())
    return re.sub(r"[^\w\- ]", "", words).replace(" ", "-")


def anchors_of(path: Path) -> set[str]:
    without_code = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return {anchor_of(heading) for heading in re.findall(r"^#+ (.+)$", without_code, flags=re.MULTILINE)}


@pytest.mark.parametrize("page", PAGES)
def test_links_to_files_and_anchors_resolve(page: str) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (ROOT / page).parent / name if name else ROOT / page
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            broken.append(link)
    assert broken == []


def test_cli_page_equals_generator_output() -> None:
    """`make docs` generates it."""
    assert text_of("docs/cli.md") == runpy.run_path(str(ROOT / "docs" / "make_cli.py"))["page"]()


def test_benchmarks_page_equals_generator_output() -> None:
    """`make docs` writes it again."""
    module = runpy.run_path(str(ROOT / "docs" / "make_benchmarks.py"))
    assert text_of("docs/benchmarks.md") == module["page"]()
    assert {path.stem for path in (ROOT / "docs" / "benchmarks").glob("*.json")} <= set(module["programs"]())


def test_cli_page_has_every_command_and_flag_of_help() -> None:
    sections = re.findall(
        r"^## hybrid-ml ([\w ]+)\n(.*?)(?=^## |\Z)", text_of("docs/cli.md"), flags=re.DOTALL | re.MULTILINE
    )
    (names,) = re.findall(r"\{([\w,]+)\}", help_text())[:1]
    assert {name for name, _ in sections if " " not in name} == set(names.split(","))
    for name, section in sections:
        stated = set(re.findall(r"`(--\w+)`", section))
        assert stated == {flag for flag in flags_of(*name.split()) if flag not in ("--help", "--no")}


TERMS = re.findall(r"^### (.+)\n\n((?:.+\n)+)", text_of("docs/glossary.md"), flags=re.MULTILINE)


def test_glossary_has_one_entry_of_at_most_two_sentences_per_term() -> None:
    names = [name for name, _ in TERMS]
    assert len(names) == len(set(names)) == text_of("docs/glossary.md").count("\n### ")
    for name, meaning in TERMS:
        without_source = re.sub(r"\(Sources? ?.*?\)$", "", meaning.strip(), flags=re.DOTALL)
        assert 1 <= len(re.findall(r"[.!?](?=\s|$)", without_source)) <= 2, name


def test_glossary_is_in_alphabetical_order() -> None:
    names = [name.casefold() for name, _ in TERMS]
    assert names == sorted(names)


@pytest.mark.parametrize("page", [page for page in PAGES if page not in ("CHANGELOG.md", "docs/glossary.md")])
def test_every_page_links_the_glossary(page: str) -> None:
    assert "glossary.md" in text_of(page)


def test_every_page_is_linked_from_readme() -> None:
    assert [page for page in PAGES if page != "README.md" and f"]({page}" not in README] == []


def test_env_example_and_configuration_page_list_exactly_all_settings() -> None:
    known = {name.upper() for name in Settings.model_fields}
    configuration = text_of("docs/configuration.md")
    assert set(re.findall(r"^([A-Z_]+)=", ENVIRONMENT, flags=re.MULTILINE)) == known
    assert {name for name in known if f"`{name}`" not in configuration} == set()


@pytest.mark.parametrize("page", PAGES)
def test_settings_named_in_pages_exist(page: str) -> None:
    named = set(re.findall(r"\bHYBRID_ML_[A-Z_]*[A-Z]\b", text_of(page)))
    assert named <= {name.upper() for name in Settings.model_fields}


def test_help_lists_every_command() -> None:
    for name in (*SCRIPTS.values(), "backfill", "review", "models", "migrate", "demo"):
        assert name in help_text()


def test_requirement_locks_have_hashes_and_no_urls() -> None:
    for lock in ROOT.glob("requirements*.lock"):
        text = lock.read_text()
        assert "://" not in text
        pins = re.findall(r"^[\w.-]+(?:\[[\w,-]+\])?==", text, flags=re.MULTILINE)
        assert pins
        assert text.count("--hash=sha256:") >= len(pins)
