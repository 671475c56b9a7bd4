"""Recovery after failures: missed slots are skipped, the current slot runs, and states of runs are correct."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

import psutil
import pytest
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from sqlalchemy import text

from deployments.run_watcher.processes import flow_process_id
from hybrid_ml.store.locks import SymbolLocks, symbol_locks
from tests.conftest import WORK
from tests.databases import OwnPostgres
from tests.faults.sample import matrix, sample
from tests.up import AWAKE, SERVER, Up, everything_up, runs_every, wait_for, without_bars


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


def assert_next_run_completes(up: Up) -> None:
    """The next run is not blocked or cancelled."""
    run = up.wait_for_end(up.trigger(**AWAKE))
    assert run.state.type.value == "COMPLETED", f"{run.state.name}: {run.state.message}"


def test_run_whose_flow_process_is_killed_crashes(up: Up) -> None:
    with symbol_locked(up):
        run_id = waiting_run(up)
        wait_for("the flow process", up.flow_processes)[0].kill()
        run = up.wait_for_end(run_id)
    assert run.state.name == "Crashed"
    assert_next_run_completes(up)


@matrix
def test_run_continues_after_its_worker_is_killed(up: Up) -> None:
    with symbol_locked(up):
        run_id = waiting_run(up)
        up.child("hybrid_ml.cli worker").kill()
        up.child("hybrid_ml.cli worker")
    run = up.wait_for_end(run_id)
    assert run.state.type.value == "COMPLETED", f"{run.state.name}: {run.state.message}"
    assert_next_run_completes(up)


@matrix
def test_stopped_worker_waits_for_its_run(up: Up) -> None:
    worker = up.child("hybrid_ml.cli worker")
    with symbol_locked(up):
        run_id = waiting_run(up)
        worker.terminate()
        wait_for("the stop", lambda: "running flows have" in up.log.read_text())
        assert worker.is_running(), "it waits for the run"
        assert up.run(run_id).state.name == "Running"
    run = up.wait_for_end(run_id)
    assert run.state.type.value == "COMPLETED", f"{run.state.name}: {run.state.message}"
    wait_for("the end of the worker", lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)
    assert_next_run_completes(up)


@matrix
def test_run_longer_than_the_stop_of_its_worker_crashes(up: Up) -> None:
    worker = up.child("hybrid_ml.cli worker")
    with symbol_locked(up):
        run_id = waiting_run(up)
        worker.terminate()
        run = up.wait_for_end(run_id)  # by itself after 20 s, or on a busy machine by the run watcher
    assert run.state.name == "Crashed", f"{run.state.name}: {run.state.message}"
    assert_next_run_completes(up)


def test_slot_whose_process_is_killed_runs_again_as_the_same_run(up: Up) -> None:
    with symbol_locked(up) as held, runs_every(up, **AWAKE) as slot:
        wait_until_at_lock(up, slot)
        moment = read_as_of(up, slot)
        wait_for("the flow process", up.flow_processes)[0].kill()
        wait_for("the second attempt", lambda: up.run(slot).run_count == 2)
        held.release()
        run = up.wait_for_end(slot)
    assert run.state.type.value == "COMPLETED", f"{run.state.name}: {run.state.message}"
    names = up.state_names(slot)
    assert names.index("Crashed") < names.index("AwaitingRetry") < len(names) - 1
    assert read_as_of(up, slot) == moment, "the same run, for the same moment"


@matrix
def test_process_killed_before_its_slot_is_replaced_and_run_begins_on_time(up: Up) -> None:
    with runs_every(up, in_seconds=30, **AWAKE) as slot:
        psutil.Process(wait_for("the flow process", lambda: flow_process_id(slot))).kill()
        wait_for("the repetition", lambda: "AwaitingRetry" in up.state_names(slot))
        run = up.wait_for_end(slot)
    assert run.state.type.value == "COMPLETED", f"{run.state.name}: {run.state.message}"
    assert run.run_count == 1
    assert up.state_names(slot).count("Crashed") == 1
    with up.client() as client:
        (running_since,) = [state.timestamp for state in client.read_flow_run_states(slot) if state.name == "Running"]
    assert running_since > run.expected_start_time - timedelta(seconds=1), "Prefect rounds the wait to seconds"


def wait_until_at_lock(up: Up, run_id: UUID) -> None:
    """Returns when the run is Running and waits for the lock of its symbol."""
    up.wait_until_running(run_id)
    wait_for("the run at its lock", lambda: "lock DEMO" in up.task_names(run_id))


def read_as_of(up: Up, run_id: UUID) -> datetime:
    """The `as_of` of the run."""
    statement = text("SELECT as_of FROM run_moments WHERE run_id = :run_id")
    with up.engine().connect() as connection:
        return connection.execute(statement, {"run_id": str(run_id)}).scalar_one()


@matrix
def test_runs_recover_after_server_worker_and_flow_processes_are_killed(up: Up) -> None:
    """The next run begins at once, states become correct, and the slot's run has its second attempt."""
    with symbol_locked(up) as held, runs_every(up, **AWAKE) as slot:
        wait_until_at_lock(up, slot)
        by_hand = waiting_run(up)
        moment = read_as_of(up, slot)
        for process in [up.child("hybrid_ml.cli worker"), up.child(SERVER), *up.flow_processes()]:
            process.kill()
        held.release()
        wait_for("the server again", up.server_answers)
        after = up.wait_for_end(up.trigger(**AWAKE))
        assert after.state.type.value == "COMPLETED", f"{after.state.name}: {after.state.message}"
        assert "AwaitingConcurrencySlot" not in up.state_names(after.id), "it waited for the killed runs"
        run = up.wait_for_end(by_hand)
        assert run.state.name == "Crashed"
        assert "no heartbeat" in run.state.message
        wait_for("the second attempt", lambda: up.run(slot).run_count == 2)
    run = up.wait_for_end(slot)
    assert run.state.type.value == "COMPLETED", f"{run.state.name}: {run.state.message}"
    assert read_as_of(up, slot) == moment, "the same run, for the same moment"
    assert up.state_names(by_hand)[-1] == "Crashed", "a run by hand is not repeated"


