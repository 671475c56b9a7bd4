"""After trouble: what was missed is set aside, the current slot runs, no slot stays taken, and states are true."""

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
from hybrid_ml.store.locks import symbol_locks
from tests.conftest import WORK
from tests.databases import OwnPostgres
from tests.up import AWAKE, SERVER, Up, bars_away, everything_up, runs_every, wait_for

TRUE_WITHIN_SECONDS = 120 + 30
"""Two minutes, and half a one for a crowded machine."""
HELD_SECONDS = 60
"""What it takes to bring a run to its lock and do something to it."""


@contextmanager
def symbol_held(up: Up) -> Iterator[None]:
    """Runs wait for the symbol, as if another one were at it; a slot's run would keep its turn meanwhile."""
    up.wait_for_our_turn(HELD_SECONDS)
    with symbol_locks(up.engine(), 60) as held:
        held.take("DEMO")
        yield


def begun(up: Up) -> UUID:
    """A run by hand that has begun, and waits for the symbol."""
    run_id = up.trigger(**AWAKE)
    up.begun(run_id)
    wait_for("the run at its lock", lambda: "lock DEMO" in up.task_names(run_id))
    return run_id


def next_run_completes(up: Up) -> None:
    """No slot stays taken: the next run is not cancelled."""
    run = up.ended(up.trigger(**AWAKE))
    assert run.state.type.value == "COMPLETED", f"{run.state.name}: {run.state.message}"


def test_the_flow_process_is_killed(up: Up) -> None:
    with symbol_held(up):
        run_id = begun(up)
        wait_for("the flow process", up.flow_processes)[0].kill()
        run = up.ended(run_id, 90)
    assert run.state.name == "Crashed"
    next_run_completes(up)


def test_the_worker_is_killed_and_its_run_goes_on(up: Up) -> None:
    with symbol_held(up):
        run_id = begun(up)
        up.child("hybrid_ml.cli worker").kill()
        up.child("hybrid_ml.cli worker")
    run = up.ended(run_id, TRUE_WITHIN_SECONDS)
    assert run.state.type.value == "COMPLETED", f"{run.state.name}: {run.state.message}"
    next_run_completes(up)


def test_a_worker_that_is_stopped_lets_its_run_finish(up: Up) -> None:
    worker = up.child("hybrid_ml.cli worker")
    with symbol_held(up):
        run_id = begun(up)
        worker.terminate()
        time.sleep(3)
        assert worker.is_running(), "it waits for the run"
        assert up.run(run_id).state.name == "Running"
    run = up.ended(run_id)
    assert run.state.type.value == "COMPLETED", f"{run.state.name}: {run.state.message}"
    wait_for("the end of the worker", lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE, 30)
    next_run_completes(up)


def test_a_run_that_outlasts_a_stopped_worker_says_so(up: Up) -> None:
    worker = up.child("hybrid_ml.cli worker")
    with symbol_held(up):
        run_id = begun(up)
        worker.terminate()
        run = up.ended(run_id, TRUE_WITHIN_SECONDS)  # by itself after 20 s, or on a crowded machine by the watch
    assert run.state.name == "Crashed", f"{run.state.name}: {run.state.message}"
    next_run_completes(up)


def test_a_slot_whose_process_died_runs_again_as_the_same_run(up: Up) -> None:
    up.wait_for_our_turn(2 * HELD_SECONDS)
    with runs_every(up, **AWAKE):
        with symbol_held(up):
            slot = slot_at_its_lock(up)
            moment = moment_of(up, slot)
            wait_for("the flow process", up.flow_processes)[0].kill()
            wait_for("the second attempt", lambda: up.run(slot).run_count == 2)
        run = up.ended(slot)
    assert run.state.type.value == "COMPLETED", f"{run.state.name}: {run.state.message}"
    names = up.state_names(slot)
    assert names.index("Crashed") < names.index("AwaitingRetry") < len(names) - 1
    assert moment_of(up, slot) == moment, "the same run, for the same moment"


