"""Where things are. The only reader of the environment and of `.env`; blocks of a server may override what is unset."""

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from pydantic import Field, PrivateAttr, SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from hybrid_ml.config.formats import (
    OFF,
    BotApiAddress,
    Chat,
    ChatIds,
    ChatIdsOrOff,
    ChatList,
    ExchangeAddress,
    ExchangeAddresses,
    Leaders,
    SecretUrl,
    split_names,
)
from hybrid_ml.config.leaders import LeaderWishes, parse_leaders
from hybrid_ml.config.overrides import SettingOverride, current_overrides
from hybrid_ml.config.thresholds import MaxEntropy, MaxSignals, MinConfidence, MinProbMargin, SignalsPerDay
from hybrid_ml.errors import BadInput

CHECKOUT = Path(__file__).resolve().parents[2]
MOST_NUM_THREADS = 4
MAX_GAP_MINUTES = 30
LOCK_WAIT_SECONDS = 120
MIN_FREE_MB = 1_024
SETTLING_SECONDS = 2
SILENCE_SECONDS = 150
"""Longer than a machine is suspended when it is moved or its lid closed briefly, far shorter than a slot is useful."""
SECRETS = {
    "hybrid_ml_health_chat_id",
    "hybrid_ml_health_webhook_url",
    "hybrid_ml_heartbeat_url",
    "hybrid_ml_sql_feed_url",
}
"""Of the settings whose value an error shows otherwise; in the place of a chat there may stand a token."""
ENVIRONMENT, ENV_FILE, DEFAULT = "environment", ".env", "default"
"""Where a value comes from, unless it is an override, which says so itself."""


def project_folder() -> Path:
    """The checkout the program runs from, or the current folder for an installed copy."""
    return CHECKOUT if (CHECKOUT / "pyproject.toml").is_file() else Path.cwd()


