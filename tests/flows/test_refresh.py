"""Runs bring the bars of their symbols up to date first, from an exchange on loopback."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, text

from flows.add_symbols import add_symbols
from flows.analysis import analysis
from flows.backfill import backfill
from flows.repair import repair
from flows.weekly_training import weekly_training
from hybrid_ml.console.run_tables import show_added, show_analysis
from hybrid_ml.feeds import refresh
from hybrid_ml.schemas.add_symbols_request import AddSymbolsRequest
from hybrid_ml.schemas.backfill_request import BackfillRequest
from hybrid_ml.schemas.requests import AnalysisRequest, RepairRequest, TrainingRequest
from tests.exchange_server import Exchange, Market, exchange_server
from tests.flows.running import rows, run

SYMBOLS = ["ABCUSDT", "XYZUSDT"]
MINUTE = timedelta(minutes=1)
BY_HAND = AnalysisRequest(disable_sleep_window=True, fast_mode=True)


def now() -> datetime:
    return datetime.now(UTC)


def change(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement))


@pytest.fixture
def exchange(engine: Engine, prefect_api: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Exchange]:
    """Its clock is the machine's: runs by hand are about now."""
    markets = {name: Market(now() - timedelta(days=400)) for name in SYMBOLS}
    with exchange_server(Exchange(now, markets)) as served:
        monkeypatch.setenv("HYBRID_ML_BINANCE_URL", served.url)
        monkeypatch.setenv("HYBRID_ML_SETTLING_SECONDS", "0")
        monkeypatch.setattr(refresh, "LATE_SECONDS", 1.0)
        yield served


def test_symbol_whose_first_training_fails_is_named_once_and_repair_fills_an_inner_gap(
    engine: Engine, exchange: Exchange
) -> None:
    exchange.markets["NEWUSDT"] = Market(now() - 900 * MINUTE)
    state, report = run(add_symbols, AddSymbolsRequest(symbols=["ABCUSDT", "NEWUSDT"], days=2))
    assert state.is_failed()
    assert [failure.symbol for failure in report.failures] == ["NEWUSDT"]
    assert [answer.symbol for answer in report.analyses] == ["ABCUSDT"]
    assert state.message.count("NEWUSDT") == 1
    assert "fewer than the minimum of 2,000; load more bars" in state.message

    before = rows(engine, "SELECT time, close FROM bars WHERE symbol = 'ABCUSDT' ORDER BY time")
    (begin, end), gap = (before[0][0], before[-1][0]), (before[-540][0], before[-420][0])
    change(engine, f"DELETE FROM bars WHERE symbol = 'ABCUSDT' AND time >= '{gap[0]}' AND time < '{gap[1]}'")
    change(engine, "DELETE FROM coverage WHERE symbol = 'ABCUSDT'")
    change(
        engine,
        f"INSERT INTO coverage VALUES ('ABCUSDT', '{begin}', '{gap[0]}', 'have'), "
        f"('ABCUSDT', '{gap[1]}', '{end}', 'have')",
    )
    state, report = run(repair, RepairRequest(symbols=["ABCUSDT"]))
    assert state.is_completed()
    assert next(history.bars_written for history in report.histories) >= 120
    filled = f"SELECT time, close FROM bars WHERE symbol = 'ABCUSDT' AND time <= '{end}' ORDER BY time"
    assert rows(engine, filled) == before


def test_added_symbols_are_loaded_trained_and_answered_whatever_the_exchange_does_then(
    engine: Engine, exchange: Exchange, capsys: pytest.CaptureFixture
) -> None:
    state, report = run(add_symbols, AddSymbolsRequest(symbols=[*SYMBOLS, "ABCUSTD"], days=2))
    assert state.is_failed()
    assert "ABCUSTD: binance has no symbol ABCUSTD; did you mean ABCUSDT" in state.message
    assert [answer.symbol for answer in report.analyses] == SYMBOLS
    assert all(training.promoted and training.week == 0 for training in report.trainings)
    assert {answer.bar_time for answer in report.analyses} <= {
        bar_time for (bar_time,) in rows(engine, "SELECT max(time) FROM bars GROUP BY symbol")
    }
    show_added(report)
    printed = capsys.readouterr()
    assert "ABCUSDT  trained on" in printed.out
    assert "XYZUSDT  next ten minutes after" in printed.out
    assert "failed ABCUSTD" in printed.err
    assert_newest_final_bar_is_used_and_late_ones_are_named(engine, exchange, capsys)

    exchange.plan = lambda: "legal"
    state, report = run(analysis, BY_HAND)
    assert state.is_failed(), "a person has to do something"
    assert "ABCUSDT: binance answered 451" in state.message
    assert len(report.analyses) == 2
    state, report = run(weekly_training, TrainingRequest(symbols=SYMBOLS, limit=2_000))
    assert [training.symbol for training in report.trainings] == SYMBOLS
    assert "XYZUSDT: binance answered 451" in state.message

    exchange.plan = lambda: None
    exchange.clock = lambda: now() - timedelta(hours=1)
    state, error = run(analysis, BY_HAND)
    assert state.is_failed()
    assert "s ahead of that of binance; set it" in str(error)


def assert_newest_final_bar_is_used_and_late_ones_are_named(
    engine: Engine, exchange: Exchange, capsys: pytest.CaptureFixture
) -> None:
    newest = rows(
        engine,
        "SELECT min(time) - interval '20 minutes' FROM (SELECT max(time) AS time FROM bars GROUP BY symbol) AS b",
    )[0][0]
    change(engine, f"DELETE FROM bars WHERE time > '{newest}'")
    change(engine, f"UPDATE coverage SET to_time = '{newest + MINUTE}' WHERE to_time > '{newest}'")
    exchange.late = {newest + n * MINUTE: now() + 60 * MINUTE for n in range(1, 60)}
    state, report = run(analysis, BY_HAND)
    assert state.name == "Late bars"
    until = report.as_of.replace(second=0, microsecond=0)
    assert f"ABCUSDT: the bar of {until - MINUTE:%H:%M} UTC is late at binance" in state.message
    assert {answer.bar_time for answer in report.analyses} == {min(exchange.late) - MINUTE}
    show_analysis(report)
    assert "late bars XYZUSDT: the bar of" in capsys.readouterr().out
    exchange.late = {}
    state, report = run(analysis, BY_HAND)
    assert state.name == "Completed"
    until = report.as_of.replace(second=0, microsecond=0)
    assert {answer.bar_time for answer in report.analyses} == {until - MINUTE}


def test_symbol_without_a_feed_cannot_be_repaired(engine: Engine, exchange: Exchange) -> None:
    state, error = run(repair, RepairRequest(symbols=["EOSUSD"]))
    assert state.is_failed()
    assert "EOSUSD: no feed; only bars that come from an exchange or a table are repaired (none here)" in str(error)


@pytest.mark.parametrize("hours", [-1, 1])
def test_history_of_an_exchange_whose_clock_differs_is_refused(engine: Engine, exchange: Exchange, hours: int) -> None:
    exchange.clock = lambda: now() + timedelta(hours=hours)
    state, _ = run(backfill, BackfillRequest(source="exchange", symbols=["ABCUSDT"], days=1))
    assert state.is_failed()
    assert "that of binance; set it" in state.message
    assert rows(engine, "SELECT count(*) FROM bars") == [(0,)]
