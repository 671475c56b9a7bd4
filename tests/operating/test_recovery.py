"""The sample of failures that `make test` causes: runs killed and cancelled, an hour without worker."""

from datetime import timedelta

import psutil
from prefect.states import Cancelling

from tests.operating.missed_slots import miss_six_slots
from tests.operating.waiting import (
    begin_of,
    kill_flow_process,
    read_as_of,
    symbol_locked,
    wait_until_at_lock,
    waiting_run,
)
from tests.up import AWAKE, Up, wait_for
from tests.up_schedules import runs_every


def test_runs_begin_after_a_worker_was_killed_and_after_runs_that_were_cancelled_or_killed(up: Up) -> None:
    """The run by hand that is killed ends as Crashed; the slot runs again as the same run, for the same time."""
    kill_worker(up)
    with symbol_locked(up) as held:
        cancelled = waiting_run(up)
        with up.client() as client:
            client.set_flow_run_state(cancelled, Cancelling())
        assert up.wait_for_end(cancelled).state.name == "Cancelled"
        wait_for("the end of the flow process", lambda: not up.flow_processes())
        killed = waiting_run(up)
        kill_flow_process(up)
        assert up.wait_for_end(killed).state.name == "Crashed"
        with runs_every(up, **AWAKE) as slot:
            wait_until_at_lock(up, slot)
            moment = read_as_of(up, slot)
            kill_flow_process(up)
            wait_for("the second attempt", lambda: up.run(slot).run_count == 2)
            held.release()
            run = up.wait_for_end(slot)
    assert run.state.type.value == "COMPLETED", f"{run.state.name}: {run.state.message}"
    assert run.auto_scheduled
    assert begin_of(up, slot) > run.expected_start_time - timedelta(seconds=1), "Prefect rounds the wait to seconds"
    names = up.state_names(slot)
    assert names.index("Crashed") < names.index("AwaitingRetry") < len(names) - 1
    assert read_as_of(up, slot) == moment, "the same run, for the same moment"


def kill_worker(up: Up) -> None:
    """SIGKILL of the worker; returns when `up` has started another."""
    worker = up.child("hybrid_ml.cli worker")
    worker.kill()
    wait_for("the end of the worker", lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)
    assert up.child("hybrid_ml.cli worker").pid != worker.pid
    assert "SIGKILL" in up.log.read_text()


def test_only_the_newest_slot_of_a_missed_hour_runs(up: Up) -> None:
    miss_six_slots(up)
