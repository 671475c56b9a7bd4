"""The server, then the worker and `up`, then everything stands still for 110 s: no run is taken for dead."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import anyio
from prefect.client.schemas.objects import FlowRun
from prefect.events.clients import PrefectEventsClient
from prefect.events.schemas.events import Event
from prefect.states import Scheduled

from tests.faults.table import FaultRows
from tests.pauses.conftest import ALL, WAITING, AtWork, completed, everything, pause
from tests.up import SERVER, Up

PARTS = "an analysis, a training and a replay"


def coming(up: Up) -> FlowRun:
    """A run that is due in an hour."""
    with up.client() as client:
        deployment = client.read_deployment_by_name("analysis/analysis")
        later = Scheduled(scheduled_time=datetime.now(UTC) + timedelta(hours=1))
        return client.create_flow_run_from_deployment(deployment.id, state=later)


def forge_pending(up: Up, run: FlowRun) -> None:
    """An event that says what is not so, as whoever is let into `events/in` can send it."""
    stated = {
        "id": uuid4(),
        "occurred": datetime.now(UTC),
        "event": "prefect.flow-run.Pending",
        "resource": {"prefect.resource.id": f"prefect.flow-run.{run.id}", "prefect.resource.name": run.name},
        "related": [{"prefect.resource.id": "prefect.tag.hybrid-ml", "prefect.resource.role": "tag"}],
    }
    event = Event.model_validate(stated)

    async def send() -> None:
        async with PrefectEventsClient(up.api_url) as client:
            await client.emit(event)

    with up.client():  # whose settings hold what the server asks for
        anyio.run(send)


def test_a_pause_of_server_worker_or_everything_is_no_death(up: Up, at_work: AtWork, faults: FaultRows) -> None:
    ahead = coming(up)
    forge_pending(up, ahead)
    pause(lambda: up.children(SERVER))
    at_work.assert_heard_again(*ALL)
    faults.add("the server stands still for 110 s", f"{PARTS} stay Running", 0)

    pause(lambda: [*up.own(), *up.children("hybrid_ml.cli worker")])
    at_work.assert_heard_again(*ALL)
    faults.add("`up` and worker stand still for 110 s", f"{PARTS} stay Running", 0)

    at_work.let_the_replay_work()
    pause(lambda: everything(up))
    at_work.assert_heard_again(*WAITING)
    runs = at_work.finish()
    assert {run.state.type.value for run in runs.values()} == {"COMPLETED"}, completed(runs)
    assert all("Crashed" not in up.state_names(run.id) for run in runs.values())
    faults.add("everything stands still for 110 s", f"{PARTS} go on and are Completed", 0)

    assert _state(up, ahead.id) == "Scheduled"
    faults.add("a forged event says that a coming slot is Pending", "it stays Scheduled", 0)


def _state(up: Up, run_id: UUID) -> str:
    return up.run(run_id).state.name
