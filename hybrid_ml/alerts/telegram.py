"""Sending through Telegram, with python-telegram-bot: whether a message was sent, and the meaning of errors."""

import asyncio
import logging
import os
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import SecretStr

from hybrid_ml.alerts.html import CAPTION_LIMIT, TEXT_LIMIT, fit
from hybrid_ml.config.settings import Settings
from hybrid_ml.errors import AlertRefused

if TYPE_CHECKING:
    from telegram import Bot

TIMEOUT_SECONDS = 10.0
LONGEST_SECONDS = 4 * TIMEOUT_SECONDS
"""The longest time for one message: a refused picture and then its text; a lease must be longer."""
CONNECTIONS = 32
PUBLIC_BASE_URL = "https://api.telegram.org/bot"
UNKNOWN_BOT = (
    "Telegram does not know the bot: check TELEGRAM_BOT_TOKEN (or block telegram-bot-token), and TELEGRAM_BASE_URL if "
    "it is set"
)
GRACE_SECONDS = 2.5
LONGEST_SILENCE_SECONDS = 86_400.0
NEVER_SENT = {
    "ConnectError",
    "ConnectTimeout",
    "InvalidURL",
    "LocalProtocolError",
    "PoolTimeout",
    "ProxyError",
    "UnsupportedProtocol",
}
"""Errors of httpx that are raised before a request is sent."""
Result = TypeVar("Result")


@dataclass(frozen=True)
class Sent:
    """Telegram confirmed the message."""

    message_id: int


@dataclass(frozen=True)
class TryLater:
    """Telegram surely has not taken it. `seconds`: how long it asks to wait before anything is sent to this chat."""

    why: str
    seconds: float | None = None


@dataclass(frozen=True)
class Unknown:
    """Telegram may or may not have taken it: there was no answer."""

    why: str


@dataclass(frozen=True)
class Refused:
    """Telegram refused for good; `why` includes the remedy. `of_content`: it may accept other content."""

    why: str
    of_content: bool = False


Outcome = Sent | TryLater | Unknown | Refused