def test_a_process_that_dies_before_its_slot_is_replaced_and_nothing_begins_early(up: Up) -> None:
    up.wait_for_our_turn(HELD_SECONDS)
    with runs_every(up, in_seconds=30, **AWAKE):
        slot = up.due_soon()
        psutil.Process(wait_for("the flow process", lambda: flow_process_id(slot))).kill()
        wait_for("the repetition", lambda: "AwaitingRetry" in up.state_names(slot))
        run = up.ended(slot)
    assert run.state.type.value == "COMPLETED", f"{run.state.name}: {run.state.message}"
    assert run.run_count == 1
    assert up.state_names(slot).count("Crashed") == 1
    with up.client() as client:
        (begun_at,) = [state.timestamp for state in client.read_flow_run_states(slot) if state.name == "Running"]
    assert begun_at > run.expected_start_time - timedelta(seconds=1), "Prefect rounds the wait to seconds"


def slot_at_its_lock(up: Up) -> UUID:
    """A run of `runs_every` that has begun, and waits for the symbol."""
    slot = up.due_soon()
    up.begun(slot)
    wait_for("the slot's run at its lock", lambda: "lock DEMO" in up.task_names(slot))
    return slot


def moment_of(up: Up, run_id: UUID) -> datetime:
    """The moment the run judges."""
    statement = text("SELECT as_of FROM run_moments WHERE run_id = :run_id")
    with up.engine().connect() as connection:
        return connection.execute(statement, {"run_id": str(run_id)}).scalar_one()


def test_server_worker_and_flow_processes_are_killed_together(up: Up) -> None:
    """The next run begins at once, states come true, and the slot's run has its second attempt."""
    up.wait_for_our_turn(3 * HELD_SECONDS)
    with runs_every(up, **AWAKE):
        with symbol_held(up):
            slot, by_hand = slot_at_its_lock(up), begun(up)
            moment = moment_of(up, slot)
            for process in [up.child("hybrid_ml.cli worker"), up.child(SERVER), *up.flow_processes()]:
                process.kill()
        wait_for("the server again", up.answers, 180)
        after = up.ended(up.trigger(**AWAKE))
        assert after.state.type.value == "COMPLETED", f"{after.state.name}: {after.state.message}"
        assert "AwaitingConcurrencySlot" not in up.state_names(after.id), "it waited for those that are dead"
        run = up.ended(by_hand, TRUE_WITHIN_SECONDS)
        assert run.state.name == "Crashed"
        assert "nothing was heard" in run.state.message
        wait_for("the second attempt", lambda: up.run(slot).run_count == 2)
    run = up.ended(slot)
    assert run.state.type.value == "COMPLETED", f"{run.state.name}: {run.state.message}"
    assert moment_of(up, slot) == moment, "the same run, for the same moment"
    assert up.state_names(by_hand)[-1] == "Crashed", "a run by hand is not repeated"


def test_the_server_is_killed_in_the_middle_of_a_run(up: Up) -> None:
    with symbol_held(up):
        run_id = begun(up)
        up.child(SERVER).kill()
        wait_for("the server again", up.answers, 180)
    run = up.ended(run_id, TRUE_WITHIN_SECONDS)
    assert run.state.name in ("Completed", "Degraded", "Crashed"), run.state
    next_run_completes(up)


def test_a_run_is_cancelled_from_the_ui(up: Up) -> None:
    with symbol_held(up):
        run_id = begun(up)
        with up.client() as client:
            from prefect.states import Cancelling

            client.set_flow_run_state(run_id, Cancelling())
        run = up.ended(run_id)
        assert run.state.name == "Cancelled"
        wait_for("the end of the flow process", lambda: not up.flow_processes())
    next_run_completes(up)


