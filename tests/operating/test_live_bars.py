"""`hybrid-ml up --symbols` beside an exchange on loopback: added, then every slot with its bar, also a late one."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort

from tests.exchange_server import Exchange, Market, exchange_server
from tests.faults.sample import matrix
from tests.flows.running import rows
from tests.ports import free_port
from tests.terminal import Terminal
from tests.up import Up, make_accessible, nothing_left_of, start_up, stop, wait_for
from tests.up_schedules import runs_every, set_schedules

SYMBOLS = ["ABCUSDT", "XYZUSDT"]
MINUTE, AHEAD = timedelta(minutes=1), timedelta(seconds=10)
SECRET = "somebody:something"
REQUEST = {"disable_sleep_window": True}
ANSWERS = "SELECT as_of, symbol, bar_time FROM predictions WHERE as_of >= '{}' ORDER BY 1, 2"
ON_TIME = {"Completed"}
"""Names of the final state of a run with fresh bars: how right the models are is a matter of the hour."""
FAST_ENOUGH_SECONDS = 20.0
"""From a slot's bar to its answers in the ledger: a limit for a busy machine; bench/latency.py measures."""


def now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Live:
    """An `up` and the exchange that its bars are from."""

    up: Up
    exchange: Exchange

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        return rows(self.up.engine(), statement)


@contextmanager
def live_up(folder: Path, terminal: Terminal | None = None, **variables: str) -> Iterator[Live]:
    """`up --symbols` with its exchange; the schedules of prefect.yaml are off."""
    markets = {name: Market(now() - timedelta(days=400)) for name in SYMBOLS}
    with exchange_server(Exchange(now, markets)) as exchange:
        flags = ("--exchange", "binance", "--symbols", ",".join(SYMBOLS), "--days", "3")
        variables |= {"HYBRID_ML_BINANCE_URL": exchange.url}
        up = start_up(make_accessible(folder), free_port(), *flags, terminal=terminal, **variables)
        try:
            set_schedules(up, active=False)
            wait_for("the added symbols", lambda: "loaded, trained and answered" in up.log.read_text())
            yield Live(up, exchange)
        finally:
            stop(up)


def next_slot() -> datetime:
    """The next whole minute that is far enough away for a run ahead of it."""
    return (now() + 2 * AHEAD).replace(second=0, microsecond=0) + MINUTE


def test_named_symbols_are_added_and_answered_ahead_of_slots_until_the_terminal_is_closed(tmp_path: Path) -> None:
    """The server has the user's own authentication string, which commands of other shells find."""
    terminal = Terminal()
    variables = {"PREFECT_SERVER_API_AUTH_STRING": SECRET, "COLUMNS": "200"}
    with live_up(tmp_path, terminal, **variables) as live:
        assert live.up.authentication == SECRET
        assert {symbol for _, symbol, _ in live.rows(ANSWERS.format("2024-01-01"))} == set(SYMBOLS)
        champions = "SELECT DISTINCT symbol FROM model_versions WHERE status = 'champion' ORDER BY 1"
        assert live.rows(champions) == [(symbol,) for symbol in SYMBOLS]
        check_run_ahead_of_its_slot(live)
        status = live.up.command("status")
        assert "analysis" in status.stdout, status.stderr
        printed = live.up.log.read_text()
        assert SECRET not in printed + status.stdout + status.stderr
        assert "Traceback" not in printed
        with nothing_left_of(live.up):
            terminal.close()
            live.up.process.send_signal(signal.SIGHUP)


def check_run_ahead_of_its_slot(live: Live) -> None:
    """A run that begins before its slot answers on the slot's bar."""
    slot = next_slot()
    with runs_every(live.up, due=slot - AHEAD, **REQUEST) as run_id:
        run = live.up.wait_for_end(run_id)
    assert run.state.name in ON_TIME, run.state
    assert live.rows(ANSWERS.format(slot)) == [(slot, symbol, slot - MINUTE) for symbol in SYMBOLS]
    assert run.expected_start_time < slot < run.end_time


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with live_up(tmp_path_factory.mktemp("live")) as running:
        yield running


@matrix
def test_six_slots_of_which_one_bar_is_late_and_one_finds_no_exchange(live: Live) -> None:
    first = next_slot()
    slots = [first + n * MINUTE for n in range(6)]
    live.exchange.late[slots[2] - MINUTE] = slots[2] + timedelta(seconds=6)
    away = slots[4] - 2 * AHEAD, slots[4] + 4 * AHEAD
    live.exchange.plan = lambda: "error_500" if away[0] < now() < away[1] else ""
    with runs_every(live.up, 1, due=first - AHEAD, **REQUEST) as run_id:
        wait_for("six slots", lambda: len(_ended(live.up, run_id, slots)) == 6)
        ended = _ended(live.up, run_id, slots)
    names = [run.state.name for run in ended]
    assert [name if name == "Late bars" else name in ON_TIME for name in names] == [True] * 4 + ["Late bars", True], (
        names
    )
    answered = live.rows(ANSWERS.format(first))
    on_time = [(slot, symbol, slot - MINUTE) for slot in slots if slot != slots[4] for symbol in SYMBOLS]
    assert [row for row in answered if row[0] != slots[4]] == on_time
    for run, slot in zip(ended, slots, strict=True):
        assert slot == slots[4] or (run.end_time - slot).total_seconds() < FAST_ENOUGH_SECONDS, run
    repaired = live.up.wait_for_end(live.up.trigger("repair/repair"))
    assert repaired.state.name == "Completed"
    begin, end = first - 60 * MINUTE, slots[-1]
    for symbol in SYMBOLS:
        stored = live.rows(
            f"SELECT close FROM bars WHERE symbol = '{symbol}' AND time >= '{begin}' AND time < '{end}' ORDER BY time"
        )
        assert [close for (close,) in stored] == [float(bar[4]) for bar in live.exchange.bars(symbol, begin, end)]


def _ended(up: Up, first: UUID, slots: list[datetime]) -> list[FlowRun]:
    """The runs of `slots` that have ended, in order."""
    with up.client() as client:
        deployment = client.read_flow_run(first).deployment_id
        chosen = FlowRunFilter(
            deployment_id={"any_": [deployment]},
            expected_start_time={"after_": slots[0] - 2 * AHEAD, "before_": slots[-1]},
        )
        runs = client.read_flow_runs(flow_run_filter=chosen, sort=FlowRunSort.EXPECTED_START_TIME_ASC)
    return [run for run in runs if run.auto_scheduled and run.state.is_final()]
