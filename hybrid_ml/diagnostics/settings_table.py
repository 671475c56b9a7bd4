"""Every setting, its value and its source: for `hybrid-ml status` and `hybrid-ml check`."""

from collections.abc import Callable

from pydantic import BaseModel, SecretStr

from hybrid_ml.config.settings import DEFAULT, Settings
from hybrid_ml.errors import StoreUnavailable, one_line
from hybrid_ml.store.engine import parse_address
from hybrid_ml.text.counts import counted

MASKED = "********"
LONGEST_SELECT = 60


class SettingRow(BaseModel):
    """One setting for display: its variable, its value with secrets masked, its source."""

    name: str
    shown: str
    origin: str


def list_settings(settings: Settings) -> list[SettingRow]:
    """One row for each setting, in the order of `.env.example`."""
    return [
        SettingRow(name=name.upper(), shown=SHOWN.get(name, _plain(name))(settings), origin=settings.origin(name))
        for name in type(settings).model_fields
    ]


def format_overrides(settings: Settings) -> str:
    """The settings that differ from the defaults, and their sources."""
    stated = [row for row in list_settings(settings) if row.origin != DEFAULT]
    return "; ".join(f"{row.name} {row.shown} ({row.origin})" for row in stated) or "all at their defaults"


def _database(settings: Settings) -> str:
    if settings.uses_embedded_database:
        return "the embedded PostgreSQL"
    return _address(settings.neon_conn_str)


def _feed_database(settings: Settings) -> str:
    return (
        _address(settings.hybrid_ml_sql_feed_url) if settings.hybrid_ml_sql_feed_url.get_secret_value() else "not set"
    )


def _address(stated: SecretStr) -> str:
    """Without user name and password; masked as a whole where it cannot be read."""
    try:
        url = parse_address(stated.get_secret_value().strip())
    except StoreUnavailable:
        return MASKED
    return f"{url.host or 'localhost'}:{url.port or 5432}/{url.database}"


def _token(settings: Settings) -> str:
    return _masked(settings.telegram_bot_token)


def _masked(secret: SecretStr) -> str:
    return MASKED if secret.get_secret_value() else "not set"


def _chats(count: int) -> str:
    """A chat's number is in a Secret block, so it is not shown."""
    return counted(count, "chat") if count else "not set"


def _plain(name: str) -> Callable[[Settings], str]:
    def shown(settings: Settings) -> str:
        value = getattr(settings, name)
        return "not set" if value in ("", None) else str(value)

    return shown


SHOWN: dict[str, Callable[[Settings], str]] = {
    "neon_conn_str": _database,
    "telegram_bot_token": _token,
    "telegram_chat_id": lambda settings: _chats(sum(map(bool, settings.telegram_chat_id.split(",")))),
    "telegram_chats": lambda settings: _chats(len(settings.telegram_chats)),
    "hybrid_ml_sql_feed": lambda settings: one_line(settings.hybrid_ml_sql_feed, LONGEST_SELECT) or "not set",
    "hybrid_ml_sql_feed_url": _feed_database,
    "hybrid_ml_health_webhook_url": lambda settings: _masked(settings.hybrid_ml_health_webhook_url),
    "hybrid_ml_heartbeat_url": lambda settings: _masked(settings.hybrid_ml_heartbeat_url),
}
