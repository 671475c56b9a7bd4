"""Writes docs/cli.md, the reference of every command and flag, from the models that the command line is made of."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import AliasChoices, BaseModel
from pydantic.fields import FieldInfo

from hybrid_ml.cli.__main__ import PROGRAM, Root

PAGE = Path(__file__).with_name("cli.md")
HEAD = f"""# Commands

Every command and flag of `{PROGRAM}`; `{PROGRAM} COMMAND --help` prints the same in a terminal. This page is made by
`make docs` from the models of the command line: change those, not the page.

- `python train_model.py`, `analyze.py`, `check_progressive_scaling.py` and `test_hybrid_ml.py` are `train`, `analyze`,
  `scaling` and `check`, with the same flags.
- A flag whose value is *yes or no* is written alone; `--no-` before its name turns it off.
- Times are UTC unless they state an offset: `2018-06-01`, `2018-06-01T10:20`, `2018-06-01T10:20+05:30`.
- `--json` prints one JSON document on standard output and nothing else there; logs go to standard error.
- Exit codes: 0 done; 1 something failed, and it is named; 2 a flag or value is not possible; 130 interrupted by Ctrl-C.
- The words are explained in the [glossary](glossary.md).
"""
UNITS = {"integer": "whole number", "number": "number", "boolean": "yes or no", "array": "names, comma separated"}
FORMATS = {"date-time": "time", "date": "date", "path": "path"}


def page() -> str:
    """The whole page as Markdown."""
    commands = list(_commands(Root))
    index = [f"| [`{name}`](#{_anchor(name)}) | {_cell(field.description or '')} |" for name, field, _ in commands]
    listing = ["| command | what it does |", "|---|---|", *index]
    return "\n".join([HEAD, *listing, *(_section(name, model) for name, _, model in commands)]) + "\n"


def _commands(parent: type[BaseModel], before: str = PROGRAM) -> Iterator[tuple[str, FieldInfo, type[BaseModel]]]:
    """Every command's full name, the field that states it and its model, parents before their children."""
    for name, field in parent.model_fields.items():
        models = [kind for kind in get_args(field.annotation) if inspect.isclass(kind) and issubclass(kind, BaseModel)]
        if models:
            full = f"{before} {field.alias or name}"
            yield full, field, models[0]
            yield from _commands(models[0], full)


def _anchor(name: str) -> str:
    return name.replace(" ", "-")


def _section(name: str, model: type[BaseModel]) -> str:
    """A command's heading, its text, its examples, and a table of its flags."""
    text, _, examples = inspect.getdoc(model).partition("examples:")  # type: ignore[union-attr]  # all have one
    lines = [line.strip() for line in examples.splitlines() if line.strip()]
    shown = ["```console", *(f"$ {line}" for line in lines), "```"] if lines else []
    rows = [] if any(_commands(model)) else _rows(model)
    flags = ["", "| flag | value | default | meaning |", "|---|---|---|---|", *rows] if rows else []
    return "\n".join([f"\n## {name}\n", text.strip(), *(["", *shown] if shown else []), *flags])


def _rows(model: type[BaseModel]) -> list[str]:
    properties = model.model_json_schema(by_alias=False).get("properties", {})
    return [_row(key, field, properties[key]) for key, field in model.model_fields.items()]


def _row(key: str, field: FieldInfo, schema: dict[str, Any]) -> str:
    alias = field.validation_alias
    names = alias.choices if isinstance(alias, AliasChoices) else [alias or key]
    flags = ", ".join(f"`--{name}`" for name in names)
    return f"| {flags} | {_value(schema)} | {_default(field)} | {_cell(field.description or '')} |"


def _value(schema: dict[str, Any]) -> str:
    """What may be given: the choices, or the kind of value with its bounds."""
    kind = next((each for each in schema.get("anyOf", []) if each != {"type": "null"}), schema)
    if "enum" in kind:
        return ", ".join(f"`{choice}`" for choice in kind["enum"])
    plain = FORMATS.get(kind.get("format", "")) or UNITS.get(kind["type"], "text")
    bounds = [
        f"{word} {kind[bound]:,}"
        for bound, word in (("minimum", "from"), ("exclusiveMinimum", "above"), ("maximum", "to"))
        if bound in kind
    ]
    return f"{plain}, {' '.join(bounds)}" if bounds else plain


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.default
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value in (None, [], "") else f"`{value}`"


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
