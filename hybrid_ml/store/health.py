"""What the monitor asks of the database: which symbols' bars are late, and whose alerts do not arrive."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from hybrid_ml.store.sql import query

WEEK = timedelta(days=7)


@dataclass(frozen=True)
class BarAge:
    """A symbol's newest bar (its opening; None: there is none), and whether the market is open now as far as is known:

    it had bars in the same minutes a week ago, or there was no such week yet.
    """

    symbol: str
    newest_bar: datetime | None
    is_open: bool


def bar_ages(connection: Connection, symbols: list[str], age: timedelta, now: datetime) -> list[BarAge]:
    """Each of `symbols`; `age`: how many minutes of a week ago count as the same."""
    found = connection.execute(query("missing_bars"), {"symbols": symbols, "age": age, "now": now})
    return [
        BarAge(
            row.symbol, row.newest_bar, row.had_bars_a_week_ago or row.first_bar is None or row.first_bar > now - WEEK
        )
        for row in found
    ]


@dataclass(frozen=True)
class DeliveryEnd:
    """What the newest alert of a chat came to within a day, why, and how many were lost in that day."""

    chat_id: str
    state: str
    detail: str
    lost_within_a_day: int


def newest_delivery_ends(connection: Connection, chat_ids: list[str]) -> list[DeliveryEnd]:
    """Each of `chat_ids` that had an alert sent, expired or refused within a day."""
    found = connection.execute(query("newest_delivery_ends"), {"chats": chat_ids})
    return [DeliveryEnd(*row) for row in found]
