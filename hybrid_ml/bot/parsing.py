"""Parsing an update of the Bot API into a command, or into None."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from hybrid_ml.schemas.bot_status import BotCommand

COMMAND = re.compile(r"/(\w{1,32})(?:@(\w{1,64}))?(?:\s+(.*))?", re.ASCII | re.DOTALL)
KNOWN = ("start", "help", "status", "signals", "record", "pause", "resume")
MOST_PAUSE_MINUTES = 7 * 24 * 60
MOST_SIGNALS = 20


@dataclass(frozen=True)
class UnauthorizedChat:
    """A sender that gets no reply."""

    chat_id: int
    user_id: int | None


def parse_command(update: dict[str, Any], allowed: list[str], bot_name: str) -> BotCommand | UnauthorizedChat | None:
    """The command of `update` for the bot named `bot_name`; None when there is none.

    Only new messages that begin with a command count: no edited ones, no channel posts, stickers or other text.
    In a group an unknown command may be meant for another bot, so there it counts only with `@bot_name`.
    """
    message = update.get("message")
    match = COMMAND.fullmatch(str(message.get("text", "")).strip()) if isinstance(message, dict) else None
    if message is None or match is None:
        return None
    name, addressed, argument = match[1].lower(), match[2], (match[3] or "").strip()
    chat = message["chat"]
    if addressed is not None and addressed.lower() != bot_name.lower():
        return None
    chat_id = _configured(chat, allowed)
    if chat_id is None:
        return UnauthorizedChat(int(chat["id"]), message.get("from", {}).get("id"))
    if name not in KNOWN and addressed is None and chat.get("type") != "private":
        return None
    sent_at = datetime.fromtimestamp(int(message["date"]), UTC)
    user_id, as_group = _sender(message)
    in_group = chat.get("type") != "private"
    request = BotCommand(int(update["update_id"]), chat_id, int(chat["id"]), name, sent_at, user_id, in_group, as_group)
    return _with_argument(request, argument)


def _sender(message: dict[str, Any]) -> tuple[int | None, bool]:
    """The sender's user id; None for a message in the name of a chat, and whether that is the chat it is in.

    The person in such a message is a placeholder of Telegram's.
    """
    if "sender_chat" in message:
        return None, int(message["sender_chat"]["id"]) == int(message["chat"]["id"])
    return int(message["from"]["id"]) if "from" in message else None, False


def _configured(chat: dict[str, Any], allowed: list[str]) -> str | None:
    """The configured name of a chat: its number, or the @name of a public one."""
    names = {str(chat["id"]), f"@{chat['username']}".lower() if chat.get("username") else ""}
    # A person's @name is no configured chat, since alerts cannot be sent to it.
    names = {str(chat["id"])} if chat.get("type") == "private" else names
    return next((chat for chat in allowed if chat.lower() in names), None)


def _with_argument(request: BotCommand, argument: str) -> BotCommand:
    if not argument or request.command not in ("pause", "signals"):
        return request
    most = MOST_PAUSE_MINUTES if request.command == "pause" else MOST_SIGNALS
    number = int(argument) if re.fullmatch(r"\d{1,9}", argument, re.ASCII) else 0
    if not 1 <= number <= most:
        unit = "minutes" if request.command == "pause" else "signals"
        problem = f"“{argument[:40]}” is no number of {unit} from 1 to {most:,}"
        return BotCommand(**{**vars(request), "problem": problem})
    return BotCommand(**{**vars(request), "minutes" if request.command == "pause" else "count": number})
