"""Rows of a run in Prefect's database: which are written, and when they are deleted."""

from collections.abc import Mapping
from uuid import UUID

from prefect.client.schemas.objects import FlowRun
from sqlalchemy import text

from tests.up import AWAKE, Up, wait_for

STAGES = ("load bars", "load model", "validate model", "fine-tune", "predict", "save prediction", "send alerts")
OF_THE_RUN = {
    "flow_run": "id = :run",
    "flow_run_state": "flow_run_id = :run",
    "task_run": "flow_run_id = :run",
    "task_run_state": "task_run_id IN (SELECT id FROM task_run WHERE flow_run_id = :run)",
    "log": "flow_run_id = :run",
    "artifact": "flow_run_id = :run",
    "events": "CAST(related_resource_ids AS text) LIKE '%' || :run || '%' OR resource_id LIKE '%' || :run",
}
"""Conditions for the rows of a run, by table. Rows of `event_resources` are found by the ids of its events."""


def wait_until_stored(up: Up, run: FlowRun) -> None:
    """Returns when the server has stored the events and task runs of a run that has ended."""
    wait_for("its last event", lambda: f"prefect.flow-run.{run.state.name}" in events(up, run.id))
    wait_for("the end of every stage", lambda: set(stages(up, run.id).values()) == {"Completed"})


def rows(up: Up, run: UUID, where: Mapping[str, str] = OF_THE_RUN) -> dict[str, int]:
    with up.prefect_engine().connect() as connection:
        return {
            table: connection.execute(
                text(f"SELECT count(*) FROM {table} WHERE {condition}"),  # constants above
                {"run": str(run)},
            ).scalar_one()
            for table, condition in where.items()
        }


def events(up: Up, run: UUID) -> list[str]:
    with up.prefect_engine().connect() as connection:
        statement = f"SELECT event FROM events WHERE {OF_THE_RUN['events']}"
        return list(connection.execute(text(statement), {"run": str(run)}).scalars())


def stages(up: Up, run: UUID) -> dict[str, str]:
    with up.prefect_engine().connect() as connection:
        event_id = connection.execute(
            text("SELECT name, state_name FROM task_run WHERE flow_run_id = :run"), {"run": str(run)}
        )
        return {row.name: row.state_name for row in event_id}


def test_analysis_stores_every_stage_with_two_events_each(up: Up, completed: FlowRun) -> None:
    wait_until_stored(up, completed)
    run = completed.id
    names = stages(up, run)
    assert [stage for stage in STAGES if not any(name.startswith(stage) for name in names)] == []
    task_events = [name for name in events(up, run) if name.startswith("prefect.task-run.")]
    per_task = ["prefect.task-run.Running", "prefect.task-run.Completed"]
    assert sorted(task_events) == sorted(per_task * rows(up, run)["task_run"])  # a stage may run twice
    with up.prefect_engine().connect() as connection:
        roles = connection.execute(
            text(
                "SELECT DISTINCT resource_role FROM event_resources JOIN events ON events.id = event_id"
                " WHERE event LIKE 'prefect.task-run.%' AND CAST(related_resource_ids AS text) LIKE '%' || :run || '%'"
            ),
            {"run": str(run)},
        ).scalars()
        assert set(roles) == {"", "flow-run"}
        lines = connection.execute(
            text("SELECT message FROM log WHERE flow_run_id = :run"), {"run": str(run)}
        ).scalars()
        finished = [line for line in lines if "Finished in state Completed()" in line]
        assert len(finished) <= 1, "only the line of the run, none of a successful stage"


def test_rows_are_deleted_after_their_retention_those_of_stages_earlier(up: Up, completed: FlowRun) -> None:
    """Events of stages and heartbeats are deleted first, then every row of the run; those of a younger run are kept."""
    old = up.wait_for_end(up.trigger(**AWAKE))
    for run in (old, completed):
        wait_until_stored(up, run)
    before, ids = rows(up, completed.id), event_ids(up, old.id)
    assert all(rows(up, old.id).values())
    age_events(up, ids, days=2)
    short_lived = {"prefect.task-run.Running", "prefect.task-run.Completed", "prefect.flow-run.heartbeat"}
    wait_for("the vacuum service", lambda: not short_lived & set(events(up, old.id)))
    assert {"prefect.flow-run.Running", "prefect.flow-run.Pending"} <= set(events(up, old.id))
    assert set(stages(up, old.id).values()) == {"Completed"}
    age_events(up, ids, days=2)
    with up.prefect_engine().begin() as connection:
        set_end_time = text("UPDATE flow_run SET end_time = end_time - interval '31 days' WHERE id = :run")
        connection.execute(set_end_time, {"run": str(old.id)})
    wait_for("the vacuum service", lambda: not any(rows(up, old.id).values()))
    with up.prefect_engine().connect() as connection:
        remaining = text("SELECT count(*) FROM event_resources WHERE event_id = ANY(CAST(:ids AS uuid[]))")
        assert connection.execute(remaining, {"ids": ids}).scalar_one() == 0
    after = rows(up, completed.id)
    assert all(after[table] >= count for table, count in before.items()), (
        "no row was deleted; later rows may have been added"
    )


def event_ids(up: Up, run: UUID) -> list[str]:
    with up.prefect_engine().connect() as connection:
        statement = text(f"SELECT id FROM events WHERE {OF_THE_RUN['events']}")
        return [str(event_id) for event_id in connection.execute(statement, {"run": str(run)}).scalars()]


def age_events(up: Up, ids: list[str], days: int) -> None:
    """Set the events and their resources back by `days`."""
    earlier = f"occurred = occurred - interval '{days} days'"
    with up.prefect_engine().begin() as connection:
        for table, key in (("events", "id"), ("event_resources", "event_id")):
            statement = f"UPDATE {table} SET {earlier} WHERE {key} = ANY(CAST(:ids AS uuid[]))"
            connection.execute(text(statement), {"ids": ids})
