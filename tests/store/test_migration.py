"""Migrations of alerts, pauses, rejected rows and bars of earlier versions, forward and back."""

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
    """A database with the schema before the outbox and an alert in every state."""
    engine = create_engine(address.replace("postgresql://", "postgresql+psycopg2://"))
    migrate_to(engine, "0002")
    with engine.begin() as connection:
        connection.execute(text(ALERTS.replace("::", "\\:\\:").replace("'2024-01-01 00:30Z'", "'2024-01-01 00\\:30Z'")))
    return engine


def migrate_to(engine: Engine, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(SCHEMA_FOLDER))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        current = (
            connection.dialect.has_table(connection, VERSION_TABLE)
            and connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
        )
        (command.downgrade if current and current > revision else command.upgrade)(config, revision)


def rows(engine: Engine, statement: str) -> list[tuple]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(statement))]


def test_old_alerts_are_migrated_forward_and_back(old: Engine) -> None:
    message = (
        "SELECT state, text, detail, chat_id, send_after = a.created_at, settled_at >= a.created_at "
        "FROM alerts a JOIN deliveries d ON alert_id = a.id ORDER BY bar_time"
    )
    migrate_to(old, "0003")
    migrated_rows = rows(old, message)
    assert [row[0] for row in migrated_rows] == ["sent", "logged", "refused", "expired"]
    assert {row[1] for row in migrated_rows} == {"a &lt; b &amp; c"}
    assert migrated_rows[3][2] == "waiting when the outbox was made anew"
    assert all(row[3] == "" and row[4] and row[5] for row in migrated_rows)
    migrate_to(old, "0002")
    assert rows(old, "SELECT state, message FROM alerts ORDER BY bar_time") == [
        (state, "a < b & c") for state in STATES
    ]
    migrate_to(old, "0003")
    assert rows(old, message) == migrated_rows


def test_pause_without_end_is_limited_to_24_hours(address: str) -> None:
    engine = create_engine(address.replace("postgresql://", "postgresql+psycopg2://"))
    migrate_to(engine, "0004")
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO chats VALUES ('42', NULL, 'infinity'), ('43', NULL, now())"))
    migrate_to(engine, "0005")
    hours = "extract(epoch FROM paused_until - now()) / 3600"
    assert rows(engine, f"SELECT chat_id, round({hours}) FROM chats ORDER BY 1") == [("42", 24), ("43", 0)]
    with pytest.raises(IntegrityError, match="chats_pause_ends"), engine.begin() as connection:
        connection.execute(text("UPDATE chats SET paused_until = 'infinity'"))


def test_rejected_rows_are_known_by_their_content(address: str) -> None:
    engine = create_engine(address.replace("postgresql://", "postgresql+psycopg2://"))
    migrate_to(engine, "0005")
    insert = "INSERT INTO bars_set_aside (symbol, source, row_number, reason, raw) VALUES ('A', 'f', {}, 'r', '{}')"
    with engine.begin() as connection:
        for number, raw in ((1, "x"), (2, "x"), (3, "y")):
            connection.execute(text(insert.format(number, raw)))
    migrate_to(engine, "0006")
    kept = rows(engine, "SELECT row_number, raw, time FROM bars_set_aside ORDER BY 1")
    assert [row[1:] for row in kept] == [("x", None), ("y", None)]
    with engine.begin() as connection:
        connection.execute(text(insert.format(3, "z")))
    migrate_to(engine, "0005")
    assert [row[1] for row in rows(engine, "SELECT row_number, raw FROM bars_set_aside ORDER BY 1")] == ["x", "z"]


def test_bars_of_before_the_feeds_state_nothing_beside_their_prices(address: str) -> None:
    engine = create_engine(address.replace("postgresql://", "postgresql+psycopg2://"))
    migrate_to(engine, "0006")
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO bars VALUES ('ABC', '2024-01-01Z', 1, 2, 0.5, 1.5, 7)"))
    migrate_to(engine, "0007")
    assert rows(engine, "SELECT volume, quote_volume, trades, taker_buy_volume FROM bars") == [(7, None, None, None)]
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO coverage VALUES ('ABC', '2024-01-01Z', '2024-01-02Z', 'have')"))
    migrate_to(engine, "0006")
    assert rows(engine, "SELECT * FROM bars")[0][2:] == (1, 2, 0.5, 1.5, 7)
    migrate_to(engine, "0007")
    assert rows(engine, "SELECT * FROM coverage") == []
    with pytest.raises(IntegrityError, match="coverage_state_check"), engine.begin() as connection:
        connection.execute(text("INSERT INTO coverage VALUES ('ABC', '2024-01-01Z', '2024-01-02Z', 'perhaps')"))


