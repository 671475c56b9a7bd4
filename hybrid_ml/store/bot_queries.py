"""The bot's queries: facts for its replies, and a claim so that no command is carried out twice."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from hybrid_ml.errors import CalendarEnded, StoreUnavailable
from hybrid_ml.market.bars import BAR_LENGTH
from hybrid_ml.market.sessions import Sessions
from hybrid_ml.schemas.bot_status import (
    BotCommand,
    BotStatus,
    ClaimedCommand,
    LastAnswer,
    Pause,
    SymbolStatus,
)
from hybrid_ml.schemas.signal_record import PastSignal, SymbolRecord
from hybrid_ml.store.registry_listing import serving_version
from hybrid_ml.store.sessions import read_sessions
from hybrid_ml.store.signal_records import read_records
from hybrid_ml.store.sql import query

RECORD_DAYS = 30
FORGET_AFTER = timedelta(days=30)
"""Telegram keeps updates for a day. After a week without updates it continues with a random id, which could be that
of an old update; after this time ids are deleted."""
SERVICE_LOCK = 7_302_002


def take(connection: Connection, request: BotCommand) -> ClaimedCommand | None:
    """Claim a command and apply its effect on the chat, in the caller's transaction; None where it was claimed before.

    Commit before replying: then a crash may cost a reply, and never sends two.
    """
    connection.execute(
        text("DELETE FROM bot_updates WHERE handled_at < now() - :forget_after"), {"forget_after": FORGET_AFTER}
    )
    values = {name: getattr(request, name) for name in ("update_id", "chat_id", "command", "sent_at")}
    late_minutes = connection.execute(query("bot_claim"), values).scalar()
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
    rows = connection.execute(query("bot_pauses"), {"chats": chat_ids})
    return {str(chat): Pause(until) for chat, until in rows}


def status(connection: Connection, symbols: list[str], chat_id: str, chat_ids: list[str], now: datetime) -> BotStatus:
    """The content of a /status reply to the chat `chat_id`, one of `chat_ids`, about `symbols`."""
    rows = connection.execute(query("bot_symbols"), {"symbols": symbols}).mappings()
    symbol_statuses = [_symbol(connection, dict(row), now) for row in rows.all()]
    calendars = read_sessions(connection, symbols)
    symbol_statuses = [
        _with_market(status, calendars[status.symbol], now) if status.symbol in calendars else status
        for status in symbol_statuses
    ]
    counts = {str(state): int(count) for state, count in connection.execute(query("bot_deliveries"))}
    paused = pauses(connection, chat_ids)
    return BotStatus(symbol_statuses, counts, paused.pop(chat_id, None), len(paused))


def _symbol(connection: Connection, row: dict[str, Any], now: datetime) -> SymbolStatus:
    version = serving_version(connection, row["symbol"], now)
    trained_until = connection.execute(
        text("SELECT trained_until FROM model_versions WHERE version = :version"), {"version": version}
    ).scalar()
    return SymbolStatus(row["symbol"], row["newest_bar"], version, trained_until, _last(row))


def _with_market(status: SymbolStatus, sessions: Sessions, now: datetime) -> SymbolStatus:
    try:
        if closed_until := sessions.closed_until(now):
            return replace(status, closed_until=closed_until)
        newest = status.newest_bar
        return replace(status, open_minutes=sessions.open_minutes(newest + BAR_LENGTH, now) if newest else None)
    except CalendarEnded as error:
        return replace(status, calendar_problem=str(error))


def _last(row: dict[str, Any]) -> LastAnswer | None:
    if row["bar_time"] is None:
        return None
    refused = [str(verdict["gate"]) for verdict in row["gates"] if not verdict["passed"]]
    chosen = ("bar_time", "direction", "confidence", "signal", "recent_rows", "recent_accuracy")
    return LastAnswer(**{name: row[name] for name in chosen}, refused_by=refused)


def signals(connection: Connection, symbols: list[str], count: int) -> list[PastSignal]:
    """The newest `count` signals of `symbols`, newest first."""
    rows = connection.execute(query("bot_signals"), {"symbols": symbols, "count": count})
    return [PastSignal(**row) for row in rows.mappings()]


def records(connection: Connection, symbols: list[str], now: datetime) -> list[SymbolRecord]:
    """The record of each of `symbols` that has answers in the last RECORD_DAYS."""
    return read_records(connection, symbols, now - timedelta(days=RECORD_DAYS), now)


class ServiceLock:
    """One bot for each database. Held by an open transaction, which works through connection poolers too."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None

    def hold(self) -> bool:
        """Take the lock, or check that it is still held; False when another bot has it.

        Raises what the database raises; the lock is released with its connection then, and the next call tries again.
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
        """Release the lock; a connection that died has released it already."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except (SQLAlchemyError, StoreUnavailable):
                connection.invalidate()