@matrix
def test_run_ends_after_the_server_is_killed(up: Up) -> None:
    with symbol_locked(up):
        run_id = waiting_run(up)
        up.child(SERVER).kill()
        wait_for("the server again", up.server_answers)
    run = up.wait_for_end(run_id)
    assert run.state.name in ("Completed", "Crashed"), run.state
    assert_next_run_completes(up)


def test_run_is_cancelled_from_the_ui(up: Up) -> None:
    with symbol_locked(up):
        run_id = waiting_run(up)
        with up.client() as client:
            from prefect.states import Cancelling

            client.set_flow_run_state(run_id, Cancelling())
        run = up.wait_for_end(run_id)
        assert run.state.name == "Cancelled"
        wait_for("the end of the flow process", lambda: not up.flow_processes())
    assert_next_run_completes(up)


@pytest.mark.parametrize("stopped", sample(["worker", "server"], "worker"))
def test_only_the_newest_slot_of_a_missed_hour_runs(up: Up, stopped: str) -> None:
    """The slots of an hour are missed: the worker is suspended, and due times are moved an hour back.

    With "server", the server is also killed at the end of the hour; it restarts by itself.
    """
    worker = up.child("hybrid_ml.cli worker")
    worker.suspend()
    with runs_every(up, 10, in_seconds=600):
        try:
            missed = make_six_runs_due(up)
            if stopped == "server":
                up.child(SERVER).kill()
        finally:
            worker.resume()
        wait_for("the server's answer", up.server_answers)
        assert len(missed) == 6
        runs = [up.wait_for_end(run_id) for run_id in missed]
    assert [run.state.name for run in runs[:-1]] == ["Skipped"] * 5
    newest = runs[-1]
    assert newest.start_time is not None, f"{newest.state.name}: {newest.state.message}"
    assert newest.state.type.value == "COMPLETED"
    assert_next_run_completes(up)


