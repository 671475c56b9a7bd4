"""Formats of settings that hold more than one word or number: chats, addresses, leaders; each says how to write it."""

import json
import re
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
)
from pydantic_settings import NoDecode

from hybrid_ml.config.leaders import parse_leaders

OFF = "off"


def split_names(names: str) -> list[str]:
    """The parts between commas, stripped, without empty ones."""
    return [name.strip() for name in names.split(",") if name.strip()]


def _chat_id(value: object) -> str:
    """A chat's number, or the @name of a public channel."""
    name = str(value).strip()
    if re.search(r"\d:[\w-]{5}", name):
        raise ValueError("the value has the form of a bot token, which belongs into TELEGRAM_BOT_TOKEN")
    if isinstance(value, bool) or not re.fullmatch(r"-?\d{1,20}|@\w{1,64}", name, re.ASCII):
        raise ValueError(f"{name!r} is no chat: give its number, such as 123456789 or -1001234567890, or @channelname")
    return name.lower() if name.startswith("@") else str(int(name))


ChatId = Annotated[str, BeforeValidator(_chat_id)]


class Chat(BaseModel):
    """One receiver of alerts, and which ones it wants: all symbols when none are named."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    chat_id: ChatId
    min_confidence: float = Field(0.0, ge=0, le=1)
    symbols: list[Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]] = []
    commands: Literal["administrators", "everyone"] = "administrators"
    """Who may /pause and /resume a group; a private chat's owner always may."""

    def wants(self, symbol: str, confidence: float) -> bool:
        """Whether a signal of `symbol` as sure as `confidence` is for this chat."""
        return confidence >= self.min_confidence and (not self.symbols or symbol in self.symbols)


def _chat_ids(value: str) -> str:
    return ",".join(_chat_id(name) for name in split_names(value))


def _chat_ids_or_off(value: str) -> str:
    return OFF if value.strip().lower() == OFF else _chat_ids(value)


def _chats_of_json(value: object) -> object:
    """The list in the JSON text `value`; an empty text counts as unset."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value) if value.strip() else []
    except ValueError:
        raise ValueError('not JSON; write it like [{"chat_id": "42", "min_confidence": 0.7}]') from None


def _secret_url(value: SecretStr) -> SecretStr:
    url = value.get_secret_value().strip()
    if url and not re.fullmatch(r"https?://[^\s/]+(/\S*)?", url):
        raise ValueError("no URL; write it like https://host/path")
    return SecretStr(url)


def _bot_api_address(value: str) -> str:
    if value.strip() and not re.fullmatch(r"https?://[^\s/]+/\S*", value.strip()):
        raise ValueError("no address; write it like http://127.0.0.1:8081/bot")
    return value.strip()


def _exchange_address(value: str) -> str:
    if value.strip() and not re.fullmatch(r"https?://[^\s/]+(/\S*)?", value.strip()):
        raise ValueError("no address; write it like https://data-api.binance.vision")
    return value.strip()


def _exchange_addresses(value: str) -> str:
    for item in split_names(value):
        if not re.fullmatch(r"[a-z0-9]+ *= *https?://[^\s/]+/?", item):
            raise ValueError(f"{item!r} is no name with an address; write it like kraken=https://host")
    return value


def _leaders(value: str) -> str:
    parse_leaders(value)
    return value


ChatIds = Annotated[str, AfterValidator(_chat_ids)]
ChatIdsOrOff = Annotated[str, AfterValidator(_chat_ids_or_off)]
ChatList = Annotated[list[Chat], NoDecode, BeforeValidator(_chats_of_json)]
SecretUrl = Annotated[SecretStr, AfterValidator(_secret_url)]
BotApiAddress = Annotated[str, AfterValidator(_bot_api_address)]
ExchangeAddress = Annotated[str, AfterValidator(_exchange_address)]
ExchangeAddresses = Annotated[str, AfterValidator(_exchange_addresses)]
Leaders = Annotated[str, AfterValidator(_leaders)]
