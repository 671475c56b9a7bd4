"""PostgreSQL, then the flow processes stand still for 110 s, watched by a worker that is awake."""

from tests.faults.table import FaultRows
from tests.pauses.conftest import ALL, WAITING, AtWork, completed, pause, postgresql
from tests.up import Up

PARTS = "an analysis, a training and a replay"


def test_a_pause_of_postgresql_or_of_the_runs_is_no_death(up: Up, at_work: AtWork, faults: FaultRows) -> None:
    pause(lambda: postgresql(up))
    at_work.assert_heard_again(*ALL)
    faults.add("PostgreSQL stands still for 110 s", f"{PARTS} stay Running, statements in flight are answered", 0)

    at_work.let_the_replay_work()
    pause(up.flow_processes)
    at_work.assert_heard_again(*WAITING)
    runs = at_work.finish()
    assert {run.state.type.value for run in runs.values()} == {"COMPLETED"}, completed(runs)
    assert all("Crashed" not in up.state_names(run.id) for run in runs.values())
    faults.add("the flow processes stand still for 110 s", f"{PARTS} go on and are Completed", 0)
