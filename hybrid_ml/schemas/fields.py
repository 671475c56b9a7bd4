"""Kinds of field that requests are made of: what each takes, and how it looks in the forms of the Prefect UI."""

import re
from datetime import UTC, date, datetime, time
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, WithJsonSchema

LONGEST_SYMBOL = 64
EARLIEST, LATEST = 1900, 2200
SYMBOL = re.compile(r"[^\s,@\[\]\x00-\x1f\x7f](?:[^,@\[\]\x00-\x1f\x7f]*[^\s,@\[\]\x00-\x1f\x7f])?")


def _symbols(value: Any) -> Any:
    """Split at commas, drop repetitions, refuse what cannot name a symbol."""
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, (list, tuple)):
        return value
    return list(dict.fromkeys(_symbol(name) for name in value))


def _symbol(value: Any) -> str:
    """A name without the blanks around it; refuse what cannot name a symbol."""
    name = value.strip() if isinstance(value, str) else ""
    if not SYMBOL.fullmatch(name) or len(name) > LONGEST_SYMBOL:
        raise ValueError(
            f"{value!r} cannot name a symbol: 1 to {LONGEST_SYMBOL} characters, no commas, @, brackets or control"
        )
    return name


def _moment(value: Any) -> datetime:
    """A time with its zone; without one it is UTC. A date is its first moment; a bare number is no time.

    Refused too is a year that no bars are of: a calendar ends, and looking back from its first day would fail.
    """
    moment = None
    try:
        if isinstance(value, str) and re.match(r"\s*(\d{4}-\d\d|\d{8}T)", value):
            value = datetime.fromisoformat(value.strip())
        elif isinstance(value, date) and not isinstance(value, datetime):
            value = datetime.combine(value, time())
        if isinstance(value, datetime):
            moment = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except (ValueError, OverflowError):
        pass  # said below, for every way of not being a time
    if moment is None:
        raise ValueError(f"{value!r} is no time; write it like 2018-06-01T10:20 (UTC)")
    if not EARLIEST <= moment.year <= LATEST:
        raise ValueError(f"{moment.date()}: no bars are of that year; give one of {EARLIEST} to {LATEST}")
    return moment


NAME = {"type": "string", "minLength": 1, "maxLength": LONGEST_SYMBOL, "pattern": r"^[^,@\[\]]*$"}
"""What the form refuses at once; `_symbol` refuses the rest."""
Symbol = Annotated[str, BeforeValidator(_symbol), WithJsonSchema(NAME)]
Symbols = Annotated[list[Annotated[str, WithJsonSchema(NAME)]], BeforeValidator(_symbols)]
Moment = Annotated[datetime, BeforeValidator(_moment)]


def _plain_inputs(schema: dict[str, Any]) -> None:
    """Let a field that may be left empty be one input of its form: a number, a date, a line of text.

    "A number or null" becomes a choice between two kinds of input there, and a bound that is broken becomes
    "not valid under any of the given schemas". Prefect takes null for any field that is neither required
    nor has a default in the schema, so both go.
    """
    for field in schema.get("properties", {}).values():
        kinds = [kind for kind in field.get("anyOf", []) if kind != {"type": "null"}]
        if len(kinds) == 1 and field.get("default") is None:
            field.update(kinds[0])
            del field["anyOf"]
            field.pop("default", None)


class BaseRequest(BaseModel):
    """What a run is asked: a flow's parameter, its form, its flags."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_by_name=True, json_schema_extra=_plain_inputs)
