"""SQL in named files with bound parameters."""

from functools import cache
from importlib.resources import files

from sqlalchemy import TextClause, text


@cache
def read(name: str) -> str:
    """The text of `name`.sql."""
    return (files(__name__) / f"{name}.sql").read_text(encoding="utf-8")


@cache
def query(name: str) -> TextClause:
    """The statement in `name`.sql, with named parameters such as `:symbol`."""
    return text(read(name))
