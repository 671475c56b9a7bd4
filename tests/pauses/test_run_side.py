"""PostgreSQL, then the flow processes are suspended for 110 s; no run is marked as Crashed."""

from tests.faults.sample import matrix
from tests.faults.table import FaultRows
from tests.pauses.conftest import ALL, WAITING, CurrentRuns, pause, postgresql, states_of
from tests.up import Up

PARTS = "an analysis, a training and a replay"


@matrix
def test_runs_survive_a_pause_of_postgresql_or_of_flow_processes(
    up: Up, current_runs: CurrentRuns, faults: FaultRows
) -> None:
    pause(lambda: postgresql(up))
    current_runs.assert_heartbeats_resume(*ALL)
    faults.add("PostgreSQL stands still for 110 s", f"{PARTS} stay Running, statements in flight are answered", 0)

    current_runs.release_replay()
    pause(up.flow_processes)
    current_runs.assert_heartbeats_resume(*WAITING)
    runs = current_runs.finish()
    assert {run.state.type.value for run in runs.values()} == {"COMPLETED"}, states_of(runs)
    assert all("Crashed" not in up.state_names(run.id) for run in runs.values())
    faults.add("the flow processes stand still for 110 s", f"{PARTS} go on and are Completed", 0)