class TelegramSender:
    """A bot with open connections. All its methods run on the event loop it was made for."""

    def __init__(self, bot: "Bot", timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        """`timeout_seconds`: for every step; a whole message may take twice as long."""
        self.bot, self.timeout_seconds = bot, timeout_seconds

    async def send(self, chat_id: str, text: str, picture: bytes | None, reply_to: int | None) -> Outcome:
        """Send `text` (HTML), under `picture` (PNG) where there is one; alone where Telegram refuses the picture."""
        if picture is not None:
            outcome = await self._send(chat_id, reply_to, photo=picture, caption=fit(text, CAPTION_LIMIT))
            if not (isinstance(outcome, Refused) and outcome.of_content):
                return outcome
        return await self._send(chat_id, reply_to, text=fit(text, TEXT_LIMIT))

    async def warm_up(self) -> None:
        """Connect, so that the next message need not wait for it; errors show at the next message."""
        try:
            async with asyncio.timeout(self.timeout_seconds):
                await self.bot.get_me()
        except Exception:  # the connection is optional here
            logging.getLogger(__name__).debug("no connection to Telegram yet")

    async def _send(self, chat_id: str, reply_to: int | None, **content: Any) -> Outcome:
        from telegram import ReplyParameters
        from telegram.constants import ParseMode
        from telegram.error import TelegramError

        reply = ReplyParameters(reply_to, allow_sending_without_reply=True) if reply_to else None
        method = self.bot.send_photo if "photo" in content else self.bot.send_message
        try:
            async with asyncio.timeout(2 * self.timeout_seconds):
                message = await method(chat_id=chat_id, parse_mode=ParseMode.HTML, reply_parameters=reply, **content)
            return Sent(int(message.message_id))
        except TelegramError as error:
            return classify_error(error, chat_id)
        except TimeoutError:
            return Unknown("Telegram did not answer in time")
        except Exception as error:  # python-telegram-bot cannot parse the answer
            return Unknown(f"Telegram's answer cannot be read ({type(error).__name__})")


def classify_error(error: Exception, chat_id: str) -> Outcome:
    """The outcome of a message by an error of python-telegram-bot: later, perhaps sent, or never."""
    from telegram.error import BadRequest, NetworkError, TelegramError

    cause = error.__cause__
    refusal = _refusal(error, chat_id)
    if refusal:
        return Refused(refusal, of_content=isinstance(error, BadRequest))
    if seconds := asked_wait_seconds(error):
        return TryLater(f"Telegram asks to wait {seconds:g} s", seconds)
    if type(cause).__name__ in NEVER_SENT:
        return TryLater(f"Telegram cannot be reached ({type(cause).__name__})")
    if "504" in str(error) or "Gateway Timeout" in str(error):
        return Unknown("a gateway before Telegram gave up waiting")  # it may have passed the message on
    if isinstance(error, NetworkError) and (cause is None or isinstance(cause, TelegramError)):
        return TryLater("Telegram has an internal error")  # it answered, with a 5xx: not taken
    return Unknown(f"no answer of Telegram ({type(cause or error).__name__})")


def asked_wait_seconds(error: BaseException) -> float:
    """How long Telegram asks to wait (429), at least a second and at most a day; 0 when it does not."""
    from telegram.error import RetryAfter

    if not isinstance(error, RetryAfter):
        return 0.0
    requested = error.retry_after
    seconds = requested.total_seconds() if isinstance(requested, timedelta) else float(requested)
    return min(max(seconds, 1.0), LONGEST_SILENCE_SECONDS)


def _refusal(error: Exception, chat_id: str) -> str | None:
    """The reason and the remedy, where Telegram refused for good."""
    from telegram.error import BadRequest, ChatMigrated, Forbidden, InvalidToken, TelegramError

    if isinstance(error, InvalidToken):
        return UNKNOWN_BOT
    if isinstance(error, ChatMigrated):
        return f"chat {chat_id} became a supergroup; its id is now {error.new_chat_id}: use that instead"
    text = error.message if isinstance(error, TelegramError) else ""
    text = "".join(letter for letter in text if letter.isprintable())[:300]
    if isinstance(error, Forbidden):
        return f"Telegram refused ({text}): chat {chat_id} must start or unblock the bot"
    if isinstance(error, BadRequest):
        return f"Telegram refused ({text}): check chat {chat_id} in TELEGRAM_CHAT_ID or TELEGRAM_CHATS"
    return None


def whoami(settings: Settings) -> str:
    """The bot's user name, to check that token and address are right; raises AlertRefused when they are not."""
    from telegram.error import Forbidden, InvalidToken, TelegramError

    async def ask() -> str:
        return str((await make_bot(settings.telegram_bot_token, settings.telegram_base_url).get_me()).username)

    try:
        return asyncio.run(ask())
    except (InvalidToken, Forbidden):
        raise AlertRefused(UNKNOWN_BOT) from None
    except TelegramError as error:
        kind = type(error.__cause__ or error).__name__
        raise AlertRefused(f"Telegram does not answer ({kind}): check the network, and TELEGRAM_BASE_URL") from None


def silence_http_loggers() -> None:
    """Set, before python-telegram-bot is imported, the log levels of it and its libraries, and the type of waits.

    Addresses contain the token: httpx logs them at INFO, and a malformed answer that repeats one is logged as an error.
    """
    # Waits as a timedelta, which python-telegram-bot is about to make the default.
    os.environ.setdefault("PTB_TIMEDELTA", "true")
    for name, level in (("httpx", logging.WARNING), ("httpcore", logging.WARNING), ("telegram", logging.CRITICAL)):
        logging.getLogger(name).setLevel(level)


def make_bot(token: SecretStr, base_url: str, timeout_seconds: float = TIMEOUT_SECONDS) -> "Bot":
    """A bot for one event loop, with Telegram's own address where `base_url` is empty; it never shows the token."""
    silence_http_loggers()
    from telegram import Bot
    from telegram.request import HTTPXRequest

    request = HTTPXRequest(
        connection_pool_size=CONNECTIONS,
        connect_timeout=timeout_seconds,
        read_timeout=timeout_seconds,
        write_timeout=timeout_seconds,
        media_write_timeout=timeout_seconds,
        pool_timeout=timeout_seconds,
    )
    return Bot(token.get_secret_value().strip(), base_url=base_url or PUBLIC_BASE_URL, request=request)


class BackgroundSender:
    """A sender on a thread of its own, kept open between the runs of one process."""

    def __init__(self, token: SecretStr, base_url: str) -> None:
        self._loop = asyncio.new_event_loop()
        Thread(target=self._loop.run_forever, name="telegram", daemon=True).start()
        self.line = self.do(self._open(token, base_url))

    def warm_up(self) -> None:
        """Begin to connect without waiting."""
        asyncio.run_coroutine_threadsafe(self.line.warm_up(), self._loop)

    def do(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run `work` on the thread and wait for it."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:  # Ctrl-C, a stage's timeout: let current messages arrive, and record them
            if future.cancel():
                time.sleep(GRACE_SECONDS)
            raise

    async def _open(self, token: SecretStr, base_url: str) -> TelegramSender:
        return TelegramSender(make_bot(token, base_url))


def open_post(settings: Settings) -> BackgroundSender:
    """The sender of this process for the configured bot; connected on demand."""
    return _post(settings.telegram_bot_token, settings.telegram_base_url)


@cache
def _post(token: SecretStr, base_url: str) -> BackgroundSender:
    return BackgroundSender(token, base_url)