def make_six_runs_due(up: Up) -> list[UUID]:
    """Move the next six runs of the schedule back so that all are due now; returns their ids, the oldest first."""
    future = wait_for("six future runs", lambda: _six_future_runs(up))
    parameters = {"ids": [run_id for run_id, _ in future], "by": future[-1][1] - datetime.now(UTC)}
    runs = text("""
        UPDATE flow_run SET expected_start_time = expected_start_time - CAST(:by AS interval),
                            next_scheduled_start_time = next_scheduled_start_time - CAST(:by AS interval),
                            idempotency_key = gen_random_uuid()::text
        WHERE id = ANY(:ids)""")
    states = text("""
        UPDATE flow_run_state SET state_details = jsonb_set(state_details::jsonb, '{scheduled_time}', to_jsonb(
            (state_details::jsonb ->> 'scheduled_time')::timestamptz - CAST(:by AS interval)))
        WHERE flow_run_id = ANY(:ids)""")
    with up.prefect_engine().begin() as connection:
        connection.execute(runs, parameters)
        connection.execute(states, parameters)
    return parameters["ids"]


def _six_future_runs(up: Up) -> list[tuple[UUID, datetime]] | None:
    statement = text("""
        SELECT r.id, r.expected_start_time FROM flow_run r JOIN deployment d ON d.id = r.deployment_id
        WHERE d.name = 'analysis' AND r.auto_scheduled AND r.state_type = 'SCHEDULED' AND r.expected_start_time > now()
        ORDER BY r.expected_start_time LIMIT 6""")
    with up.prefect_engine().connect() as connection:
        runs = [(row.id, row.expected_start_time) for row in connection.execute(statement)]
    return runs if len(runs) == 6 else None


@matrix
def test_failed_run_is_retried_from_the_command_line(up: Up) -> None:
    with without_bars(up):
        run_id = up.trigger(symbols=["DEMO"], **AWAKE)
        assert up.wait_for_end(run_id).state.name == "Failed"
    done = up.prefect("flow-run", "retry", str(run_id))
    assert done.returncode == 0, done.stdout + done.stderr
    run = up.wait_for_end(run_id)
    assert run.run_count == 2
    assert run.state.type.value == "COMPLETED", f"{run.state.name}: {run.state.message}"
    with up.client() as client:
        lines = client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run_id])))
    assert lines
    assert not [line.message for line in lines if "Traceback" in line.message]


@matrix
def test_next_run_completes_after_postgresql_is_killed(up: Up) -> None:
    """It restarts within seconds; the server recovers and the next run completes."""
    pid = _postmaster(up)
    assert pid
    os.kill(pid, signal.SIGKILL)
    wait_for("another PostgreSQL", lambda: _postmaster(up) not in (None, pid))
    wait_for("the server's answer", up.server_answers)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            return assert_next_run_completes(up)
        except Exception:  # the server replaces its connections one by one
            time.sleep(1)
    pytest.fail("no run completes after PostgreSQL came back")


@matrix
def test_slot_fails_while_the_project_database_is_stopped_and_the_next_completes(tmp_path: Path) -> None:
    """The database is stopped and the server is not: slots fail with a message, and the first slot after it works."""
    with TemporaryDirectory(dir=WORK) as folder:
        Path(folder).chmod(0o755)
        postgres = OwnPostgres(Path(folder))
        with everything_up(tmp_path, NEON_CONN_STR=postgres.address) as up:
            assert_next_run_completes(up)
            postgres.stop()
            with runs_every(up, **AWAKE) as run_id:
                missed = up.wait_for_end(run_id)
            assert missed.state.name == "Failed", f"{missed.state.name}: {missed.state.message}"
            assert "cannot reach the database" in missed.state.message
            postgres.start()
            with runs_every(up, **AWAKE) as run_id:
                run = up.wait_for_end(run_id)
            assert run.state.type.value == "COMPLETED", f"{run.state.name}: {run.state.message}"
            assert_next_run_completes(up)


def _postmaster(up: Up) -> int | None:
    try:
        return int((up.data_dir / "postgres" / "postmaster.pid").read_text().split()[0])
    except (OSError, IndexError, ValueError):
        return None
