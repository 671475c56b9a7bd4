"""Who may pause and resume a chat: in a group its administrators, unless TELEGRAM_CHATS allows everyone."""

import logging
import time

from hybrid_ml.bot.client import BotClient
from hybrid_ml.config.settings import Settings
from hybrid_ml.schemas.bot_status import BotCommand

CHANGES = ("pause", "resume")
KNOWN_SECONDS, UNKNOWN_SECONDS = 300.0, 30.0
"""How long the list of administrators is kept: for a user on it, and for one who may have been added since."""
REFUSAL_SECONDS = 60.0
FOR_ADMINISTRATORS = (
    "Only administrators of this group can /{command} its alerts. (The owner of this service can allow everyone: "
    '"commands": "everyone" for this chat in TELEGRAM_CHATS.)'
)
ADMINISTRATORS_UNKNOWN = (
    "Telegram does not return the administrators of this group, so /{command} was not carried out. "
    "Try again in a minute."
)
logger = logging.getLogger(__name__)


class Rights:
    """Reads the administrators of a group from Telegram, and keeps them for minutes."""

    def __init__(self, settings: Settings, client: BotClient) -> None:
        self._client = client
        self._for_everyone = {chat.chat_id for chat in settings.chats if chat.commands == "everyone"}
        self._known: dict[int, tuple[float, frozenset[int] | None]] = {}
        self._refused: dict[int, float] = {}

    async def refusal(self, request: BotCommand) -> str:
        """Why `request` is refused, as a reply; empty when it is allowed."""
        if request.command not in CHANGES or not request.in_group or request.chat_id in self._for_everyone:
            return ""
        if request.as_group:  # only an anonymous administrator can write in the group's name
            return ""
        if request.user_id is None:  # a channel: any member may write in the name of a channel of their own
            return FOR_ADMINISTRATORS.format(command=request.command)
        administrators = await self._administrators(request.reply_chat_id, request.user_id)
        if administrators is None:
            return ADMINISTRATORS_UNKNOWN.format(command=request.command)
        return "" if request.user_id in administrators else FOR_ADMINISTRATORS.format(command=request.command)

    def may_answer(self, chat_id: int) -> bool:
        """Whether a refusal may be sent to the group: one a minute at most."""
        now = time.monotonic()
        self._refused = {chat: at for chat, at in self._refused.items() if now - at < REFUSAL_SECONDS}
        return self._refused.setdefault(chat_id, now) == now

    async def _administrators(self, chat_id: int, user_id: int) -> frozenset[int] | None:
        """The administrators; None where Telegram does not return them."""
        at, known = self._known.get(chat_id, (float("-inf"), None))
        holds_seconds = KNOWN_SECONDS if known is not None and user_id in known else UNKNOWN_SECONDS
        if time.monotonic() - at > holds_seconds:
            try:
                known = await self._client.administrators(chat_id)
            except Exception as error:  # any error: without the list nobody is allowed
                logger.warning("administrators of chat %d: %s", chat_id, self._client.problem(error))
                known = None
            self._known[chat_id] = time.monotonic(), known
        return known