def test_answers_of_before_have_no_reasons_and_reasons_are_lost_on_the_way_back(address: str) -> None:
    engine = create_engine(address.replace("postgresql://", "postgresql+psycopg2://"))
    migrate_to(engine, "0011")
    columns = "SELECT table_name FROM information_schema.columns WHERE column_name = 'reasons' ORDER BY 1"
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO predictions (symbol, bar_time, as_of, close, p_down, p_flat, p_up, threshold, direction, "
                "confidence, model_version, preset, gates, signal, degraded, fell_back) VALUES ('ABC', '2024-01-01Z', "
                "'2024-01-01Z', 1, 0.2, 0.2, 0.6, 0.1, 'up', 0.6, 'v', 'balanced', '[]', false, false, false)"
            )
        )
    migrate_to(engine, "0012")
    assert rows(engine, columns) == [("answers_not_counted",), ("predictions",)]
    assert rows(engine, "SELECT symbol, reasons FROM predictions") == [("ABC", None)]
    migrate_to(engine, "0011")
    assert rows(engine, columns) == []
    assert rows(engine, "SELECT symbol FROM predictions") == [("ABC",)]


def test_calendar_of_a_symbol_without_a_feed_is_lost_on_the_way_back(address: str) -> None:
    engine = create_engine(address.replace("postgresql://", "postgresql+psycopg2://"))
    migrate_to(engine, "0007")
    fed = "INSERT INTO instruments (symbol, feed, feed_symbol, calendar) VALUES ('ABC', 'binance', 'ABC', '24/7')"
    with engine.begin() as connection:
        connection.execute(text(fed))
    migrate_to(engine, "0008")
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO instruments (symbol, calendar) VALUES ('NIFTY', 'NSE')"))
        connection.execute(
            text("INSERT INTO sessions VALUES ('NSE', '2026-11-08', '2026-11-08Z', '2026-11-08Z', 'own')")
        )
    for wrong, match in (
        ("INSERT INTO instruments (symbol, feed, calendar) VALUES ('X', 'binance', '24/7')", "instruments_feed_check"),
        (
            "INSERT INTO sessions VALUES ('NSE', '2026-11-09', '2026-11-09Z', '2026-11-09Z', 'library')",
            "sessions_check",
        ),
    ):
        with pytest.raises(IntegrityError, match=match), engine.begin() as connection:
            connection.execute(text(wrong))
    migrate_to(engine, "0007")
    assert rows(engine, "SELECT symbol, feed FROM instruments") == [("ABC", "binance")]


def test_event_of_a_rename_is_lost_on_the_way_back(address: str) -> None:
    engine = create_engine(address.replace("postgresql://", "postgresql+psycopg2://"))
    migrate_to(engine, "0008")
    event = "INSERT INTO model_events (symbol, event, version) VALUES ('ABC', '{}', 'ABC@1')"
    with pytest.raises(IntegrityError, match="model_events_event_check"), engine.begin() as connection:
        connection.execute(text(event.format("renamed")))
    migrate_to(engine, "0009")
    with engine.begin() as connection:
        for kind in ("promoted", "renamed"):
            connection.execute(text(event.format(kind)))
    migrate_to(engine, "0008")
    assert rows(engine, "SELECT event FROM model_events") == [("promoted",)]


def test_answers_of_before_keep_that_they_were_silenced_and_new_ones_state_their_accuracy(address: str) -> None:
    engine = create_engine(address.replace("postgresql://", "postgresql+psycopg2://"))
    migrate_to(engine, "0012")
    insert = (
        "INSERT INTO predictions (symbol, bar_time, as_of, close, p_down, p_flat, p_up, threshold, direction, "
        "confidence, model_version, preset, gates, signal, fell_back, {}) VALUES ('ABC', '2024-01-0{}Z', "
        "'2024-01-01Z', 1, 0.2, 0.2, 0.6, 0.1, 'up', 0.6, 'v', 'balanced', '[]', false, false, {})"
    )
    with engine.begin() as connection:
        connection.execute(text(insert.format("degraded", 1, "true")))
    migrate_to(engine, "0013")
    with engine.begin() as connection:
        connection.execute(text(insert.format("recent_rows, recent_accuracy", 2, "200, 0.3")))
    figures = "SELECT degraded, recent_rows, recent_accuracy FROM predictions ORDER BY bar_time"
    assert rows(engine, figures) == [(True, None, None), (False, 200, 0.3)]
    migrate_to(engine, "0012")
    assert rows(engine, "SELECT degraded FROM predictions ORDER BY bar_time") == [(True,), (False,)]


def test_answers_of_before_the_entries_have_none_and_stay(address: str) -> None:
    engine = create_engine(address.replace("postgresql://", "postgresql+psycopg2://"))
    migrate_to(engine, "0010")
    insert = (
        "INSERT INTO {} (symbol, bar_time, as_of, close, p_down, p_flat, p_up, threshold, direction, confidence,"
        " model_version, preset, gates, signal, degraded, fell_back, outcome{}) VALUES ('ABC', '2024-01-01Z',"
        " '2024-01-01Z', 100, 0.2, 0.2, 0.6, 0.001, 'up', 0.6, 'M', 'balanced', '[]', true, false, false, 'up'{})"
    )
    with engine.begin() as connection:
        connection.execute(text(insert.format("predictions", "", "")))
        connection.execute(text(insert.format("answers_not_counted", ", reason", ", 'r'")))
    for table in ("predictions", "answers_not_counted"):
        migrate_to(engine, "0011")
        entry = f"SELECT outcome, entry_time, entry_price, entry_return, tradable FROM {table}"
        assert rows(engine, entry) == [("up", None, None, None, None)]
        migrate_to(engine, "0010")
        assert rows(engine, f"SELECT outcome FROM {table}") == [("up",)]
