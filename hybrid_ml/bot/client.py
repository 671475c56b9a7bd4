"""The bot's connection to Telegram: updates by long polling, replies sent at most once."""

import asyncio
import logging
import warnings
from typing import TYPE_CHECKING, Any

from hybrid_ml.alerts.telegram import (
    NEVER_SENT,
    PUBLIC_BASE_URL,
    UNKNOWN_BOT,
    asked_wait_seconds,
    silence_http_loggers,
)
from hybrid_ml.config.settings import Settings
from hybrid_ml.errors import AlertRefused, HybridMLError
from hybrid_ml.pipeline.backoff import backoff_seconds

if TYPE_CHECKING:
    from telegram import Bot
    from telegram.request import HTTPXRequest

TIMEOUT_SECONDS = 10.0
POLL_SECONDS = 25
LONGEST_WAIT_SECONDS = 60.0
ANSWER_TRIES = 5
ELSEWHERE = (
    "another program polls this bot's updates: stop it, or use a bot of its own for this service "
    "(a new TELEGRAM_BOT_TOKEN from @BotFather)"
)
WEBHOOK = (
    "a webhook gets this bot's updates: if nothing needs it, open "
    "https://api.telegram.org/bot<TELEGRAM_BOT_TOKEN>/deleteWebhook once"
)
logger = logging.getLogger(__name__)


class BotClient:
    """One bot on one event loop. Neither its logs nor its errors show the token."""

    def __init__(self, settings: Settings) -> None:
        self._token = settings.telegram_bot_token.get_secret_value().strip()
        self._requests = [_request(), _request()]
        self._bot = _bot(self._token, settings.telegram_base_url, self._requests)

    async def name(self) -> str:
        """The bot's user name; raises AlertRefused for a bad token and TelegramError for a temporary error."""
        from telegram.error import InvalidToken

        try:
            return str((await self._bot.get_me()).username)
        except InvalidToken:
            raise AlertRefused(UNKNOWN_BOT) from None

    async def poll(self, offset: int | None, wait_seconds: int = POLL_SECONDS) -> list[dict[str, Any]]:
        """New messages as raw JSON, waited for up to `wait_seconds`; `offset` confirms those with lower ids.

        Raw, since python-telegram-bot parses a whole answer or none: one update that it cannot parse
        would be repeated for a day and keep all others out. Raises the same errors as `name`.
        """
        from telegram.error import EndPointNotFound, InvalidToken

        requested = {"timeout": wait_seconds, "allowed_updates": ["message"]}
        try:
            result = await self._bot.do_api_request(
                "getUpdates",
                api_kwargs=requested if offset is None else {**requested, "offset": offset},
                read_timeout=wait_seconds + TIMEOUT_SECONDS,
            )
        except (InvalidToken, EndPointNotFound):
            raise AlertRefused(UNKNOWN_BOT) from None
        return list(result)

    async def administrators(self, chat_id: int) -> frozenset[int]:
        """The user ids of a group's administrators, its owner among them; raises TelegramError."""
        result = await self._bot.do_api_request("getChatAdministrators", api_kwargs={"chat_id": chat_id})
        return frozenset(int(member["user"]["id"]) for member in result)

    async def say(self, chat_id: int, text: str) -> bool:
        """Reply in HTML; returns whether Telegram confirmed it.

        Tried again only where Telegram surely has not taken it. A reply that may have arrived is not
        repeated: a person who misses it can send the command again.
        """
        from telegram import LinkPreviewOptions
        from telegram.error import TelegramError

        for failures in range(1, ANSWER_TRIES + 1):
            try:
                await self._bot.send_message(
                    chat_id, text, parse_mode="HTML", link_preview_options=LinkPreviewOptions(is_disabled=True)
                )
            except TelegramError as error:
                seconds = _seconds_to_next_try(error, failures)
                logger.warning("reply to chat %s: %s", chat_id, self.problem(error))
                if seconds is None or seconds > LONGEST_WAIT_SECONDS:
                    return False
                await asyncio.sleep(seconds)
            else:
                return True
        return False

    def problem(self, error: BaseException) -> str:
        """The error for a person, without the token and with the remedy where there is one."""
        from telegram.error import Conflict, TelegramError

        # The text of other errors may contain secrets: statements with their values, addresses.
        text = str(error) if isinstance(error, TelegramError | HybridMLError) else "its text may contain secrets"
        if isinstance(error, Conflict):
            text = f"{text}: {WEBHOOK if 'webhook' in text else ELSEWHERE}"
        cause = f" ({type(error.__cause__).__name__})" if error.__cause__ else ""
        return f"{type(error).__name__}{cause}: {text}".replace(self._token, "<TELEGRAM_BOT_TOKEN>")

    async def close(self) -> None:
        """Close the connections."""
        await asyncio.gather(*(request.shutdown() for request in self._requests), return_exceptions=True)


def _seconds_to_next_try(error: BaseException, failures: int) -> float | None:
    """None: Telegram refused, or may have taken it; a reply is sent again only where it surely was not taken."""
    if request := asked_wait_seconds(error):
        return request
    never_sent = type(error.__cause__).__name__ in NEVER_SENT
    return backoff_seconds(failures, LONGEST_WAIT_SECONDS) if never_sent else None


def _request() -> "HTTPXRequest":
    from telegram.request import HTTPXRequest

    return HTTPXRequest(
        connect_timeout=TIMEOUT_SECONDS,
        read_timeout=TIMEOUT_SECONDS,
        write_timeout=TIMEOUT_SECONDS,
        pool_timeout=TIMEOUT_SECONDS,
    )


def _bot(token: str, base_url: str, requests: "list[HTTPXRequest]") -> "Bot":
    silence_http_loggers()
    from telegram import Bot
    from telegram.warnings import PTBUserWarning

    # Raw updates and raw administrators: see `poll` and `administrators`.
    warnings.filterwarnings("ignore", "Please use 'Bot.get(Updates|ChatAdministrators)'", PTBUserWarning)
    return Bot(token, base_url=base_url or PUBLIC_BASE_URL, get_updates_request=requests[0], request=requests[1])
