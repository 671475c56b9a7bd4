"""How many minutes of each day have a bar, and what feeds said of the others."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from hybrid_ml.store.sql import query

Day = datetime
"""The midnight, UTC, at which a day begins."""


@dataclass(frozen=True)
class Origin:
    """Where the bars of a symbol are from: a feed and its calendar, or None for files.

    `first`: since when there can be bars of it; `delisted_at`: until when, where its feed no longer trades it.
    """

    symbol: str
    feed: str | None
    calendar: str | None
    delisted_at: datetime | None
    first: datetime | None
    revisions: int
    rejected_rows: int


@dataclass(frozen=True)
class Counts:
    """Minutes by symbol and day: those with a bar, and by state those of which a feed said that there is none.

    `open_minutes`: by calendar and day; a calendar that is missing is of markets that are always open.
    """

    origins: list[Origin]
    bars: dict[tuple[str, Day], int]
    states: dict[tuple[str, Day, str], int]
    open_minutes: dict[str, dict[Day, int]]


def count_minutes(connection: Connection, symbols: list[str], since: datetime, until: datetime) -> Counts:
    """Count the minutes of `symbols` from `since`, a midnight, until before `until`; reads only bars of that time."""
    period: dict[str, Any] = {"since": since, "until": until}
    chosen = period | {"symbols": symbols}
    open_minutes: dict[str, dict[Day, int]] = defaultdict(dict)
    for row in connection.execute(query("open_minutes_by_day"), period):
        open_minutes[row.calendar] |= {} if row.day is None else {row.day.astimezone(UTC): row.minutes}
    return Counts(
        origins=[Origin(**row._mapping) for row in connection.execute(query("data_symbols"), chosen)],
        bars={
            (row.symbol, row.day.astimezone(UTC)): row.bars for row in connection.execute(query("bars_by_day"), chosen)
        },
        states={
            (row.symbol, row.day.astimezone(UTC), row.state): row.minutes
            for row in connection.execute(query("coverage_by_day"), chosen)
        },
        open_minutes=open_minutes,
    )
