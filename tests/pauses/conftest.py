"""`hybrid-ml up` of its own for each file here, three runs at work, and ways to have parts of it stand still."""

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
"""Those that wait for their symbols to the end."""
PAUSE_SECONDS = 110
"""Longer than the 90 s of silence after which a run counts as dead."""


@pytest.fixture
def faults(request: pytest.FixtureRequest) -> FaultRows:
    return FaultRows(request.node)


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    """Everything up, patient at locks, with no slot that comes in between."""
    with everything_up(tmp_path, HYBRID_ML_LOCK_WAIT_SECONDS="3600", HYBRID_ML_FILES=str(tmp_path)) as running:
        with running.client() as client:
            for name in ("analysis/analysis", "weekly training/weekly-training", "review/review"):
                deployment = client.read_deployment_by_name(name)
                for schedule in deployment.schedules:
                    client.update_deployment_schedule(deployment.id, schedule.id, active=False)
        yield running


@dataclass
class AtWork:
    """An analysis and a training that wait for their symbols, and a replay that waits for its bars."""

    up: Up
    stack: ExitStack
    folder: Path
    bars: ExitStack = field(default_factory=ExitStack)
    runs: dict[str, UUID] = field(default_factory=dict)

    def start(self) -> None:
        """Begin all three; the analysis and the training first, which need bars before they lock."""
        _copy_bars(self.up)
        for symbol in ("DEMO", "OTHER"):
            self.stack.enter_context(symbol_locks(self.up.engine(), 60)).take(symbol)
        self.runs["analysis"] = self.up.trigger(symbols=["DEMO"], **AWAKE)
        self.runs["training"] = self.up.trigger("weekly training/weekly-training", symbols=["OTHER"])
        for name, symbol in (("analysis", "DEMO"), ("training", "OTHER")):
            self.up.begun(self.runs[name])
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
        self.up.begun(self.runs["replay"])

    def let_the_replay_work(self) -> None:
        """Its bars come in; returns when it is in the middle of its week."""
        self.bars.close()
        wait_for("the replay at work", (self.folder / "replay.json").exists)

    def finish(self) -> dict[str, FlowRun]:
        """Let go of everything; each run when it has come to its end."""
        self.bars.close()
        self.stack.close()
        return {name: self.up.ended(run_id, 600) for name, run_id in self.runs.items()}

    def assert_heard_again(self, *names: str) -> None:
        """The server answers, these runs are Running as before, and heard of again.

        One heartbeat may be late: what a run asks the server beside it is asked again after up to 32 seconds.
        """
        since = datetime.now(UTC)
        wait_for("the server", self.up.answers)
        for name in names:
            run_id = self.runs[name]
            wait_for(f"a heartbeat of the {name}", partial(self._heard, run_id, since), 2 * SILENCE_SECONDS)
            run = self.up.run(run_id)
            assert run.state.name == "Running", f"{name}: {run.state.name}, {run.state.message}"

    def _heard(self, run_id: UUID, since: datetime) -> bool:
        heartbeats = EventFilter(
            occurred=EventOccurredFilter(since=since),
            event=EventNameFilter(name=["prefect.flow-run.heartbeat"]),
            resource=EventResourceFilter(id=[f"prefect.flow-run.{run_id}"]),
        )
        with self.up.client() as client:
            return bool(client.read_events(heartbeats, limit=1).events)


@pytest.fixture
def at_work(up: Up, tmp_path: Path) -> Iterator[AtWork]:
    with ExitStack() as stack:
        working = AtWork(up, stack, tmp_path / "replay")
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
def standing_still(find: Callable[[], list[psutil.Process]]) -> Iterator[None]:
    """SIGSTOP for all that `find` finds, until nothing new appears; SIGCONT at the end, the other way round."""
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
    """All of it stands still for so long."""
    with standing_still(find):
        time.sleep(seconds)


def everything(up: Up) -> list[psutil.Process]:
    """`up`, all below it, flow processes whose worker went, PostgreSQL."""
    own = psutil.Process(up.process.pid)
    return [own, *own.children(recursive=True), *postgresql(up)]


def completed(runs: dict[str, FlowRun]) -> dict[str, Any]:
    """The runs' states by name, for a message that says what went wrong."""
    return {name: (run.state.type.value, run.state.name, run.state.message) for name, run in runs.items()}
