"""What happened to the bases of a symbol: written with each change, in its transaction.

Trials of adapters, one every ten minutes, are not events; their rows in the registry tell of them.
"""

from typing import Any, Literal

from sqlalchemy import Connection, text

Event = Literal["promoted", "retired", "rejected", "rolled back", "imported", "pruned"]


def record_event(
    connection: Connection, symbol: str, event: Event, version: str, *, previous: str | None = None, reason: str = ""
) -> None:
    """Say what happened to `version`, in the caller's transaction. `previous`: the champion before."""
    connection.execute(
        text(
            "INSERT INTO model_events (symbol, event, version, previous, reason) "
            "VALUES (:symbol, :event, :version, :previous, :reason)"
        ),
        {"symbol": symbol, "event": event, "version": version, "previous": previous, "reason": reason},
    )


def events_of(connection: Connection, version: str) -> list[dict[str, Any]]:
    """What happened to `version`, newest first."""
    found = connection.execute(
        text(
            "SELECT at, event, version, previous, reason FROM model_events WHERE version = :version "
            "ORDER BY at DESC, id DESC"
        ),
        {"version": version},
    )
    return [dict(row) for row in found.mappings()]
