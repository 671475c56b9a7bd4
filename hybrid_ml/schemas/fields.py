"""Types of the fields of requests: their validation, and their appearance in the forms of the Prefect UI."""

import re
from datetime import UTC, date, datetime, time
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, WithJsonSchema

LONGEST_SYMBOL = 64
EARLIEST, LATEST = 1900, 2200
SYMBOL = re.compile(r"[^\s,@\[\]\x00-\x1f\x7f](?:[^,@\[\]\x00-\x1f\x7f]*[^\s,@\[\]\x00-\x1f\x7f])?")


def _symbols(value: Any) -> Any:
    """Split at commas, drop repetitions, refuse invalid names of symbols."""
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, (list, tuple)):
        return value
    return list(dict.fromkeys(_symbol(name) for name in value))


def _symbol(value: Any) -> str:
    """A name without surrounding blanks; refuse an invalid one."""
    name = value.strip() if isinstance(value, str) else ""
    if not SYMBOL.fullmatch(name) or len(name) > LONGEST_SYMBOL:
        raise ValueError(
            f"{value!r} cannot name a symbol: 1 to {LONGEST_SYMBOL} characters, no commas, @, brackets or control"
        )
    return name


def _moment(value: Any) -> datetime:
    """A time with its zone; without one it is UTC. A date is its first moment; a bare number is no time.

    Years without bars are refused too: dates have limits, and subtracting from the first ones would fail.
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
        pass  # the error is raised below, for every kind of invalid time
    if moment is None:
        raise ValueError(f"{value!r} is no time; write it like 2018-06-01T10:20 (UTC)")
    if not EARLIEST <= moment.year <= LATEST:
        raise ValueError(f"{moment.date()}: there are no bars of that year; choose one of {EARLIEST} to {LATEST}")
    return moment


NAME = {"type": "string", "minLength": 1, "maxLength": LONGEST_SYMBOL, "pattern": r"^[^,@\[\]]*$"}
"""The form's own check; `_symbol` refuses the rest."""
Symbol = Annotated[str, BeforeValidator(_symbol), WithJsonSchema(NAME)]
Symbols = Annotated[list[Annotated[str, WithJsonSchema(NAME)]], BeforeValidator(_symbols)]
Moment = Annotated[datetime, BeforeValidator(_moment)]


def _plain_inputs(schema: dict[str, Any]) -> None:
    """Make an optional field a single input of its form: a number, a date, a line of text.
    "A number or null" would become a choice between two kinds of input, and a violated bound would become
    "not valid under any of the given schemas". Prefect accepts null for any field that is neither required
    nor has a default in the schema, so both are removed.
    """
    for field in schema.get("properties", {}).values():
        kinds = [kind for kind in field.get("anyOf", []) if kind != {"type": "null"}]
        if len(kinds) == 1 and field.get("default") is None:
            field.update(kinds[0])
            del field["anyOf"]
            field.pop("default", None)


class BaseRequest(BaseModel):
    """The request of a run: a flow's parameter, its form, its flags."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_by_name=True, json_schema_extra=_plain_inputs)
