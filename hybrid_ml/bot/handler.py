"""Claims commands and replies to them from the database. Everything here blocks."""

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Engine

from hybrid_ml.alerts.html import escaped
from hybrid_ml.bot import replies
from hybrid_ml.config.settings import Settings
from hybrid_ml.schemas.bot_status import BotCommand, ClaimedCommand
from hybrid_ml.store import bars, bot_queries
from hybrid_ml.store.engine import limit_time

Clock = Callable[[], datetime]


def allowed_chat_ids(settings: Settings) -> list[str]:
    """The configured chats that may send commands: those that get alerts."""
    return settings.chat_ids


class CommandHandler:
    """Claims commands and makes the replies."""

    def __init__(self, settings: Settings, engine: Engine, clock: Clock) -> None:
        self._settings, self._engine, self._clock = settings, engine, clock

    def take(self, request: BotCommand) -> ClaimedCommand | None:
        """Claim a command and apply its effect; None: it was claimed before. Raises what the database raises."""
        with self._engine.begin() as connection:
            limit_time(connection)
            return bot_queries.take(connection, request)

    def words(self, request: BotCommand, taken: ClaimedCommand) -> str:
        """The reply, HTML. Raises what the database raises."""
        if request.refusal:
            return escaped(request.refusal)
        if request.problem:
            return replies.misunderstood(request.problem)
        if request.command == "pause":
            return replies.paused(taken.pause, self._clock())
        if request.command == "resume":
            return replies.resumed()
        if request.command in ("status", "signals", "record"):
            return self._looked_up(request, self._clock())
        return replies.HELP

    def _looked_up(self, request: BotCommand, now: datetime) -> str:
        with self._engine.begin() as connection:
            limit_time(connection)
            symbols = self._settings.symbols or bars.symbols(connection)
            if request.command == "signals":
                return replies.signals(bot_queries.signals(connection, symbols, request.count), now)
            if request.command == "record":
                return replies.record(bot_queries.records(connection, symbols, now), bot_queries.RECORD_DAYS)
            chats = allowed_chat_ids(self._settings)
            return replies.status(bot_queries.status(connection, symbols, request.chat_id, chats, now), now)
