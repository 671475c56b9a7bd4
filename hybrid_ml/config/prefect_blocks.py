"""Configuration in the Prefect UI: what its blocks and its Variable offer, read without knowing Prefect."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from hybrid_ml.config.overrides import SettingOverride
from hybrid_ml.config.thresholds import THRESHOLDS, Thresholds, setting_of
from hybrid_ml.errors import BadInput

DATABASE_BLOCK = "hybrid-ml-database"
SECRET_BLOCKS = {
    "telegram-bot-token": "telegram_bot_token",
    "telegram-chat-id": "telegram_chat_id",
    "hybrid-ml-sql-feed-url": "hybrid_ml_sql_feed_url",
}
"""Secret blocks, and the settings they offer."""
BLOCK_TYPES = {DATABASE_BLOCK: "sqlalchemy-connector", **dict.fromkeys(SECRET_BLOCKS, "secret")}
TYPE_NAMES = {"sqlalchemy-connector": "SQLAlchemy Connector", "secret": "Secret"}
"""Types of blocks: the slug, and what the UI calls it."""
THRESHOLDS_VARIABLE = "hybrid_ml_thresholds"

SYNC_DRIVERS = {"psycopg2", "psycopg", "pg8000", "psycopg2cffi", "pypostgresql", "pygresql"}
"""All of them mean the same address; the program connects by psycopg2."""
WANTED_DRIVER = "choose driver postgresql+psycopg2"
CONNECTION_PARTS = ("username", "password", "host", "port", "database", "query")
LONGEST_SHOWN = 60


@dataclass(frozen=True)
class Block:
    """One block as the server keeps it, its secrets in the clear."""

    name: str
    type_slug: str
    data: dict[str, Any] = field(repr=False)

    @property
    def label(self) -> str:
        return f"block {self.name}"


def offers_of(blocks: Sequence[Block], thresholds: Any) -> dict[str, SettingOverride]:
    """What is offered for which setting; `thresholds`: the Variable's value, {} where there is none.

    An empty Secret overrides nothing. Raises BadInput, naming block or Variable and what to change, never a secret.
    """
    overrides = _threshold_overrides(thresholds)
    for name, wanted in BLOCK_TYPES.items():
        found = {block.type_slug: block for block in blocks if block.name == name}
        if found and wanted not in found:
            other = ", ".join(sorted(found))
            raise BadInput(f"block {name} is of type {other}; make one of type {TYPE_NAMES[wanted]} by that name")
        if found:
            block = found[wanted]
            setting = SECRET_BLOCKS.get(name, "neon_conn_str")
            value = _secret(block) if name in SECRET_BLOCKS else _address(block)
            overrides |= {setting: SettingOverride(value, block.label)} if value else {}
    return overrides


def _secret(block: Block) -> str:
    """Its text without blanks around it; a number is text as well."""
    value = block.data.get("value")
    if value is None or (isinstance(value, str | int) and not isinstance(value, bool)):
        return "" if value is None else str(value).strip()
    raise BadInput(f"{block.label} holds a {type(value).__name__}; write its value as plain text")


def _address(block: Block) -> str:
    """The block's connection as one address for psycopg2; connection arguments become part of it."""
    url = _url(block)
    dialect, _, driver = url.drivername.partition("+")
    if dialect not in ("postgres", "postgresql"):
        raise BadInput(f"{block.label} is for {dialect}; hybrid-ml needs PostgreSQL: {WANTED_DRIVER}")
    if driver and driver not in SYNC_DRIVERS:
        raise BadInput(f"{block.label} has the driver {url.drivername}, which cannot be used here: {WANTED_DRIVER}")
    if not (url.host or url.query.get("host")) or not url.database:
        raise BadInput(f"{block.label} names no host or no database; fill both in")
    arguments = block.data.get("connect_args") or {}
    for name, value in arguments.items():
        if not isinstance(value, str | int | float):
            raise BadInput(f"{block.label}: connection argument {name} is neither text nor a number; take it out")
    url = url.update_query_dict({name: str(value) for name, value in arguments.items()})
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


def _url(block: Block) -> URL:
    """From the components in the block, or from the address in it."""
    info: Any = block.data.get("connection_info")
    try:
        if isinstance(info, str):
            return make_url(info.strip())
        given = {name: info[name] for name in CONNECTION_PARTS if info.get(name)}
        if str(given.get("host", "")).startswith("/"):  # the folder of a socket; it has no place before the path
            given["query"] = {**given.get("query", {}), "host": given.pop("host")}
        return URL.create(info["driver"], **given)
    except (ArgumentError, AttributeError, KeyError, TypeError, ValueError):
        raise BadInput(
            f"{block.label} holds no connection; give driver, host, database, user name and password, or an address "
            "like postgresql://USER:PASSWORD@HOST:5432/DATABASE"
        ) from None


def _threshold_overrides(value: Any) -> dict[str, SettingOverride]:
    origin = f"variable {THRESHOLDS_VARIABLE}"
    try:
        stated = Thresholds.model_validate(_parsed(value))
    except ValidationError as error:
        problem = error.errors()[0]
        raise BadInput(_threshold_problem(value, problem["loc"], problem["type"], problem["msg"])) from None
    found = {name: getattr(stated, name) for name in THRESHOLDS}
    return {setting_of(name): SettingOverride(str(item), origin) for name, item in found.items() if item is not None}


def _parsed(value: Any) -> Any:
    """`prefect variable set` keeps an object as text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _threshold_problem(value: Any, where: tuple[int | str, ...], kind: str, text: str) -> str:
    """One line: which Variable, which key, which value, and what to write instead."""
    remedy = 'mend it in the Prefect UI under Variables, e.g. {"min_confidence": 0.7}, or set it to {}'
    named = f"variable {THRESHOLDS_VARIABLE}"
    if not where:
        return f"{named} is {_shown(value)}, which is no object; {remedy}"
    key = str(where[0])
    if kind == "extra_forbidden":
        return f"{named} holds {_shown(key)}, which is no threshold; there are {', '.join(THRESHOLDS)}; {remedy}"
    fault = text[:1].lower() + text[1:]
    return f"{named}: {key} is {_shown(_parsed(value)[key])}: {fault}; {remedy}"


def _shown(value: Any) -> str:
    shown = json.dumps(value)
    return shown if len(shown) <= LONGEST_SHOWN else f"{shown[:LONGEST_SHOWN]}…"
