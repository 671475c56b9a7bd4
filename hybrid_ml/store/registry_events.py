"""The history of a symbol's bases: each event is written in the transaction of the change.

Trials of adapters, one every ten minutes, are not events; they have rows in the registry.
"""

from typing import Any, Literal

from sqlalchemy import Connection, text

Event = Literal["promoted", "retired", "rejected", "rolled back", "imported", "pruned", "renamed"]


def record_event(
    connection: Connection, symbol: str, event: Event, version: str, *, previous: str | None = None, reason: str = ""
) -> None:
    """Record an event of `version`, in the caller's transaction. `previous`: the champion before."""
    connection.execute(
        text(
            "INSERT INTO model_events (symbol, event, version, previous, reason) "
            "VALUES (:symbol, :event, :version, :previous, :reason)"
        ),
        {"symbol": symbol, "event": event, "version": version, "previous": previous, "reason": reason},
    )


def record_rename(connection: Connection, symbol: str, to: str) -> None:
    """Record for every base of `to` that its symbol was `symbol` before, in the caller's transaction."""
    connection.execute(
        text(
            "INSERT INTO model_events (symbol, event, version, reason) "
            "SELECT symbol, 'renamed', version, :reason FROM model_versions "
            "WHERE symbol = :to AND kind IN ('base', 'scratch') ORDER BY version"
        ),
        {"to": to, "reason": f"the symbol was {symbol} before"},
    )


def events_of(connection: Connection, version: str) -> list[dict[str, Any]]:
    """The events of `version`, newest first."""
    rows = connection.execute(
        text(
            "SELECT at, event, version, previous, reason FROM model_events WHERE version = :version "
            "ORDER BY at DESC, id DESC"
        ),
        {"version": version},
    )
    return [dict(row) for row in rows.mappings()]
