"""The backfill flow from an exchange: seeded faults and kill -9 end equal to the source; a failure stops no other."""

import os
import signal
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from sqlalchemy import Engine

from flows.backfill import backfill
from hybrid_ml.console.run_tables import show_history
from hybrid_ml.feeds import history
from hybrid_ml.schemas.backfill_request import BackfillRequest
from tasks.history import Ending
from tests.exchange_server import Exchange, ManualTime, Market, exchange_server, seeded_faults
from tests.faults.victim import FORK
from tests.flows.running import rows, run

NOW = datetime(2024, 3, 5, 12, 0, 40, tzinfo=UTC)
END = NOW.replace(second=0)
DAYS = 30
SYMBOLS = ["ABCUSDT", "XYZUSDT"]
REQUEST = {"source": "exchange", "exchange": "binance", "symbols": SYMBOLS, "days": DAYS}
STORED = "SELECT (extract(epoch FROM time) * 1000)::bigint, close, trades FROM bars WHERE symbol = '{}' ORDER BY time"


def wait_only_in_name(patch: pytest.MonkeyPatch) -> None:
    """Waits of loads move a clock of their own and take no time."""
    time = ManualTime(NOW)
    patch.setattr(Ending, "now", time.now)
    patch.setattr(Ending, "wait", lambda _, seconds: time.wait(seconds))


@pytest.fixture
def exchange(engine: Engine, prefect_api: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Exchange]:
    gap = {END - timedelta(days=1) + timedelta(minutes=n) for n in range(700, 790)}
    markets = {name: Market(NOW - timedelta(days=400), missing=gap) for name in SYMBOLS}
    wait_only_in_name(monkeypatch)
    with exchange_server(Exchange(lambda: NOW, markets)) as served:
        monkeypatch.setenv("HYBRID_ML_BINANCE_URL", served.url)
        yield served


def run_until_killed(environment: dict[str, str], pages: int) -> None:
    """In a child: the flow, killed when the bars of page number `pages` are stored and their transaction is open."""
    os.environ.update(environment)
    wait_only_in_name(pytest.MonkeyPatch())
    record, calls, lock = history.record_coverage, [0], threading.Lock()

    def record_or_die(*arguments: Any) -> None:
        with lock:
            calls[0] += 1
            if calls[0] == pages:
                os.kill(os.getpid(), signal.SIGKILL)
        record(*arguments)

    history.record_coverage = record_or_die
    with temporary_settings({PREFECT_API_URL: environment["PREFECT_API_URL"], PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        backfill(BackfillRequest(**REQUEST))


def expected(exchange: Exchange, symbol: str) -> list[tuple[Any, ...]]:
    bars = exchange.bars(symbol, END - timedelta(days=DAYS), END)
    return [(bar[0], float(bar[4]), bar[8]) for bar in bars]


def test_faults_and_a_kill_end_equal_to_the_source(engine: Engine, exchange: Exchange, prefect_api: str) -> None:
    exchange.plan = seeded_faults(seed=3, share=0.1)
    environment = {name: os.environ[name] for name in ("NEON_CONN_STR", "HYBRID_ML_BINANCE_URL")}
    process = FORK.Process(target=run_until_killed, args=({**environment, "PREFECT_API_URL": prefect_api}, 4))
    process.start()
    process.join(300)
    assert process.exitcode == -signal.SIGKILL, "the page was not reached"
    counted = rows(engine, "SELECT count(*) FROM bars")[0][0]
    covered = rows(engine, "SELECT sum(to_time - from_time) FROM coverage WHERE state = 'have'")[0][0]
    assert 0 < counted == covered / timedelta(minutes=1), "bars and coverage are stored together"
    for _ in range(3):  # six faults in a row end a load; a person runs the same command again
        state, report = run(backfill, BackfillRequest(**REQUEST))
        if state.is_completed():
            break
    assert state.is_completed()
    for symbol in SYMBOLS:
        assert rows(engine, STORED.format(symbol)) == expected(exchange, symbol)
    assert sum(found.known for found in report.histories) >= counted
    assert {found.source_gaps + found.bars + found.known for found in report.histories} == {DAYS * 1_440}
    assert len([fault for fault in exchange.faults if fault]) > 5


def test_failure_of_one_symbol_does_not_stop_the_other(
    engine: Engine, exchange: Exchange, capsys: pytest.CaptureFixture
) -> None:
    state, report = run(backfill, BackfillRequest(**{**REQUEST, "symbols": ["ABCUSTD", "ABCUSDT"], "days": 1}))
    assert state.is_failed()
    assert "ABCUSTD: binance has no symbol ABCUSTD; did you mean ABCUSDT" in state.message
    assert report.failed
    assert len(rows(engine, STORED.format("ABCUSDT"))) == 1_350
    show_history(report)
    printed = capsys.readouterr()
    assert "2024-03-04 12:00 to 2024-03-05 12:00 UTC from binance: 1,350 bars (1,350 new or changed)" in printed.out
    assert "90 minutes missing at the exchange" in printed.out
    assert "failed ABCUSTD: binance has no symbol" in printed.err


def test_run_without_a_symbol_names_the_flag(exchange: Exchange) -> None:
    state, error = run(backfill, BackfillRequest(source="exchange"))
    assert state.is_failed()
    assert "--source exchange needs --symbols NAMES" in str(error)
