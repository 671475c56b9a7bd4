"""What the bot asks of the database, on a real one."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, create_engine, text

from hybrid_ml.schemas.bot_status import BotCommand, ClaimedCommand, PastSignal, Pause, SymbolRecord
from hybrid_ml.store import bot_queries
from hybrid_ml.store.bot_queries import ServiceLock
from hybrid_ml.store.engine import limit_time
from tests.databases import end_others

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
    row |= {"preset": "balanced", "gates": json.dumps(GATES), "signal": False, "degraded": False, "fell_back": False}
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
    """A summary's delivery: summaries need no prediction."""
    alert = {"kind": "summary", "bar_time": NOW + timedelta(days=number), "text": "x", "send_until": NOW}
    _insert(connection, "alerts", alert)
    settled = None if state in ("pending", "sending") else datetime.now(UTC) - timedelta(hours=hours_ago)
    held = {"claim": "00000000-0000-0000-0000-000000000001", "lease_until": NOW} if state == "sending" else {}
    number = connection.execute(text("SELECT max(id) FROM alerts")).scalar_one()
    _insert(
        connection, "deliveries", {"alert_id": number, "chat_id": "42", "state": state, "settled_at": settled} | held
    )


def _insert(connection: Connection, table: str, row: dict[str, Any]) -> None:
    names = ", ".join(row)
    connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({', '.join(f':{name}' for name in row)})"), row)


def request(update_id: int, command: str, chat_id: str = "42", **changes: Any) -> BotCommand:
    return BotCommand(update_id, chat_id, 42, command, **{"sent_at": datetime.now(UTC), **changes})


def take(engine: Engine, wanted: BotCommand) -> ClaimedCommand | None:
    with engine.begin() as connection:
        return bot_queries.take(connection, wanted)


def test_an_update_is_taken_once_and_its_effect_with_it(engine: Engine) -> None:
    first, second = request(1, "pause"), request(2, "resume")
    taken = take(engine, first)
    assert taken is not None
    assert taken.pause is not None
    assert taken.pause.until == pytest.approx(first.sent_at + timedelta(hours=24), abs=timedelta(minutes=1))
    assert taken.late_minutes == pytest.approx(0, abs=0.5)
    assert take(engine, first) is None
    assert take(engine, second) == ClaimedCommand(pytest.approx(0, abs=0.5), None)
    assert take(engine, first) is None
    with engine.connect() as connection:
        assert bot_queries.pauses(connection, ["42"]) == {}
        found = connection.execute(text("SELECT update_id, chat_id, command FROM bot_updates ORDER BY 1")).all()
    assert [tuple(row) for row in found] == [(1, "42", "pause"), (2, "42", "resume")]


def test_what_was_rolled_back_was_not_taken(engine: Engine) -> None:
    with engine.connect() as connection:
        assert bot_queries.take(connection, request(1, "pause")) is not None
        connection.rollback()
        assert bot_queries.pauses(connection, ["42"]) == {}
    assert take(engine, request(1, "pause")) is not None


def test_a_pause_is_counted_from_when_it_was_asked_for(engine: Engine) -> None:
    sent_at = datetime.now(UTC) - timedelta(minutes=50)
    taken = take(engine, request(1, "pause", minutes=60, sent_at=sent_at))
    assert taken is not None
    assert taken.pause == Pause(sent_at + timedelta(minutes=60))
    over = take(engine, request(2, "pause", minutes=30, sent_at=sent_at))
    assert over is not None
    assert over.pause is None
    assert over.late_minutes == pytest.approx(50, abs=0.5)
    ahead = take(engine, request(3, "pause", minutes=60, sent_at=datetime.now(UTC) + timedelta(hours=5)))
    assert ahead is not None
    assert ahead.pause is not None
    assert ahead.pause.until == pytest.approx(datetime.now(UTC) + timedelta(minutes=60), abs=timedelta(minutes=1))


def test_a_pause_is_of_one_chat_and_leaves_what_telegram_asked_for(engine: Engine) -> None:
    with engine.begin() as connection:
        _insert(connection, "chats", {"chat_id": "42", "retry_at": NOW})
    take(engine, request(1, "pause"))
    take(engine, request(2, "pause", chat_id="@group", minutes=5))
    take(engine, request(3, "pause", chat_id="43", problem="“x” is no number"))
    take(engine, request(4, "resume", chat_id="@group", refusal="only administrators"))
    take(engine, request(5, "pause", chat_id="43", refusal="only administrators"))
    with engine.connect() as connection:
        assert set(bot_queries.pauses(connection, ["42", "43", "@group"])) == {"42", "@group"}
        assert set(bot_queries.pauses(connection, ["43", "@group"])) == {"@group"}
        assert connection.execute(text("SELECT retry_at FROM chats WHERE chat_id = '42'")).scalar_one() == NOW
        facts = bot_queries.status(connection, [], "42", ["42", "43", "@group"], NOW)
    assert (facts.pause is not None, facts.others_paused) == (True, 1)


