"""A separate `hybrid-ml up` with three current runs for each file, and functions that suspend parts of it."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.events.filters import EventFilter, EventNameFilter, EventOccurredFilter, EventResourceFilter
from sqlalchemy import text

from deployments.run_watcher.watcher import SILENCE_SECONDS
from hybrid_ml.store.locks import symbol_locks
from tests.faults.table import FaultRows
from tests.up import AWAKE, Up, everything_up, wait_for

ALL = ("analysis", "training", "replay")
WAITING = ("analysis", "training")
"""Runs that wait for the lock of their symbol until `finish`."""
PAUSE_SECONDS = 110
"""Longer than the 90 s without heartbeat after which a run is marked as Crashed."""


@pytest.fixture
def faults(request: pytest.FixtureRequest) -> FaultRows:
    return FaultRows(request.node)


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    """`hybrid-ml up` whose runs wait for locks for an hour."""
    with everything_up(tmp_path, HYBRID_ML_LOCK_WAIT_SECONDS="3600", HYBRID_ML_FILES=str(tmp_path)) as running:
        yield running


@dataclass
class CurrentRuns:
    """An analysis and a training that wait for locks of symbols, and a replay that waits for its bars."""

    up: Up
    stack: ExitStack
    folder: Path
    bars: ExitStack = field(default_factory=ExitStack)
    runs: dict[str, UUID] = field(default_factory=dict)

    def start(self) -> None:
        """Start all three; analysis and training first, because they read bars before they lock."""
        _copy_bars(self.up)
        for symbol in ("DEMO", "OTHER"):
            self.stack.enter_context(symbol_locks(self.up.engine(), 60)).take(symbol)
        self.runs["analysis"] = self.up.trigger(symbols=["DEMO"], **AWAKE)
        self.runs["training"] = self.up.trigger("weekly training/weekly-training", symbols=["OTHER"])
        for name, symbol in (("analysis", "DEMO"), ("training", "OTHER")):
            self.up.wait_until_running(self.runs[name])
            wait_for(f"the {name} at its lock", lambda: f"lock {symbol}" in self.up.task_names(self.runs[name]))  # noqa: B023
        connection = self.bars.enter_context(self.up.engine().connect())
        connection.execute(text("LOCK TABLE bars IN ACCESS EXCLUSIVE MODE"))
        self.runs["replay"] = self.up.trigger(
            "replay/replay",
            symbols=["DEMO"],
            start=_replay_start(),
            weeks=1,
            cycle_minutes=60,
            work_path=str(self.folder),
        )
        self.up.wait_until_running(self.runs["replay"])

    def release_replay(self) -> None:
        """Release the bars; returns when the replay is in the middle of its week."""
        self.bars.close()
        wait_for("the replay at work", (self.folder / "replay.json").exists)

    def finish(self) -> dict[str, FlowRun]:
        """Release all locks; returns the runs in their final states."""
        self.bars.close()
        self.stack.close()
        return {name: self.up.wait_for_end(run_id, 600) for name, run_id in self.runs.items()}

    def assert_heartbeats_resume(self, *names: str) -> None:
        """The server answers, these runs are still Running and send heartbeats again.

        A heartbeat may be late: other requests of a run to the server are retried for up to 32 seconds.
        """
        since = datetime.now(UTC)
        wait_for("the server", self.up.server_answers)
        for name in names:
            run_id = self.runs[name]
            wait_for(f"a heartbeat of the {name}", partial(self._has_heartbeat, run_id, since), 2 * SILENCE_SECONDS)
            run = self.up.run(run_id)
            assert run.state.name == "Running", f"{name}: {run.state.name}, {run.state.message}"

    def _has_heartbeat(self, run_id: UUID, since: datetime) -> bool:
        heartbeats = EventFilter(
            occurred=EventOccurredFilter(since=since),
            event=EventNameFilter(name=["prefect.flow-run.heartbeat"]),
            resource=EventResourceFilter(id=[f"prefect.flow-run.{run_id}"]),
        )
        with self.up.client() as client:
            return bool(client.read_events(heartbeats, limit=1).events)


@pytest.fixture
def current_runs(up: Up, tmp_path: Path) -> Iterator[CurrentRuns]:
    with ExitStack() as stack:
        working = CurrentRuns(up, stack, tmp_path / "replay")
        working.start()
        yield working
        working.bars.close()


def _copy_bars(up: Up) -> None:
    with up.engine().begin() as connection:
        connection.execute(
            text(
                "INSERT INTO bars (symbol, time, open, high, low, close, volume) "
                "SELECT 'OTHER', time, open, high, low, close, volume FROM bars WHERE symbol = 'DEMO'"
            )
        )


def _replay_start() -> str:
    return (datetime.now(UTC) - timedelta(days=3)).isoformat(timespec="minutes")


def postgresql(up: Up) -> list[psutil.Process]:
    """The postmaster and its children."""
    pid = int((up.data_dir / "postgres" / "postmaster.pid").read_text().split()[0])
    return [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]


@contextmanager
def suspended(find: Callable[[], list[psutil.Process]]) -> Iterator[None]:
    """SIGSTOP for all processes of `find` until there are no new ones; SIGCONT at the end in reverse order."""
    stopped: list[psutil.Process] = []
    try:
        while new := [process for process in find() if process not in stopped]:
            for process in new:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGSTOP)
                stopped.append(process)
        yield
    finally:
        for process in reversed(stopped):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)


def pause(find: Callable[[], list[psutil.Process]], seconds: float = PAUSE_SECONDS) -> None:
    """Suspend the processes of `find` for `seconds`."""
    with suspended(find):
        time.sleep(seconds)


def everything(up: Up) -> list[psutil.Process]:
    """`up`, all processes below it, and PostgreSQL."""
    up_process = psutil.Process(up.process.pid)
    return [up_process, *up_process.children(recursive=True), *postgresql(up)]


def states_of(runs: dict[str, FlowRun]) -> dict[str, Any]:
    """The states of the runs by name, for messages of failed assertions."""
    return {name: (run.state.type.value, run.state.name, run.state.message) for name, run in runs.items()}
