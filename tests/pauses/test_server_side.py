"""The server, then worker and `up`, then everything is suspended for 110 s; no run is marked as Crashed."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import anyio
import psutil
from prefect.client.schemas.objects import FlowRun
from prefect.events.clients import PrefectEventsClient
from prefect.events.schemas.events import Event
from prefect.states import Scheduled

from tests.faults.sample import matrix
from tests.faults.table import FaultRows
from tests.pauses.conftest import ALL, WAITING, CurrentRuns, everything, pause, states_of
from tests.up import SERVER, Up

PARTS = "an analysis, a training and a replay"


def future_run(up: Up) -> FlowRun:
    """A run that is due in an hour."""
    with up.client() as client:
        deployment = client.read_deployment_by_name("analysis/analysis")
        later = Scheduled(scheduled_time=datetime.now(UTC) + timedelta(hours=1))
        return client.create_flow_run_from_deployment(deployment.id, state=later)


def forge_pending(up: Up, run: FlowRun) -> None:
    """Send a forged event that states a wrong state of the run; any authenticated client can send one."""
    event_fields = {
        "id": uuid4(),
        "occurred": datetime.now(UTC),
        "event": "prefect.flow-run.Pending",
        "resource": {"prefect.resource.id": f"prefect.flow-run.{run.id}", "prefect.resource.name": run.name},
        "related": [{"prefect.resource.id": "prefect.tag.hybrid-ml", "prefect.resource.role": "tag"}],
    }
    event = Event.model_validate(event_fields)

    async def send() -> None:
        async with PrefectEventsClient(up.api_url) as client:
            await client.emit(event)

    with up.as_own_server():
        anyio.run(send)


@matrix
def test_runs_survive_a_pause_of_server_worker_or_everything(
    up: Up, current_runs: CurrentRuns, faults: FaultRows
) -> None:
    future = future_run(up)
    forge_pending(up, future)
    pause(lambda: up.children(SERVER))
    current_runs.assert_heartbeats_resume(*ALL)
    faults.add("the server stands still for 110 s", f"{PARTS} stay Running", 0)

    pause(lambda: [psutil.Process(up.process.pid), *up.children("hybrid_ml.cli worker")])
    current_runs.assert_heartbeats_resume(*ALL)
    faults.add("`up` and worker stand still for 110 s", f"{PARTS} stay Running", 0)

    current_runs.release_replay()
    pause(lambda: everything(up))
    current_runs.assert_heartbeats_resume(*WAITING)
    runs = current_runs.finish()
    assert {run.state.type.value for run in runs.values()} == {"COMPLETED"}, states_of(runs)
    assert all("Crashed" not in up.state_names(run.id) for run in runs.values())
    faults.add("everything stands still for 110 s", f"{PARTS} go on and are Completed", 0)

    assert _state(up, future.id) == "Scheduled"
    faults.add("a forged event says that a coming slot is Pending", "it stays Scheduled", 0)


def _state(up: Up, run_id: UUID) -> str:
    return up.run(run_id).state.name
