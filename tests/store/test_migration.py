"""Alerts of before the outbox, through its migration, back and through it again."""

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import IntegrityError

from hybrid_ml.store.schema_version import SCHEMA_FOLDER, VERSION_TABLE

STATES = ("sent", "logged", "refused", "pending")
ALERTS = """
INSERT INTO predictions (symbol, bar_time, as_of, close, p_down, p_flat, p_up, threshold, direction, confidence,
    model_version, preset, gates, signal, degraded, fell_back)
SELECT 'A<B', t, t, 100, 0.1, 0.2, 0.7, 0.001, 'up', 0.7, 'v', 'balanced', '[]', true, false, false
FROM generate_series('2024-01-01Z'::timestamptz, '2024-01-01 00:30Z', '10 minutes') AS t;
INSERT INTO alerts (symbol, bar_time, created_at, message, state, settled_at)
SELECT symbol, bar_time, bar_time + interval '1 minute', 'a < b & c', (ARRAY['sent', 'logged', 'refused', 'pending'])[
        1 + extract(minute FROM bar_time)::int / 10],
    CASE WHEN extract(minute FROM bar_time) < 30 THEN bar_time + interval '2 minutes' END
FROM predictions;
"""


@pytest.fixture
def old(address: str) -> Engine:
    """A database as it was before, with an alert in every state."""
    engine = create_engine(address.replace("postgresql://", "postgresql+psycopg2://"))
    move(engine, "0002")
    with engine.begin() as connection:
        connection.execute(text(ALERTS.replace("::", "\\:\\:").replace("'2024-01-01 00:30Z'", "'2024-01-01 00\\:30Z'")))
    return engine


def move(engine: Engine, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(SCHEMA_FOLDER))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        here = (
            connection.dialect.has_table(connection, VERSION_TABLE)
            and connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
        )
        (command.downgrade if here and here > revision else command.upgrade)(config, revision)


def found(engine: Engine, statement: str) -> list[tuple]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(statement))]


def test_old_alerts_come_through_and_back(old: Engine) -> None:
    message = (
        "SELECT state, text, detail, chat_id, send_after = a.created_at, settled_at >= a.created_at "
        "FROM alerts a JOIN deliveries d ON alert_id = a.id ORDER BY bar_time"
    )
    move(old, "0003")
    once = found(old, message)
    assert [row[0] for row in once] == ["sent", "logged", "refused", "expired"]
    assert {row[1] for row in once} == {"a &lt; b &amp; c"}
    assert once[3][2] == "waiting when the outbox was made anew"
    assert all(row[3] == "" and row[4] and row[5] for row in once)
    move(old, "0002")
    assert found(old, "SELECT state, message FROM alerts ORDER BY bar_time") == [
        (state, "a < b & c") for state in STATES
    ]
    move(old, "0003")
    assert found(old, message) == once


def test_a_pause_that_had_no_end_gets_one(address: str) -> None:
    engine = create_engine(address.replace("postgresql://", "postgresql+psycopg2://"))
    move(engine, "0004")
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO chats VALUES ('42', NULL, 'infinity'), ('43', NULL, now())"))
    move(engine, "0005")
    hours = "extract(epoch FROM paused_until - now()) / 3600"
    assert found(engine, f"SELECT chat_id, round({hours}) FROM chats ORDER BY 1") == [("42", 24), ("43", 0)]
    with pytest.raises(IntegrityError, match="chats_pause_ends"), engine.begin() as connection:
        connection.execute(text("UPDATE chats SET paused_until = 'infinity'"))
