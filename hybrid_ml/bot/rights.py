"""Who may pause and resume a chat: in a group its administrators, unless TELEGRAM_CHATS leaves it to everyone."""

import logging
import time

from hybrid_ml.bot.client import BotClient
from hybrid_ml.config.settings import Settings
from hybrid_ml.schemas.bot_status import BotCommand

CHANGES = ("pause", "resume")
KNOWN_SECONDS, UNKNOWN_SECONDS = 300.0, 30.0
"""How long the list of administrators holds: for somebody on it, and for somebody who may have been put on it since."""
REFUSAL_SECONDS = 60.0
FOR_ADMINISTRATORS = (
    "Only administrators of this group can /{command} its alerts. (The owner of this service can let everyone: "
    '"commands": "everyone" for this chat in TELEGRAM_CHATS.)'
)
CANNOT_TELL = (
    "Telegram does not tell me who administers this group, so I have not done /{command}. Ask again in a minute."
)
logger = logging.getLogger(__name__)


class Rights:
    """Asks Telegram who administers a group, and remembers it for minutes."""

    def __init__(self, settings: Settings, line: BotClient) -> None:
        self._line = line
        self._for_everyone = {chat.chat_id for chat in settings.chats if chat.commands == "everyone"}
        self._known: dict[int, tuple[float, frozenset[int] | None]] = {}
        self._refused: dict[int, float] = {}

    async def refusal(self, request: BotCommand) -> str:
        """Why `request` is not carried out, for the chat; empty when it is."""
        if request.command not in CHANGES or not request.in_group or request.chat_id in self._for_everyone:
            return ""
        if request.as_group:  # an administrator who stays anonymous writes in the group's name; nobody else can
            return ""
        if request.user_id is None:  # a channel: any member may write in the name of an own one
            return FOR_ADMINISTRATORS.format(command=request.command)
        administrators = await self._administrators(request.reply_chat_id, request.user_id)
        if administrators is None:
            return CANNOT_TELL.format(command=request.command)
        return "" if request.user_id in administrators else FOR_ADMINISTRATORS.format(command=request.command)

    def may_answer(self, chat_id: int) -> bool:
        """Whether a refusal may be written to the group: one a minute, whoever asks how often."""
        now = time.monotonic()
        self._refused = {chat: at for chat, at in self._refused.items() if now - at < REFUSAL_SECONDS}
        return self._refused.setdefault(chat_id, now) == now

    async def _administrators(self, chat_id: int, user_id: int) -> frozenset[int] | None:
        """The administrators; None where Telegram does not name them."""
        at, known = self._known.get(chat_id, (float("-inf"), None))
        holds_seconds = KNOWN_SECONDS if known is not None and user_id in known else UNKNOWN_SECONDS
        if time.monotonic() - at > holds_seconds:
            try:
                known = await self._line.administrators(chat_id)
            except Exception as error:  # whatever it is, nobody is let in on a guess
                logger.warning("administrators of chat %d: %s", chat_id, self._line.problem(error))
                known = None
            self._known[chat_id] = time.monotonic(), known
        return known