def test_old_updates_are_forgotten_so_that_numbers_may_come_again(engine: Engine) -> None:
    take(engine, request(7, "help"))
    with engine.begin() as connection:
        connection.execute(text("UPDATE bot_updates SET handled_at = now() - interval '31 days'"))
    assert take(engine, request(7, "help")) is not None
    assert take(engine, request(7, "help")) is None


def test_status_finds_bar_model_answer_and_deliveries(engine: Engine) -> None:
    with engine.begin() as connection:
        add_bar(connection, 3)
        add_bar(connection, 2)
        add_bar(connection, 9, "XYZ")
        add_champion(connection)
        add_prediction(connection, 12, signal=True)
        add_prediction(connection, 2, degraded=True)
        for number, (state, hours_ago) in enumerate(
            [("pending", 0), ("sending", 0), ("sent", 1), ("sent", 23), ("sent", 25), ("expired", 2), ("refused", 49)]
        ):
            add_delivery(connection, number, state, hours_ago)
        facts = bot_queries.status(connection, ["XYZ", "ABC", "none"], "42", ["42"], NOW)
    other, known, nothing = facts.symbols
    assert known.newest_bar == NOW - timedelta(minutes=2)
    assert (known.model_version, known.model_trained_until) == ("ABC@1", NOW - timedelta(days=1))
    assert known.last is not None
    assert (known.last.bar_time, known.last.degraded, known.last.signal) == (NOW - timedelta(minutes=2), True, False)
    assert known.last.refused_by == ["confidence", "margin"]
    assert (other.newest_bar, other.model_version, other.last) == (NOW - timedelta(minutes=9), None, None)
    assert (nothing.newest_bar, nothing.last) == (None, None)
    assert facts.deliveries == {"pending": 1, "sending": 1, "sent": 2, "expired": 1}


def test_signals_are_the_newest_of_the_symbols_asked_about(engine: Engine) -> None:
    with engine.begin() as connection:
        for minutes_ago in (40, 30, 20):
            add_prediction(connection, minutes_ago, signal=True, outcome="down", forward_return=-0.002)
        add_prediction(connection, 15)
        add_prediction(connection, 10, signal=True, void_reason="the session ended", resolved_at=NOW)
        add_prediction(connection, 5, signal=True, symbol="XYZ")
        found = bot_queries.signals(connection, ["ABC"], 2)
        assert [signal.symbol for signal in bot_queries.signals(connection, ["XYZ", "ABC"], 20)] == [
            "XYZ",
            *["ABC"] * 4,
        ]
    times = [NOW - timedelta(minutes=item) for item in (10, 20)]
    assert found == [
        PastSignal("ABC", times[0], "up", 0.7, None, None, "the session ended"),
        PastSignal("ABC", times[1], "up", 0.7, "down", -0.002, None),
    ]


def test_a_record_counts_signals_and_the_outcomes_of_all_answers(engine: Engine) -> None:
    rows: list[dict[str, Any]] = [
        {"signal": True, "outcome": "up", "forward_return": 0.003},
        {"signal": True, "outcome": "flat", "forward_return": 0.0005, "direction": "down"},
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
    mean_return_bps = pytest.approx((30 - 5 + 20) / 3)
    assert abc == SymbolRecord("ABC", 3, 2, 1, 1, mean_return_bps, answers=4, downs=2, ups=1)
    assert xyz == SymbolRecord("XYZ", 0, 0, 0, 0, None, 0, 0, 0)


def test_one_service_holds_the_lock_and_a_lost_connection_lets_go(engine: Engine) -> None:
    mine, theirs = ServiceLock(engine), ServiceLock(create_engine(engine.url))
    assert mine.hold()
    assert mine.hold()
    assert not theirs.hold()
    mine.release()
    mine.release()
    assert theirs.hold()
    with engine.begin() as connection:
        end_others(connection)
    assert mine.hold()
    with pytest.raises(Exception, match=r"closed the connection|terminating connection"):
        theirs.hold()
    assert not theirs.hold()
    mine.release()
    assert theirs.hold()
    theirs.release()


def test_a_statement_that_takes_long_is_ended(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hybrid_ml.store.engine.STATEMENT_SECONDS", 1)
    with engine.begin() as connection:
        limit_time(connection)
        with pytest.raises(Exception, match="statement timeout"):
            connection.execute(text("SELECT pg_sleep(30)"))
        connection.rollback()
    with engine.connect() as connection:
        assert connection.execute(text("SHOW statement_timeout")).scalar_one() == "0"
