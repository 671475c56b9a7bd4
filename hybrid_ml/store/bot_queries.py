"""What the bot asks of the database: facts for answers, and that no command is carried out twice."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from hybrid_ml.errors import StoreUnavailable
from hybrid_ml.schemas.bot_status import (
    BotCommand,
    ClaimedCommand,
    LastAnswer,
    PastSignal,
    Pause,
    Status,
    SymbolRecord,
    SymbolStatus,
)
from hybrid_ml.store.registry_listing import serving_version
from hybrid_ml.store.sql import query

RECORD_DAYS = 30
FORGET_AFTER = timedelta(days=30)
"""Telegram keeps updates for a day. After a week of silence their ids begin anew at random, so that one could meet
an old one of the same number; what is forgotten it cannot meet."""
SERVICE_LOCK = 7_302_002


def take(connection: Connection, request: BotCommand) -> ClaimedCommand | None:
    """Take a command in hand, with its effect on the chat, in the caller's transaction; None: it was before.

    Commit before answering: then a crash may cost an answer, and never gives two.
    """
    connection.execute(
        text("DELETE FROM bot_updates WHERE handled_at < now() - :forget_after"), {"forget_after": FORGET_AFTER}
    )
    given = {name: getattr(request, name) for name in ("update_id", "chat_id", "command", "sent_at")}
    late_minutes = connection.execute(query("bot_claim"), given).scalar()
    if late_minutes is None:
        return None
    if not (request.problem or request.refusal):
        _change(connection, request)
    return ClaimedCommand(float(late_minutes), pauses(connection, [request.chat_id]).get(request.chat_id))


def _change(connection: Connection, request: BotCommand) -> None:
    if request.command == "pause":
        wish = {"chat_id": request.chat_id, "minutes": request.minutes, "sent_at": request.sent_at}
        connection.execute(query("bot_pause"), wish)
    elif request.command == "resume":
        connection.execute(
            text("UPDATE chats SET paused_until = NULL WHERE chat_id = :chat_id"), {"chat_id": request.chat_id}
        )


def pauses(connection: Connection, chat_ids: list[str]) -> dict[str, Pause]:
    """Which of `chat_ids` are paused now, by the database's clock."""
    found = connection.execute(query("bot_pauses"), {"chats": chat_ids})
    return {str(chat): Pause(until) for chat, until in found}


def status(connection: Connection, symbols: list[str], chat_id: str, chat_ids: list[str], now: datetime) -> Status:
    """Everything /status tells the chat `chat_id`, one of `chat_ids`, about `symbols`."""
    rows = connection.execute(query("bot_symbols"), {"symbols": symbols}).mappings()
    found = [_symbol(connection, dict(row), now) for row in rows.all()]
    counts = {str(state): int(count) for state, count in connection.execute(query("bot_deliveries"))}
    paused = pauses(connection, chat_ids)
    return Status(found, counts, paused.pop(chat_id, None), len(paused))


def _symbol(connection: Connection, row: dict[str, Any], now: datetime) -> SymbolStatus:
    version = serving_version(connection, row["symbol"], now)
    trained_until = connection.execute(
        text("SELECT trained_until FROM model_versions WHERE version = :version"), {"version": version}
    ).scalar()
    return SymbolStatus(row["symbol"], row["newest_bar"], version, trained_until, _last(row))


def _last(row: dict[str, Any]) -> LastAnswer | None:
    if row["bar_time"] is None:
        return None
    refused = [str(verdict["gate"]) for verdict in row["gates"] if not verdict["passed"]]
    chosen = {name: row[name] for name in ("bar_time", "direction", "confidence", "signal", "degraded")}
    return LastAnswer(**chosen, refused_by=refused)


def signals(connection: Connection, symbols: list[str], count: int) -> list[PastSignal]:
    """The newest `count` signals of `symbols`, newest first."""
    found = connection.execute(query("bot_signals"), {"symbols": symbols, "count": count})
    return [PastSignal(**row) for row in found.mappings()]


def records(connection: Connection, symbols: list[str], now: datetime) -> list[SymbolRecord]:
    """The record of each of `symbols` that has answers in the last RECORD_DAYS."""
    since = now - timedelta(days=RECORD_DAYS)
    found = connection.execute(query("bot_record"), {"symbols": symbols, "since": since})
    return [SymbolRecord(**row) for row in found.mappings()]


class ServiceLock:
    """One service a database. Held by an open transaction, as that works through connection poolers too."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None

    def hold(self) -> bool:
        """Take the lock, or see that it is still held; False when another service has it.

        Raises what the database raises; the lock is gone with its connection then, and the next call tries anew.
        """
        try:
            if self._connection is None:
                self._connection = self._engine.connect()
                self._connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
            # A transaction may take a lock that it holds any number of times.
            statement = text("SELECT pg_try_advisory_xact_lock(:lock)")
            held = bool(self._connection.execute(statement, {"lock": SERVICE_LOCK}).scalar_one())
        except (SQLAlchemyError, StoreUnavailable):
            self.release()
            raise
        if not held:
            self.release()
        return held

    def release(self) -> None:
        """Let go; a connection that died has let go already."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except (SQLAlchemyError, StoreUnavailable):
                connection.invalidate()
