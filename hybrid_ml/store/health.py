"""The monitor's queries: which symbols' bars are late, and which chats do not get their alerts."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from hybrid_ml.store.sql import query

WEEK = timedelta(days=7)


@dataclass(frozen=True)
class BarAge:
    """A symbol's newest bar (opening time; None: there is none), and whether its market is open as far as is known:
    it had bars in the same minutes a week ago, or has no bars from a week ago yet.
    """

    symbol: str
    newest_bar: datetime | None
    is_open: bool


def bar_ages(connection: Connection, symbols: list[str], age: timedelta, now: datetime) -> list[BarAge]:
    """The age of the bars of each of `symbols`; `age`: how many minutes of a week ago count as the same."""
    rows = connection.execute(query("bar_ages"), {"symbols": symbols, "age": age, "now": now})
    return [
        BarAge(
            row.symbol, row.newest_bar, row.had_bars_a_week_ago or row.first_bar is None or row.first_bar > now - WEEK
        )
        for row in rows
    ]


@dataclass(frozen=True)
class DeliveryEnd:
    """The state of a chat's newest alert within a day, its detail, and how many alerts were lost in that day."""

    chat_id: str
    state: str
    detail: str
    lost_within_a_day: int


def newest_delivery_ends(connection: Connection, chat_ids: list[str]) -> list[DeliveryEnd]:
    """Each of `chat_ids` that had an alert sent, expired or refused within a day."""
    rows = connection.execute(query("newest_delivery_ends"), {"chats": chat_ids})
    return [DeliveryEnd(*row) for row in rows]
