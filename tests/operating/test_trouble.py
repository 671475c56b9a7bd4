"""Recovery after failures: states of runs are correct, and the next run works; see test_recovery.py."""

import os
import signal
import time
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId

from deployments.run_watcher.processes import flow_process_id
from tests.conftest import WORK
from tests.databases import OwnPostgres
from tests.faults.sample import matrix
from tests.operating.missed_slots import miss_six_slots
from tests.operating.waiting import (
    assert_next_run_completes,
    begin_of,
    read_as_of,
    symbol_locked,
    wait_until_at_lock,
    waiting_run,
)
from tests.up import AWAKE, SERVER, Up, everything_up, wait_for, without_bars
from tests.up_schedules import runs_every


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


@matrix
def test_process_killed_before_its_slot_is_replaced_and_run_begins_on_time(up: Up) -> None:
    with runs_every(up, in_seconds=30, **AWAKE) as slot:
        psutil.Process(wait_for("the flow process", lambda: flow_process_id(slot))).kill()
        wait_for("the repetition", lambda: "AwaitingRetry" in up.state_names(slot))
        run = up.wait_for_end(slot)
    assert run.state.type.value == "COMPLETED", f"{run.state.name}: {run.state.message}"
    assert run.run_count == 1
    assert up.state_names(slot).count("Crashed") == 1
    assert begin_of(up, slot) > run.expected_start_time - timedelta(seconds=1), "Prefect rounds the wait to seconds"


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


@matrix
def test_only_the_newest_slot_of_a_missed_hour_runs_after_the_server_was_killed_too(up: Up) -> None:
    miss_six_slots(up, kill_server=True)
    assert_next_run_completes(up)


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