class Settings(BaseSettings):
    """Environment variables, each of which may also stand in `.env`; an empty one counts as unset.

    The environment wins over `.env`, even with an empty one; both win over overrides.
    """

    model_config = SettingsConfigDict(env_file=(project_folder() / ".env", ".env"), extra="ignore", frozen=True)

    neon_conn_str: SecretStr = Field(SecretStr(""), description="PostgreSQL; unset: the embedded one")
    telegram_bot_token: SecretStr = Field(SecretStr(""), description="token of the bot that sends alerts")
    telegram_chat_id: ChatIds = Field("", description="the chat that receives them, or several, comma separated")
    telegram_chats: ChatList = Field(
        [], description='chats with wishes: [{"chat_id": "42", "min_confidence": 0.7, "symbols": ["BTCUSD"]}]'
    )
    telegram_base_url: BotApiAddress = Field("", description="a self-hosted Bot API server, http://host:port/bot")
    hybrid_ml_symbols: str = Field("", description="symbols, comma separated; the first is the default one")
    hybrid_ml_leaders: Leaders = Field(
        "auto",
        description="whose bars models see too: auto, none, BTCUSD,ETHUSD or EOSUSD:BTCUSD;ADAUSD:none",
    )
    hybrid_ml_models_dir: Path = Field(Path("models"), description="local copies of the serving models")
    hybrid_ml_data_dir: Path = Field(Path(".data"), description="the embedded PostgreSQL and other working files")
    hybrid_ml_postgres_bin: Path | None = Field(
        None, description="folder of the programs of a PostgreSQL, 14 or newer; unset: the bundled one"
    )
    hybrid_ml_backup_dir: Path | None = Field(None, description="folder of nightly backups; unset: none are made")
    hybrid_ml_backups_kept: int = Field(7, ge=1, le=10_000, description="nightly backups kept, the newest")
    hybrid_ml_max_gap_minutes: int = Field(
        MAX_GAP_MINUTES, ge=0, le=1_440, description="missing minutes filled with the last close; more end a session"
    )
    hybrid_ml_lock_wait_seconds: float = Field(
        LOCK_WAIT_SECONDS, ge=0, le=3_600, description="how long to wait for another run on the same symbol"
    )
    hybrid_ml_min_free_mb: int = Field(
        MIN_FREE_MB, ge=0, le=1_000_000_000, description="free disk, megabytes, below which the service says so"
    )
    hybrid_ml_server_wait_seconds: float = Field(300, ge=0, le=3_600, description="wait for a silent Prefect server")
    hybrid_ml_num_threads: int = Field(
        0, ge=0, le=256, description="threads for training; 0: one per core, four at most"
    )
    hybrid_ml_dask_address: str = Field(
        "", description="scheduler for `--runner dask`, tcp://host:8786; unset: a cluster on this machine"
    )
    hybrid_ml_allowed_hosts: str = Field(
        "", description="host names that the server of `hybrid-ml up` may be reached by, comma separated"
    )
    hybrid_ml_files: str = Field(
        "", description="folders whose files runs of a deployment may read and write, beside project and data folder"
    )
    hybrid_ml_max_file_mb: int = Field(
        500, ge=1, le=100_000, description="megabytes of a file of bars at most, expanded; 10,000 rows for each"
    )
    hybrid_ml_binance_url: ExchangeAddress = Field(
        "", description="address that speaks Binance's API, https://host; unset: that of the exchange"
    )
    hybrid_ml_exchange_urls: ExchangeAddresses = Field(
        "",
        description="addresses asked instead of those in ccxt, comma separated: kraken=https://host,okx=https://host",
    )
    hybrid_ml_sql_feed: str = Field(
        "", description="SELECT of `--exchange sql`, with :symbol and :since, or the path of a .sql file that holds it"
    )
    hybrid_ml_sql_feed_url: SecretStr = Field(
        SecretStr(""), description="PostgreSQL that the SELECT runs on; unset: the project's database"
    )
    hybrid_ml_settling_seconds: float = Field(
        SETTLING_SECONDS, ge=0, le=60, description="how long after its minute a bar of an exchange counts as final"
    )
    hybrid_ml_min_confidence: MinConfidence | None = Field(None, description="top probability a signal needs")
    hybrid_ml_min_prob_margin: MinProbMargin | None = Field(None, description="lead over the second class it needs")
    hybrid_ml_max_entropy: MaxEntropy | None = Field(None, description="largest entropy it may have, nats")
    hybrid_ml_max_signals: MaxSignals | None = Field(None, description="signals of one run at most")
    hybrid_ml_signals_per_day: SignalsPerDay | None = Field(
        None, description="signals a day that the least confidence is raised for"
    )
    hybrid_ml_silence_seconds: float = Field(
        SILENCE_SECONDS, ge=5, le=3_600, description="how long a part of `up` may be silent before it is replaced"
    )
    hybrid_ml_health_chat_id: ChatIdsOrOff = Field(
        "", description="chats that hear when the service is ill, comma separated; unset: those of alerts; none: `off`"
    )
    hybrid_ml_health_webhook_url: SecretUrl = Field(SecretStr(""), description="URL that gets the same as JSON")
    hybrid_ml_heartbeat_url: SecretUrl = Field(
        SecretStr(""),
        description="URL of a dead-man's switch, requested after each good slot, URL/fail after a bad one",
    )
    hybrid_ml_health_patience_seconds: float = Field(
        300, ge=0, le=86_400, description="time before a problem is reported"
    )
    hybrid_ml_stale_bars_minutes: float = Field(
        30, gt=0, le=10_080, description="age of the newest bar that is reported"
    )
    hybrid_ml_missed_slots_minutes: float = Field(
        25, gt=0, le=10_080, description="time without good slots that is reported"
    )
    hybrid_ml_blocks: bool = Field(True, description="whether blocks and the Variable of the Prefect server count")

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  # the signature is pydantic-settings'
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """`load_settings` reads the sources, for it must know which of them a value is from."""
        return (init_settings,)

    def origin(self, name: str) -> str:
        """Where the value of setting `name` is from: environment, .env, a block, a variable, or default."""
        return self._origins.get(name, DEFAULT)

    def setting_source(self, name: str) -> str:
        """What a person changes to change setting `name`: its block, else its environment variable."""
        origin = self.origin(name)
        return name.upper() if origin in (ENVIRONMENT, ENV_FILE, DEFAULT) else origin

    @property
    def symbols(self) -> list[str]:
        """The configured symbols in order; empty when none are configured."""
        return list(dict.fromkeys(split_names(self.hybrid_ml_symbols)))

    @property
    def leader_wishes(self) -> LeaderWishes:
        """The leaders that are named for symbols, or that they are to be chosen."""
        return parse_leaders(self.hybrid_ml_leaders)

    @property
    def allowed_hosts(self) -> list[str]:
        """Names by which the server may be reached, beside its own; `*.example.com` means all below it."""
        return list(dict.fromkeys(split_names(self.hybrid_ml_allowed_hosts)))

    @property
    def models_dir(self) -> Path:
        return project_folder() / self.hybrid_ml_models_dir

    @property
    def data_dir(self) -> Path:
        return project_folder() / self.hybrid_ml_data_dir

    @property
    def backup_dir(self) -> Path | None:
        """The folder of nightly backups, where one is configured."""
        return project_folder() / self.hybrid_ml_backup_dir if self.hybrid_ml_backup_dir else None

    @property
    def file_folders(self) -> list[Path]:
        """The folders of HYBRID_ML_FILES, with commas or the system's path separator between them."""
        return [project_folder() / name for name in split_names(self.hybrid_ml_files.replace(os.pathsep, ","))]

    @property
    def uses_embedded_database(self) -> bool:
        return not self.neon_conn_str.get_secret_value().strip()

    @property
    def exchange_urls(self) -> dict[str, str]:
        """Addresses by the names of exchanges in ccxt."""
        parts = (item.partition("=") for item in split_names(self.hybrid_ml_exchange_urls))
        return {name.strip(): url.strip().rstrip("/") for name, _, url in parts}

    @property
    def telegram_configured(self) -> bool:
        return not self.missing_telegram_settings

    @property
    def chats(self) -> list[Chat]:
        """Every receiver with its wishes; one that stands in TELEGRAM_CHATS several times has several."""
        wishes = {chat.chat_id for chat in self.telegram_chats}
        plain = [Chat(chat_id=chat_id) for chat_id in dict.fromkeys(split_names(self.telegram_chat_id))]
        return [*(chat for chat in plain if chat.chat_id not in wishes), *self.telegram_chats]

    @property
    def chat_ids(self) -> list[str]:
        """Every receiver once."""
        return list(dict.fromkeys(chat.chat_id for chat in self.chats))

    @property
    def health_chat_ids(self) -> list[str]:
        """The chats that hear when the service is ill; none where there is no bot."""
        if self.hybrid_ml_health_chat_id == OFF or not self.telegram_bot_token.get_secret_value().strip():
            return []
        return list(dict.fromkeys(split_names(self.hybrid_ml_health_chat_id))) or self.chat_ids

    @property
    def missing_telegram_settings(self) -> str:
        """Which variables are missing for alerts to leave; empty when none is."""
        missing = [] if self.telegram_bot_token.get_secret_value().strip() else ["TELEGRAM_BOT_TOKEN"]
        missing += [] if self.chats else ["TELEGRAM_CHAT_ID"]
        return f"{' and '.join(missing)} not set" if missing else ""

    @cached_property
    def training_threads(self) -> int:
        """Threads for training; a crowded machine is faster with few, so never all of a big one."""
        return self.hybrid_ml_num_threads or min(cores(), MOST_NUM_THREADS)


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def load_settings() -> Settings:
    """Read the environment now. Raises BadInput naming the variable when a value cannot be used."""
    own = _stated()
    settings = _validated(own)
    return _validated({**current_overrides(), **own}) if settings.hybrid_ml_blocks and current_overrides() else settings


