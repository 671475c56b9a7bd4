"""Functions that fill ledger and outbox, and read the state of deliveries."""

from base64 import b64decode
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine, text

from hybrid_ml.signals.gates import Answer, Verdict
from hybrid_ml.store import outbox
from hybrid_ml.store.outbox import Alert, Recipient
from hybrid_ml.store.predictions import Prediction

PNG = b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
"""The smallest picture."""
DAY = datetime(2024, 2, 2, tzinfo=UTC)


def prediction(bar_time: datetime, **changes: object) -> Prediction:
    """An answer of ABC that is a signal, with `changes` applied."""
    values = {
        "symbol": "ABC",
        "bar_time": bar_time,
        "as_of": bar_time + timedelta(minutes=1),
        "close": 100.0,
        "answer": Answer(0.1, 0.2, 0.7),
        "threshold": 0.001,
        "model_version": "v",
        "preset": "balanced",
        "verdicts": [Verdict("confidence", 0.7, 0.6, True, "")],
        "signal": True,
        "silenced_by_penalty": False,
        "recent_rows": 200,
        "recent_accuracy": 0.5,
        "fell_back": False,
    }
    return Prediction(**{**values, **changes})  # type: ignore[arg-type]


def write_alert(
    engine: Engine,
    number: int,
    chats: list[str],
    *,
    seconds: float = 600,
    words: str = "",
    picture: bytes | None = None,
) -> str:
    """Write one alert for `chats`, valid for `seconds`; returns its name, which is part of its text."""
    name = f"alert-{number:05d}"
    message = f"<b>{name}</b> {words}".strip()
    with engine.begin() as connection:
        alert = Alert(
            "summary",
            "",
            DAY + timedelta(days=number),
            None,
            message,
            picture,
            datetime.now(UTC) + timedelta(seconds=seconds),
        )
        assert outbox.write(connection, alert, [Recipient(chat) for chat in chats])
    return name


def deliveries(engine: Engine) -> dict[tuple[str, str], Any]:
    """Every delivery by the alert's name and the chat."""
    statement = (
        "SELECT substring(text FROM 'alert-[0-9]+') AS name, d.* FROM deliveries d JOIN alerts a ON a.id = alert_id"
    )
    with engine.connect() as connection:
        return {(row.name, row.chat_id): row for row in connection.execute(text(statement))}


def states(engine: Engine) -> dict[str, int]:
    """Number of deliveries by state."""
    with engine.connect() as connection:
        counts = connection.execute(text("SELECT state, count(*) FROM deliveries GROUP BY state"))
        return {str(state): int(count) for state, count in counts}
