"""The edge to Telegram, by way of python-telegram-bot."""

import asyncio
import logging
from typing import TYPE_CHECKING

from hybrid_ml.errors import AlertRefused
from hybrid_ml.settings import Settings

if TYPE_CHECKING:
    from telegram import Bot

TIMEOUT_SECONDS = 10.0
UNKNOWN_BOT = "Telegram does not know the bot: check TELEGRAM_BOT_TOKEN, and TELEGRAM_BASE_URL if it is set"
PUBLIC_BASE_URL = "https://api.telegram.org/bot"


def send_text(settings: Settings, message: str) -> None:
    """Send `message` to the configured chat and return once Telegram confirmed it.

    Raises AlertRefused when Telegram refuses for good (bad token, unknown chat, bot blocked), and
    python-telegram-bot's own TelegramError for whatever is worth another try. Neither shows the token.
    """
    asyncio.run(_send(settings, message))


def whoami(settings: Settings) -> str:
    """The bot's user name, as a check that token and address are right; raises as `send_text` does."""
    return asyncio.run(_whoami(settings))


async def _send(settings: Settings, message: str) -> None:
    from telegram.error import BadRequest, Forbidden, InvalidToken

    try:
        async with _bot(settings) as bot:
            await bot.send_message(chat_id=settings.telegram_chat_id.strip(), text=message)
    except InvalidToken:
        raise AlertRefused(UNKNOWN_BOT) from None
    except Forbidden as error:
        raise AlertRefused(
            f"Telegram refused ({error.message}): let chat {settings.telegram_chat_id} start or unblock the bot"
        ) from None
    except BadRequest as error:
        raise AlertRefused(
            f"Telegram refused ({error.message}): check TELEGRAM_CHAT_ID={settings.telegram_chat_id}"
        ) from None


async def _whoami(settings: Settings) -> str:
    from telegram.error import Forbidden, InvalidToken

    try:
        async with _bot(settings) as bot:
            return str(bot.username)
    except (InvalidToken, Forbidden):
        raise AlertRefused(UNKNOWN_BOT) from None


def _bot(settings: Settings) -> "Bot":
    from telegram import Bot
    from telegram.request import HTTPXRequest

    # Addresses hold the token: httpx logs them at INFO, and a garbled answer that repeats one is logged as an error.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("telegram").setLevel(logging.CRITICAL)
    request = HTTPXRequest(connect_timeout=TIMEOUT_SECONDS, read_timeout=TIMEOUT_SECONDS, write_timeout=TIMEOUT_SECONDS)
    token = settings.telegram_bot_token.get_secret_value().strip()
    return Bot(token, base_url=settings.telegram_base_url or PUBLIC_BASE_URL, request=request)
