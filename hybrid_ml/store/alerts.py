"""The outbox: alerts written with their predictions, sent afterwards."""

from datetime import datetime
from typing import Literal

from sqlalchemy import Connection, text

State = Literal["sent", "logged", "refused"]


def claim_pending(connection: Connection, symbol: str, bar_time: datetime) -> str | None:
    """Lock the waiting alert of a prediction for the caller's transaction and return its message.

    None when there is none, it has been settled, or another sender holds it.
    """
    found = connection.execute(
        text(
            "SELECT message FROM alerts WHERE symbol = :symbol AND bar_time = :bar_time AND state = 'pending' "
            "FOR UPDATE SKIP LOCKED"
        ),
        {"symbol": symbol, "bar_time": bar_time},
    ).scalar()
    return None if found is None else str(found)


def settle(connection: Connection, symbol: str, bar_time: datetime, state: State, detail: str = "") -> None:
    """Say what became of an alert."""
    connection.execute(
        text(
            "UPDATE alerts SET state = :state, detail = :detail, settled_at = now() "
            "WHERE symbol = :symbol AND bar_time = :bar_time"
        ),
        {"symbol": symbol, "bar_time": bar_time, "state": state, "detail": detail},
    )
