"""kill -9 at every stage boundary and inside every save; the next run gives the end state of a run without faults."""

import signal

import pytest

from hybrid_ml.store.locks import symbol_locks
from tests.faults import victim
from tests.faults.conftest import REQUESTS, Installation, timed
from tests.faults.sample import sample
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
        "fit_base",
        "validate_on_hold_out",
        "compare_with_champion",
        "save_base",
        "save_copy",
        "prune_models",
        "report_quality",
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
SAMPLE = [
    ("analysis", "before load_model"),
    ("analysis", "save_proposal, commit"),
    ("analysis", "send_alerts, committed"),
    ("analysis", "save_copy, renamed 1"),
    ("weekly training", "save_base, committed"),
]
"""Between stages, before and after a commit, and while files are replaced."""
POINTS = [
    (flow, point)
    for flow, stages in STAGES.items()
    for point in [*[f"before {stage}" for stage in stages], f"after {stages[-1]}", *SAVES[flow]]
]


ELSEWHERE = {"refresh_bars", "choose_leaders"}
"""No stages here: bars are refreshed in live runs only (tests/flows/test_history.py kills a load between two pages),
and leaders, whose choice writes nothing, are those of several symbols."""


def test_kill_points_cover_every_stage_of_both_flows() -> None:
    assert set(STAGES["analysis"] + STAGES["weekly training"]) == set(victim.stages()) - ELSEWHERE
    assert len(POINTS) > 40


@pytest.mark.parametrize(("flow", "point"), sample(POINTS, *SAMPLE))
def test_run_after_kill_gives_state_of_run_without_faults(
    installation: Installation, end_states: dict, faults: FaultRows, flow: str, point: str
) -> None:
    process = victim.start(flow, REQUESTS[flow], installation.environment, point)
    process.join(600)
    assert process.exitcode == -signal.SIGKILL, "the point was not reached"
    assert installation.is_consistent()
    with symbol_locks(installation.engine, 5) as held:
        assert held.take("ABC") < 5, "the killed process holds no lock"
    run_again = analyze if flow == "analysis" else train
    _, seconds = timed(lambda: run_again(**REQUESTS[flow]))
    assert installation.end_state() == end_states[flow]
    faults.add(f"kill -9, {flow}: {point}", "run again: the state of a run without faults", seconds)
