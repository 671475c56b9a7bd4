"""A flow in a separate process that kills itself with SIGKILL at a chosen point.

Points: `before STAGE`, `after STAGE` (between two stages), and inside a stage that saves
`STAGE, statement N` (after the N-th SQL statement), `STAGE, commit` (before the commit is
sent), `STAGE, committed` (after PostgreSQL has confirmed the commit), `STAGE, fsync N` and
`STAGE, renamed N` (of the model's files).
"""

import functools
import multiprocessing
import os
import resource
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from prefect import Task
from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from sqlalchemy import Engine, event
from sqlalchemy.engine.default import DefaultDialect

import flows.analysis
import flows.task_runners
import flows.weekly_training
from hybrid_ml.learning import training
from hybrid_ml.schemas.requests import AnalysisRequest, TrainingRequest
from tests.flows.running import BOOSTING_ROUNDS

FLOWS = {
    "analysis": (flows.analysis.analysis, AnalysisRequest),
    "weekly training": (flows.weekly_training.weekly_training, TrainingRequest),
}
MODULES = (flows.analysis, flows.task_runners, flows.weekly_training)
FORK = multiprocessing.get_context("forkserver")
# Imports once, so that a process starts in a tenth of a second.
FORK.set_forkserver_preload(["tests.faults.victim", "tests.faults.sender"])


def stages() -> dict[str, Task]:
    """All Prefect tasks of the two flows by their names in the flows' modules."""
    return {name: value for module in MODULES for name, value in vars(module).items() if isinstance(value, Task)}


@contextmanager
def between_stages(on_stage: Callable[[str, str], None]) -> Iterator[None]:
    """Call `on_stage` with "before" or "after" and the name at every stage boundary."""
    known = stages()
    originals = {name: task.fn for name, task in known.items()}

    def with_callback(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(work)
        def run(*args: Any, **kwargs: Any) -> Any:
            on_stage("before", name)
            result = work(*args, **kwargs)
            on_stage("after", name)
            return result

        return run

    try:
        for name, task in known.items():
            task.fn = with_callback(name, originals[name])
        yield
    finally:
        for name, task in known.items():
            task.fn = originals[name]


class KillSwitch:
    """Kills this process, as kill -9 would, when the point is reached."""

    def __init__(self, point: str) -> None:
        self.point, self.stage, self.counts = point, "", Counter[str]()

    def reached(self, point: str) -> None:
        if point == self.point:
            os.kill(os.getpid(), signal.SIGKILL)

    def on_stage(self, when: str, name: str) -> None:
        self.reached(f"{when} {name}")
        self.stage = name if when == "before" else ""
        self.counts.clear()

    def inside(self, what: str, *, counted: bool = True) -> None:
        self.counts[what] += 1
        self.reached(f"{self.stage}, {what} {self.counts[what]}" if counted else f"{self.stage}, {what}")

    def arm(self) -> None:
        """Hook into every statement, commit, fsync and rename of this process."""
        event.listen(Engine, "after_cursor_execute", lambda *_: self.inside("statement"))
        event.listen(Engine, "commit", lambda _: self.inside("commit", counted=False))
        commit, fsync, replace = DefaultDialect.do_commit, os.fsync, Path.replace

        def do_commit(dialect: Any, connection: Any) -> None:
            commit(dialect, connection)
            self.inside("committed", counted=False)

        def do_fsync(handle: int) -> None:
            fsync(handle)
            self.inside("fsync")

        def do_replace(path: Path, target: Any) -> Path:
            result = replace(path, target)
            self.inside("renamed")
            return result

        DefaultDialect.do_commit, os.fsync, Path.replace = do_commit, do_fsync, do_replace  # type: ignore[method-assign]


def run(flow_name: str, request: dict, environment: dict[str, str], point: str, file_size_limit: int | None) -> None:
    """In the child: run a flow; exit code 0 if it did not fail."""
    os.environ.update(environment)
    if file_size_limit is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size_limit, file_size_limit))
    training.BOOSTING_ROUNDS = BOOSTING_ROUNDS
    flow, request_model = FLOWS[flow_name]
    kill_switch = KillSwitch(point)
    if point:
        kill_switch.arm()
    hooks = between_stages(kill_switch.on_stage) if point else nullcontext()
    settings = {PREFECT_API_URL: environment["PREFECT_API_URL"], PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
    with temporary_settings(settings), hooks:
        state: Any = flow(request_model(**request), return_state=True)
    os._exit(0 if state.is_completed() else 1)


def start(
    flow_name: str, request: dict, environment: dict[str, str], point: str = "", file_size_limit: int | None = None
) -> Any:
    """Start the process; its exit code is -SIGKILL if the point was reached."""
    process = FORK.Process(target=run, args=(flow_name, request, environment, point, file_size_limit))
    process.start()
    return process