def _stated() -> dict[str, SettingOverride]:
    """What environment and `.env` state; an empty variable hides its line in `.env`, and then counts as unset."""
    from_file = {name: (value, ENV_FILE) for name, value in DotEnvSettingsSource(Settings)().items()}
    from_environment = {name: (value, ENVIRONMENT) for name, value in EnvSettingsSource(Settings)().items()}
    both = {**from_file, **from_environment}
    return {name: SettingOverride(value, origin) for name, (value, origin) in both.items() if value and value.strip()}


def _validated(stated: Mapping[str, SettingOverride]) -> Settings:
    try:
        settings = Settings(**{name: item.value for name, item in stated.items()})  # type: ignore[arg-type]
    except ValidationError as error:
        raise BadInput("; ".join(_problem(item, stated) for item in error.errors())) from None
    settings._origins = {name: item.origin for name, item in stated.items()}
    return settings


def _problem(problem: ErrorDetails, stated: Mapping[str, SettingOverride]) -> str:
    """Which variable or block, and where in it; its value only where that cannot be secret."""
    name, *within = problem["loc"]
    where = "".join(f", entry {part + 1}" if isinstance(part, int) else f", {part}" for part in within)
    text, source = problem["msg"].removeprefix("Value error, "), stated[str(name)]
    if source.origin not in (ENVIRONMENT, ENV_FILE):
        for part in split_names(source.value):
            text = text.replace(repr(part), "what it holds")
        return f"{source.origin}{where}: {text}"
    value = f" {source.value}" if str(name).startswith("hybrid_ml_") and str(name) not in SECRETS else ""
    return f"{str(name).upper()}{value}{where}: {text}"
