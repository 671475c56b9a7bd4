"""Filling the outbox, and looking at what became of it."""

from base64 import b64decode
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine, text

from hybrid_ml.store import alerts
from hybrid_ml.store.alerts import Alert, Recipient

PNG = b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
"""The smallest picture."""
DAY = datetime(2024, 2, 2, tzinfo=UTC)


def put(
    engine: Engine, number: int, chats: list[str], *, seconds: float = 600, words: str = "", picture: bytes | None = None
) -> str:
    """One alert for `chats`, fresh for so many seconds; returns the word by which it can be found again."""
    name = f"alert-{number:05d}"
    told = f"<b>{name}</b> {words}".strip()
    with engine.begin() as connection:
        alert = Alert(
            "summary", "", DAY + timedelta(days=number), None, told, picture, datetime.now(UTC) + timedelta(seconds=seconds)
        )
        assert alerts.write(connection, alert, [Recipient(chat) for chat in chats])
    return name


def deliveries(engine: Engine) -> dict[tuple[str, str], Any]:
    """Every delivery by the alert's word and the chat."""
    statement = "SELECT substring(text FROM 'alert-[0-9]+') AS name, d.* FROM deliveries d JOIN alerts a ON a.id = alert_id"
    with engine.connect() as connection:
        return {(row.name, row.chat_id): row for row in connection.execute(text(statement))}


def states(engine: Engine) -> dict[str, int]:
    """How many deliveries are in which state."""
    with engine.connect() as connection:
        found = connection.execute(text("SELECT state, count(*) FROM deliveries GROUP BY state"))
        return {state: count for state, count in found}
