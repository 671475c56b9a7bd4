"""Rows of a run in Prefect's database: which are written, and when they are deleted."""

import json
from collections.abc import Mapping
from uuid import UUID

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


def analysis_of(up: Up) -> UUID:
    """An analysis that has ended and whose events and task runs the server has stored."""
    run = up.wait_for_end(up.trigger(**AWAKE))
    assert run.state.type.value == "COMPLETED", run.state
    wait_for("its last event", lambda: f"prefect.flow-run.{run.state.name}" in events(up, run.id))
    wait_for("the end of every stage", lambda: set(stages(up, run.id).values()) == {"Completed"})
    return run.id


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


def test_analysis_stores_every_stage_with_two_events_each(up: Up) -> None:
    run = analysis_of(up)
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


def test_rows_older_than_their_retention_are_deleted_and_others_kept(up: Up) -> None:
    old, young = analysis_of(up), analysis_of(up)
    before = rows(up, young)
    assert all(rows(up, old).values())
    with up.prefect_engine().begin() as connection:
        events_of_old = text(f"SELECT id FROM events WHERE {OF_THE_RUN['events']}")
        ids = [str(event_id) for event_id in connection.execute(events_of_old, {"run": str(old)}).scalars()]
        earlier = "occurred = occurred - interval '4 days'"
        for table, key in (("events", "id"), ("event_resources", "event_id")):
            statement = f"UPDATE {table} SET {earlier} WHERE {key} = ANY(CAST(:ids AS uuid[]))"
            connection.execute(text(statement), {"ids": ids})
        set_end_time = text("UPDATE flow_run SET end_time = end_time - interval '31 days' WHERE id = :run")
        connection.execute(set_end_time, {"run": str(old)})
    wait_for("the vacuum service", lambda: not any(rows(up, old).values()))
    with up.prefect_engine().connect() as connection:
        remaining_resources = text("SELECT count(*) FROM event_resources WHERE event_id = ANY(CAST(:ids AS uuid[]))")
        remaining = connection.execute(remaining_resources, {"ids": ids}).scalar_one()
    assert remaining == 0
    after = rows(up, young)
    assert all(after[table] >= count for table, count in before.items()), (
        "no row was deleted; later rows may have been added"
    )


def test_events_of_stages_and_heartbeats_are_deleted_earlier(up: Up) -> None:
    run = analysis_of(up)
    with up.prefect_engine().begin() as connection:
        age_events = f"UPDATE events SET occurred = occurred - interval '2 days' WHERE {OF_THE_RUN['events']}"
        connection.execute(text(age_events), {"run": str(run)})
    short_lived = {"prefect.task-run.Running", "prefect.task-run.Completed", "prefect.flow-run.heartbeat"}
    wait_for("the vacuum service", lambda: not short_lived & set(events(up, run)))
    assert {"prefect.flow-run.Running", "prefect.flow-run.Pending"} <= set(events(up, run))
    assert set(stages(up, run).values()) == {"Completed"}


def test_status_and_check_show_sizes_and_low_disk(up: Up) -> None:
    facts = json.loads(up.command("status", "--json").stdout)
    sizes = facts["sizes"]
    assert sizes["prefect_database_mb"] > 1
    assert sizes["data_folder_mb"] > sizes["database_mb"] + sizes["prefect_database_mb"]
    assert min(sizes["logs_mb"], sizes["models_folder_mb"]) >= 0
    assert all(disk["free_mb"] > 0 and not disk["is_low"] for disk in sizes["disks"])
    status = up.command("status", HYBRID_ML_MIN_FREE_MB="900000000").stdout
    assert "disk usage" in status
    assert "less than 900,000,000 MB" in " ".join(status.split())
    check = " ".join(up.command("check", HYBRID_ML_MIN_FREE_MB="900000000").stdout.split())
    assert "Prefect's" in check
    assert "less than 900,000,000 MB (HYBRID_ML_MIN_FREE_MB)" in check
