"""Where things are. The only reader of the environment and of `.env`."""

import json
import os
import re
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from hybrid_ml.errors import BadInput

CHECKOUT = Path(__file__).resolve().parents[1]
MOST_NUM_THREADS = 4
MAX_GAP_MINUTES = 30
LOCK_WAIT_SECONDS = 120


def project_folder() -> Path:
    """The checkout the program runs from, or the current folder for an installed copy."""
    return CHECKOUT if (CHECKOUT / "pyproject.toml").is_file() else Path.cwd()


def _chat_id(value: object) -> str:
    """A chat's number, or the @name of a public channel."""
    name = str(value).strip()
    if isinstance(value, bool) or not re.fullmatch(r"-?\d{1,20}|@\w{1,64}", name, re.ASCII):
        raise ValueError(f"{name!r} is no chat: give its number, such as 123456789 or -1001234567890, or @channelname")
    return name


ChatId = Annotated[str, BeforeValidator(_chat_id)]


class Chat(BaseModel):
    """One receiver of alerts, and which ones it wants: all symbols when none are named."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    chat_id: ChatId
    min_confidence: float = Field(0.0, ge=0, le=1)
    symbols: list[str] = []

    def wants(self, symbol: str, confidence: float) -> bool:
        """Whether a signal of `symbol` as sure as `confidence` is for this chat."""
        return confidence >= self.min_confidence and (not self.symbols or symbol in self.symbols)


class Settings(BaseSettings):
    """Environment variables, each of which may also stand in `.env`; an empty one counts as unset."""

    model_config = SettingsConfigDict(env_file=(project_folder() / ".env", ".env"), extra="ignore", frozen=True)

    neon_conn_str: SecretStr = Field(SecretStr(""), description="PostgreSQL; unset: the embedded one")
    telegram_bot_token: SecretStr = Field(SecretStr(""), description="token of the bot that sends alerts")
    telegram_chat_id: str = Field("", description="the chat that receives them, or several, comma separated")
    telegram_chats: Annotated[list[Chat], NoDecode] = Field(
        [], description='chats with wishes: [{"chat_id": "42", "min_confidence": 0.7, "symbols": ["BTCUSD"]}]'
    )
    telegram_base_url: str = Field("", description="a self-hosted Bot API server, http://host:port/bot")
    hybrid_ml_symbols: str = Field("", description="symbols, comma separated; the first is the default one")
    hybrid_ml_models_dir: Path = Field(Path("models"), description="local copies of the serving models")
    hybrid_ml_data_dir: Path = Field(Path(".data"), description="the embedded PostgreSQL and other working files")
    hybrid_ml_max_gap_minutes: int = Field(
        MAX_GAP_MINUTES, ge=0, le=1_440, description="missing minutes filled with the last close; more end a session"
    )
    hybrid_ml_lock_wait_seconds: float = Field(
        LOCK_WAIT_SECONDS, ge=0, le=3_600, description="how long to wait for another run on the same symbol"
    )
    hybrid_ml_num_threads: int = Field(
        0, ge=0, le=256, description="threads for training; 0: one per core, four at most"
    )
    hybrid_ml_dask_address: str = Field(
        "", description="scheduler for `replay --runner dask`, tcp://host:8786; unset: a cluster on this machine"
    )

    @property
    def symbols(self) -> list[str]:
        """The configured symbols in order; empty when none are configured."""
        return list(dict.fromkeys(_split(self.hybrid_ml_symbols)))

    @property
    def models_dir(self) -> Path:
        return project_folder() / self.hybrid_ml_models_dir

    @property
    def data_dir(self) -> Path:
        return project_folder() / self.hybrid_ml_data_dir

    @property
    def uses_embedded_database(self) -> bool:
        return not self.neon_conn_str.get_secret_value().strip()

    @property
    def telegram_configured(self) -> bool:
        return bool(self.telegram_bot_token.get_secret_value().strip() and self.chats)

    @property
    def chats(self) -> list[Chat]:
        """Every receiver once; what TELEGRAM_CHATS says of one counts, not its plain mention."""
        plain = [Chat(chat_id=chat_id) for chat_id in _split(self.telegram_chat_id)]
        return list({chat.chat_id: chat for chat in [*plain, *self.telegram_chats]}.values())

    @field_validator("telegram_chat_id")
    @classmethod
    def _every_chat_is_one(cls, value: str) -> str:
        return ",".join(_chat_id(name) for name in _split(value))

    @field_validator("telegram_chats", mode="before")
    @classmethod
    def _chats_are_json(cls, value: object) -> object:
        """An empty one counts as unset."""
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value) if value.strip() else []
        except ValueError:
            raise ValueError(
                f'not JSON; write it like [{{"chat_id": "42", "min_confidence": 0.7}}], not {value}'
            ) from None

    @cached_property
    def training_threads(self) -> int:
        """Threads for training; a crowded machine is faster with few, so never all of a big one."""
        return self.hybrid_ml_num_threads or min(cores(), MOST_NUM_THREADS)


def _split(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def load_settings() -> Settings:
    """Read the environment now. Raises BadInput naming the variable when a value cannot be used."""
    try:
        return Settings()
    except ValidationError as error:
        problems = "; ".join(f"{str(item['loc'][0]).upper()}: {item['msg']}" for item in error.errors())
        raise BadInput(problems) from None
