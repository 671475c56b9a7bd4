"""kill -9 at every stage boundary and inside every save; the next run leaves what an undisturbed one does."""

import signal

import pytest

from tests.faults import victim
from tests.faults.conftest import REQUESTS, Installation, timed
from tests.faults.table import FaultRows
from tests.flows.running import analyze, train

STAGES = {
    "analysis": [
        "open_run",
        "resolve_outcomes",
        "lock_symbols",
        "analyse",
        "load_window",
        "load_model",
        "validate_model",
        "fine_tune",
        "predict",
        "compose_alert",
        "save_proposal",
        "send_alerts",
        "confirm_alert",
        "save_copy",
        "prune_models",
        "report_analysis",
    ],
    "weekly training": [
        "open_run",
        "train",
        "lock_symbols",
        "choose_rows",
        "load_training_window",
        "validate_data",
        "report_quality",
        "fit_base",
        "validate_on_hold_out",
        "compare_with_champion",
        "save_base",
        "save_copy",
        "prune_models",
        "report_training",
    ],
}
SAVES = {
    "analysis": [
        *[f"resolve_outcomes, {where}" for where in ("statement 1", "commit", "committed")],
        *[f"save_proposal, {where}" for where in ("statement 1", "statement 2", "statement 3", "commit", "committed")],
        *[f"send_alerts, {where}" for where in ("statement 1", "statement 2", "commit", "committed")],
        *[f"save_copy, {where}" for where in ("fsync 1", "renamed 1", "fsync 2")],
    ],
    "weekly training": [
        *[f"save_base, {where}" for where in ("statement 1", "statement 2", "statement 3", "commit", "committed")],
        *[f"save_copy, {where}" for where in ("fsync 1", "renamed 1", "fsync 3", "renamed 2")],
    ],
}
POINTS = [
    (flow, point)
    for flow, stages in STAGES.items()
    for point in [*[f"before {stage}" for stage in stages], f"after {stages[-1]}", *SAVES[flow]]
]


def test_every_stage_of_both_flows_is_among_the_points() -> None:
    assert set(STAGES["analysis"] + STAGES["weekly training"]) == set(victim.stages())
    assert len(POINTS) > 40


@pytest.mark.parametrize(("flow", "point"), POINTS)
def test_killed_and_run_again(
    installation: Installation, undisturbed: dict, faults: FaultRows, flow: str, point: str
) -> None:
    process = victim.start(flow, REQUESTS[flow], installation.environment, point)
    process.join(600)
    assert process.exitcode == -signal.SIGKILL, "the point was not reached"
    assert installation.is_whole()
    again = analyze if flow == "analysis" else train
    _, seconds = timed(lambda: again(**REQUESTS[flow]))
    assert installation.end_state() == undisturbed[flow]
    faults.add(f"kill -9, {flow}: {point}", "run again: the state of an undisturbed run", seconds)
