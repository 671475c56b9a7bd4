"""The bot's queries on a real PostgreSQL."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, create_engine, text

from hybrid_ml.evaluation.symbol_record import measure_record
from hybrid_ml.schemas.bot_status import BotCommand, ClaimedCommand, Pause
from hybrid_ml.schemas.signal_record import PastSignal, SymbolRecord
from hybrid_ml.store import bot_queries
from hybrid_ml.store.bot_queries import ServiceLock
from hybrid_ml.store.engine import limit_time
from tests.databases import end_other_connections

NOW = datetime(2024, 2, 2, 10, 20, tzinfo=UTC)
GATES = [
    {"gate": "direction", "passed": True},
    {"gate": "confidence", "passed": False},
    {"gate": "margin", "passed": False},
]


def add_prediction(connection: Connection, minutes_ago: float, **changes: Any) -> None:
    """A row of the ledger, `minutes_ago` before NOW."""
    bar_time = NOW - timedelta(minutes=minutes_ago)
    row = {"symbol": "ABC", "bar_time": bar_time, "as_of": bar_time, "close": 100.0, "p_down": 0.1, "p_flat": 0.2}
    row |= {"p_up": 0.7, "threshold": 0.001, "direction": "up", "confidence": 0.7, "model_version": "v"}
    row |= {"preset": "balanced", "gates": json.dumps(GATES), "signal": False, "fell_back": False}
    _insert(connection, "predictions", {**row, **changes})


def add_bar(connection: Connection, minutes_ago: float, symbol: str = "ABC") -> None:
    row = {"symbol": symbol, "time": NOW - timedelta(minutes=minutes_ago), "open": 1, "high": 1, "low": 1, "close": 1}
    _insert(connection, "bars", {**row, "volume": 0})


def add_champion(connection: Connection) -> None:
    day = NOW - timedelta(days=1)
    row = {"version": "ABC@1", "symbol": "ABC", "kind": "base", "as_of": day, "trained_from": day, "trained_until": day}
    row |= {"data_until": day, "rows": 1, "parameters": "{}", "metrics": "{}", "library_versions": "{}", "sha256": "x"}
    row |= {"length": 1, "bytes": b"x", "file_sha256": "x", "file_length": 1, "status": "champion"}
    _insert(connection, "model_versions", row)


def add_delivery(connection: Connection, number: int, state: str, hours_ago: float = 0) -> None:
    """Insert a delivery of a summary, which needs no prediction."""
    alert = {"kind": "summary", "bar_time": NOW + timedelta(days=number), "text": "x", "send_until": NOW}
    _insert(connection, "alerts", alert)
    settled = None if state in ("pending", "sending") else datetime.now(UTC) - timedelta(hours=hours_ago)
    lease = {"claim": "00000000-0000-0000-0000-000000000001", "lease_until": NOW} if state == "sending" else {}
    number = connection.execute(text("SELECT max(id) FROM alerts")).scalar_one()
    _insert(
        connection, "deliveries", {"alert_id": number, "chat_id": "42", "state": state, "settled_at": settled} | lease
    )


def _insert(connection: Connection, table: str, row: dict[str, Any]) -> None:
    names = ", ".join(row)
    connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({', '.join(f':{name}' for name in row)})"), row)


def make_command(update_id: int, command: str, chat_id: str = "42", **changes: Any) -> BotCommand:
    return BotCommand(update_id, chat_id, 42, command, **{"sent_at": datetime.now(UTC), **changes})


def claim(engine: Engine, command: BotCommand) -> ClaimedCommand | None:
    with engine.begin() as connection:
        return bot_queries.take(connection, command)


def test_update_is_claimed_once_together_with_its_effect(engine: Engine) -> None:
    first, second = make_command(1, "pause"), make_command(2, "resume")
    claimed = claim(engine, first)
    assert claimed is not None
    assert claimed.pause is not None
    assert claimed.pause.until == pytest.approx(first.sent_at + timedelta(hours=24), abs=timedelta(minutes=1))
    assert claimed.late_minutes == pytest.approx(0, abs=0.5)
    assert claim(engine, first) is None
    assert claim(engine, second) == ClaimedCommand(pytest.approx(0, abs=0.5), None)
    assert claim(engine, first) is None
    with engine.connect() as connection:
        assert bot_queries.pauses(connection, ["42"]) == {}
        updates = connection.execute(text("SELECT update_id, chat_id, command FROM bot_updates ORDER BY 1")).all()
    assert [tuple(row) for row in updates] == [(1, "42", "pause"), (2, "42", "resume")]


def test_rolled_back_claim_can_be_claimed_again(engine: Engine) -> None:
    with engine.connect() as connection:
        assert bot_queries.take(connection, make_command(1, "pause")) is not None
        connection.rollback()
        assert bot_queries.pauses(connection, ["42"]) == {}
    assert claim(engine, make_command(1, "pause")) is not None


def test_pause_counts_from_the_time_of_the_message(engine: Engine) -> None:
    sent_at = datetime.now(UTC) - timedelta(minutes=50)
    claimed = claim(engine, make_command(1, "pause", minutes=60, sent_at=sent_at))
    assert claimed is not None
    assert claimed.pause == Pause(sent_at + timedelta(minutes=60))
    expired = claim(engine, make_command(2, "pause", minutes=30, sent_at=sent_at))
    assert expired is not None
    assert expired.pause is None
    assert expired.late_minutes == pytest.approx(50, abs=0.5)
    from_the_future = claim(
        engine, make_command(3, "pause", minutes=60, sent_at=datetime.now(UTC) + timedelta(hours=5))
    )
    assert from_the_future is not None
    assert from_the_future.pause is not None
    assert from_the_future.pause.until == pytest.approx(
        datetime.now(UTC) + timedelta(minutes=60), abs=timedelta(minutes=1)
    )


def test_pause_applies_to_one_chat_and_keeps_its_retry_time(engine: Engine) -> None:
    with engine.begin() as connection:
        _insert(connection, "chats", {"chat_id": "42", "retry_at": NOW})
    claim(engine, make_command(1, "pause"))
    claim(engine, make_command(2, "pause", chat_id="@group", minutes=5))
    claim(engine, make_command(3, "pause", chat_id="43", problem="“x” is no number"))
    claim(engine, make_command(4, "resume", chat_id="@group", refusal="only administrators"))
    claim(engine, make_command(5, "pause", chat_id="43", refusal="only administrators"))
    with engine.connect() as connection:
        assert set(bot_queries.pauses(connection, ["42", "43", "@group"])) == {"42", "@group"}
        assert set(bot_queries.pauses(connection, ["43", "@group"])) == {"@group"}
        assert connection.execute(text("SELECT retry_at FROM chats WHERE chat_id = '42'")).scalar_one() == NOW
        facts = bot_queries.status(connection, [], "42", ["42", "43", "@group"], NOW)
    assert (facts.pause is not None, facts.others_paused) == (True, 1)


def test_update_ids_can_be_reused_after_thirty_days(engine: Engine) -> None:
    claim(engine, make_command(7, "help"))
    with engine.begin() as connection:
        connection.execute(text("UPDATE bot_updates SET handled_at = now() - interval '31 days'"))
    assert claim(engine, make_command(7, "help")) is not None
    assert claim(engine, make_command(7, "help")) is None


def test_status_has_bar_model_answer_and_deliveries(engine: Engine) -> None:
    with engine.begin() as connection:
        add_bar(connection, 3)
        add_bar(connection, 2)
        add_bar(connection, 9, "XYZ")
        add_champion(connection)
        add_prediction(connection, 12, signal=True)
        add_prediction(connection, 2, recent_rows=200, recent_accuracy=0.3)
        for number, (state, hours_ago) in enumerate(
            [("pending", 0), ("sending", 0), ("sent", 1), ("sent", 23), ("sent", 25), ("expired", 2), ("refused", 49)]
        ):
            add_delivery(connection, number, state, hours_ago)
        facts = bot_queries.status(connection, ["XYZ", "ABC", "none"], "42", ["42"], NOW)
    xyz, abc, unknown = facts.symbols
    assert abc.newest_bar == NOW - timedelta(minutes=2)
    assert (abc.model_version, abc.model_trained_until) == ("ABC@1", NOW - timedelta(days=1))
    assert abc.last is not None
    assert (abc.last.bar_time, abc.last.signal) == (NOW - timedelta(minutes=2), False)
    assert (abc.last.recent_rows, abc.last.recent_accuracy) == (200, 0.3)
    assert abc.last.refused_by == ["confidence", "margin"]
    assert (xyz.newest_bar, xyz.model_version, xyz.last) == (NOW - timedelta(minutes=9), None, None)
    assert (unknown.newest_bar, unknown.last) == (None, None)
    assert facts.deliveries == {"pending": 1, "sending": 1, "sent": 2, "expired": 1}


def test_signals_are_the_newest_of_the_requested_symbols(engine: Engine) -> None:
    with engine.begin() as connection:
        for minutes_ago in (40, 30, 20):
            add_prediction(connection, minutes_ago, signal=True, outcome="down", forward_return=-0.002)
        add_prediction(connection, 15)
        add_prediction(connection, 10, signal=True, void_reason="the session ended", resolved_at=NOW)
        add_prediction(connection, 5, signal=True, symbol="XYZ")
        signals = bot_queries.signals(connection, ["ABC"], 2)
        assert [signal.symbol for signal in bot_queries.signals(connection, ["XYZ", "ABC"], 20)] == [
            "XYZ",
            *["ABC"] * 4,
        ]
    times = [NOW - timedelta(minutes=item) for item in (10, 20)]
    assert signals == [
        PastSignal("ABC", times[0], "up", 0.7, None, None, "the session ended"),
        PastSignal("ABC", times[1], "up", 0.7, "down", -0.002, None),
    ]


def test_record_counts_signals_and_outcomes_of_all_answers(engine: Engine) -> None:
    rows: list[dict[str, Any]] = [
        {
            "signal": True,
            "outcome": "up",
            "forward_return": 0.003,
            "entry_time": NOW,
            "entry_return": 0.002,
            "tradable": True,
        },
        {"signal": True, "outcome": "flat", "forward_return": 0.0005, "direction": "down", "tradable": False},
        {"signal": True, "outcome": "down", "forward_return": -0.002, "direction": "down"},
        {"signal": True, "void_reason": "gap", "resolved_at": NOW},
        {"signal": True},
        {"outcome": "down", "forward_return": -0.01},
        {"void_reason": "gap"},
        {},
    ]
    with engine.begin() as connection:
        for number, row in enumerate(rows):
            add_prediction(connection, 20 + number, **row)
        add_prediction(connection, 31 * 1440, signal=True, outcome="up", forward_return=0.003)
        add_prediction(connection, 20, symbol="XYZ")
        abc, xyz = bot_queries.records(connection, ["XYZ", "ABC", "none"], NOW)
    assert (abc.symbol, abc.waiting, abc.void, abc.answers, abc.downs, abc.ups, abc.days) == ("ABC", 1, 1, 4, 2, 1, 1)
    assert [(signal.outcome, signal.forward_return, signal.entry_return, signal.tradable) for signal in abc.past] == [
        ("down", -0.002, None, None),
        ("flat", 0.0005, None, False),
        ("up", 0.003, 0.002, True),
    ]
    figures = measure_record(abc, 10.0)
    assert figures["mean_return_bps"] == pytest.approx((30 - 5 + 20) / 3)
    assert (figures["precision"], figures["per_day"]) == (pytest.approx(2 / 3), 3.0)
    assert figures["entry"]["mean_return_after_fee_bps"] == pytest.approx(20 - 10)
    assert figures["entry"]["guess_mean_return_after_fee_bps"] == pytest.approx(-20 - 10)  # more answers were down
    assert xyz == SymbolRecord("XYZ", [], 0, 0, 0, 0, 0, 0)


def test_service_lock_is_exclusive_and_released_with_its_connection(engine: Engine) -> None:
    first_lock, second_lock = ServiceLock(engine), ServiceLock(create_engine(engine.url))
    assert first_lock.hold()
    assert first_lock.hold()
    assert not second_lock.hold()
    first_lock.release()
    first_lock.release()
    assert second_lock.hold()
    with engine.begin() as connection:
        end_other_connections(connection)
    assert first_lock.hold()
    with pytest.raises(Exception, match=r"closed the connection|terminating connection"):
        second_lock.hold()
    assert not second_lock.hold()
    first_lock.release()
    assert second_lock.hold()
    second_lock.release()


def test_long_statement_is_cancelled(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hybrid_ml.store.engine.STATEMENT_SECONDS", 1)
    with engine.begin() as connection:
        limit_time(connection)
        with pytest.raises(Exception, match="statement timeout"):
            connection.execute(text("SELECT pg_sleep(30)"))
        connection.rollback()
    with engine.connect() as connection:
        assert connection.execute(text("SHOW statement_timeout")).scalar_one() == "0"