@pytest.mark.parametrize("away", ["worker", "server"])
def test_something_was_away_for_an_hour(up: Up, away: str) -> None:
    """The slots of an hour are missed at once: the worker hangs meanwhile, and an hour passes on the server's side.

    The server, where it was away too, is killed at the end of the hour and comes back by itself.
    """
    up.wait_for_our_turn(180)
    worker = up.child("hybrid_ml.cli worker")
    worker.suspend()
    try:
        missed = an_hour_passes(up)
        if away == "server":
            up.child(SERVER).kill()
    finally:
        worker.resume()
    wait_for("the server's answer", up.answers, 120)
    assert len(missed) == 6
    runs = [up.ended(run_id) for run_id in missed]
    assert [run.state.name for run in runs[:-1]] == ["Skipped"] * 5
    newest = runs[-1]
    assert newest.start_time is not None, f"{newest.state.name}: {newest.state.message}"
    assert newest.state.type.value == "COMPLETED"
    next_run_completes(up)


def an_hour_passes(up: Up) -> list[UUID]:
    """The next six runs of the schedule, the oldest first, all of them due now: as if that time were past."""
    found = wait_for("six runs to come", lambda: _six_to_come(up))
    given = {"ids": [run_id for run_id, _ in found], "by": found[-1][1] - datetime.now(UTC)}
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
        connection.execute(runs, given)
        connection.execute(states, given)
    return given["ids"]


def _six_to_come(up: Up) -> list[tuple[UUID, datetime]] | None:
    statement = text("""
        SELECT r.id, r.expected_start_time FROM flow_run r JOIN deployment d ON d.id = r.deployment_id
        WHERE d.name = 'analysis' AND r.auto_scheduled AND r.state_type = 'SCHEDULED' AND r.expected_start_time > now()
        ORDER BY r.expected_start_time LIMIT 6""")
    with up.prefect_engine().connect() as connection:
        found = [(row.id, row.expected_start_time) for row in connection.execute(statement)]
    return found if len(found) == 6 else None


def test_a_failed_run_is_retried_from_the_command_line(up: Up) -> None:
    with bars_away(up):
        run_id = up.trigger(symbols=["DEMO"], **AWAKE)
        assert up.ended(run_id).state.name == "Failed"
    up.wait_for_our_turn(90)
    done = up.prefect("flow-run", "retry", str(run_id))
    assert done.returncode == 0, done.stdout + done.stderr
    run = up.ended(run_id)
    assert run.run_count == 2
    assert run.state.type.value == "COMPLETED", f"{run.state.name}: {run.state.message}"
    with up.client() as client:
        lines = client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run_id])))
    assert lines
    assert not [line.message for line in lines if "Traceback" in line.message]


def test_postgresql_is_killed(up: Up) -> None:
    """It comes back within seconds, and with it the server and the next run."""
    pid = _postmaster(up)
    assert pid
    os.kill(pid, signal.SIGKILL)
    wait_for("another PostgreSQL", lambda: _postmaster(up) not in (None, pid), 60)
    wait_for("the server's answer", up.answers, 60)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            return next_run_completes(up)
        except Exception:  # the server mends its connections one by one
            time.sleep(1)
    pytest.fail("no run completes after PostgreSQL came back")


def test_the_projects_database_was_away_for_an_hour(tmp_path: Path) -> None:
    """It is stopped for real, beside a server that goes on: its slots fail, said so, and the first after it works."""
    with TemporaryDirectory(dir=WORK) as folder:
        Path(folder).chmod(0o755)
        own = OwnPostgres(Path(folder))
        with everything_up(tmp_path, NEON_CONN_STR=own.address) as up:
            next_run_completes(up)
            up.wait_for_our_turn(120)
            own.stop()
            with runs_every(up, **AWAKE):
                missed = up.ended(up.due_soon())
            assert missed.state.name == "Failed", f"{missed.state.name}: {missed.state.message}"
            assert "cannot reach the database" in missed.state.message
            own.start()
            up.wait_for_our_turn(60)
            with runs_every(up, **AWAKE):
                run = up.ended(up.due_soon())
            assert run.state.type.value == "COMPLETED", f"{run.state.name}: {run.state.message}"
            next_run_completes(up)


def _postmaster(up: Up) -> int | None:
    try:
        return int((up.data_dir / "postgres" / "postmaster.pid").read_text().split()[0])
    except (OSError, IndexError, ValueError):
        return None
