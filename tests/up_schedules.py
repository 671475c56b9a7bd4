"""Schedules of a running `hybrid-ml up`: those of prefect.yaml switched on and off, and others for a test."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound

from deployments.provision.deploy import stated_deployments

if TYPE_CHECKING:
    from tests.up import Up


def is_slot(due: datetime) -> bool:
    """Whether a run due then is of a schedule of prefect.yaml; runs of `runs_every` have a fractional second."""
    return (due.second, due.microsecond) == (50, 0)


def set_schedules(up: "Up", *names: str, active: bool) -> None:
    """Switch the schedules of prefect.yaml on or off, as the UI's switch does: all, or those of deployments `names`."""
    with up.client() as client:
        for name in names or [name for name, _ in stated_deployments()]:
            deployment = client.read_deployment_by_name(name)
            for schedule in deployment.schedules:
                client.update_deployment_schedule(deployment.id, schedule.id, active=active)


@contextmanager
def schedules_on(up: "Up", *names: str) -> Iterator[None]:
    """The schedules of prefect.yaml, all or those of `names`, are on within the block: one of their runs may begin."""
    set_schedules(up, *names, active=True)
    try:
        yield
    finally:
        set_schedules(up, *names, active=False)


@contextmanager
def runs_every(
    up: "Up", minutes: int = 60, *, in_seconds: float = 12.0, due: datetime | None = None, **request: Any
) -> Iterator[UUID]:
    """Another schedule of the analysis with its own `request`; yields its first run, at `due` or in `in_seconds`.

    The server creates the runs at once: its scheduler would, on a busy machine, come when the first is in the past.
    """
    due = due or datetime.now(UTC) + timedelta(seconds=in_seconds)
    body = {"schedule": {"interval": minutes * 60, "anchor_date": due.isoformat()}, "active": True}
    body |= {"parameters": {"request": request}} if request else {}
    with up.client() as client:
        deployment = client.read_deployment_by_name("analysis/analysis").id
        path = f"/deployments/{deployment}/schedules"
        response = client._client.post(path, content=json.dumps([body]), headers={"Content-Type": "application/json"})
        response.raise_for_status()
        schedule = response.json()[0]["id"]
        before = due - timedelta(seconds=0.5)
        runs = {"start_time": before.isoformat(), "min_runs": 7}
        client.request("POST", "/deployments/{id}/schedule", path_params={"id": deployment}, json=runs)
        created = FlowRunFilter(deployment_id={"any_": [deployment]}, expected_start_time={"after_": before})
        first = client.read_flow_runs(flow_run_filter=created, sort=FlowRunSort.EXPECTED_START_TIME_ASC)[0]
        assert first.expected_start_time == due, f"{first.expected_start_time} is not {due}"
    try:
        yield first.id
    finally:
        with up.client() as client, suppress(ObjectNotFound):  # a new deployment removes it
            client.delete_deployment_schedule(deployment, UUID(schedule))
