"""An hour of slots that are due at once: the worker is suspended, and due times are moved an hour back."""

from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import text

from tests.up import SERVER, Up, wait_for
from tests.up_schedules import runs_every


def miss_six_slots(up: Up, *, kill_server: bool = False) -> None:
    """Five of six slots must be Skipped, and the newest must run.

    With `kill_server`, the server is killed at the end of the hour; it restarts by itself.
    """
    worker = up.child("hybrid_ml.cli worker")
    worker.suspend()
    with runs_every(up, 10, in_seconds=600):
        try:
            missed = make_six_runs_due(up)
            if kill_server:
                up.child(SERVER).kill()
        finally:
            worker.resume()
        wait_for("the server's answer", up.server_answers)
        assert len(missed) == 6
        runs = [up.wait_for_end(run_id) for run_id in missed]
    assert [run.state.name for run in runs[:-1]] == ["Skipped"] * 5
    newest = runs[-1]
    assert newest.start_time is not None, f"{newest.state.name}: {newest.state.message}"
    assert newest.state.type.value == "COMPLETED", f"{newest.state.name}: {newest.state.message}"


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
