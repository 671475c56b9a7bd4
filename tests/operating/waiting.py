"""Runs that wait for the lock of their symbol, so that a test can disturb them there."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from uuid import UUID

from sqlalchemy import text

from hybrid_ml.store.locks import SymbolLocks, symbol_locks
from tests.up import AWAKE, Up, wait_for


@contextmanager
def symbol_locked(up: Up) -> Iterator[SymbolLocks]:
    """Runs wait for the lock of the symbol, as if another run held it."""
    with symbol_locks(up.engine(), 60) as held:
        held.take("DEMO")
        yield held


def waiting_run(up: Up) -> UUID:
    """A run by hand that is Running and waits for the lock of its symbol."""
    run_id = up.trigger(**AWAKE)
    wait_until_at_lock(up, run_id)
    return run_id


def wait_until_at_lock(up: Up, run_id: UUID) -> None:
    """Returns when the run is Running and waits for the lock of its symbol."""
    up.wait_until_running(run_id)
    wait_for("the run at its lock", lambda: "lock DEMO" in up.task_names(run_id))


def read_as_of(up: Up, run_id: UUID) -> datetime:
    """The `as_of` of the run."""
    statement = text("SELECT as_of FROM run_moments WHERE run_id = :run_id")
    with up.engine().connect() as connection:
        return connection.execute(statement, {"run_id": str(run_id)}).scalar_one()


def begin_of(up: Up, run_id: UUID) -> datetime:
    """When the run was Running for the first time."""
    with up.client() as client:
        states = client.read_flow_run_states(run_id)
    return min(state.timestamp for state in states if state.name == "Running")


def kill_flow_process(up: Up) -> None:
    """SIGKILL of the flow process of the one current run."""
    (process,) = wait_for("the flow process", up.flow_processes)
    process.kill()


def assert_next_run_completes(up: Up) -> None:
    """The next run is not blocked or cancelled."""
    run = up.wait_for_end(up.trigger(**AWAKE))
    assert run.state.type.value == "COMPLETED", f"{run.state.name}: {run.state.message}"
