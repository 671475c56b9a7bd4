"""A slot's run that crashed early enough for its slot runs again, as the same run."""

from datetime import datetime, timedelta
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import AwaitingRetry

from deployments.provision.names import TAG
from hybrid_ml.pipeline.schedule import ANALYSIS_MINUTES, REVIEW_MINUTES, TRAINING_MINUTES, too_late

WORTH_MINUTES = {"analysis": ANALYSIS_MINUTES, "training": TRAINING_MINUTES, "review": REVIEW_MINUTES}
"""How late a run may begin for its slot, by the tag of its deployment in prefect.yaml."""
OF_A_SCHEDULE = "auto-scheduled"
"""Prefect's tag of runs made by a schedule."""
MOST_REPEATS = 2
"""The limit for a run whose process ends every time."""
REPEATED = "its process died while there was still time for this slot; the same run is repeated"
RESERVE = timedelta(minutes=1)
"""With less time left a slot is not repeated: it would be over before the answer."""


async def repeat_crashed_slots(client: PrefectClient, now: datetime, settled: set[UUID]) -> None:
    """Set the crashed runs that are in time back to AwaitingRetry; runs by hand are not changed.

    `settled`: runs that stay Crashed, which are not checked again.
    """
    longest = timedelta(minutes=max(WORTH_MINUTES.values()))
    chosen = FlowRunFilter(
        tags=FlowRunFilterTags(all_=[TAG, OF_A_SCHEDULE]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.CRASHED])),
        expected_start_time=FlowRunFilterExpectedStartTime(after_=now - longest),
    )
    for run in await client.read_flow_runs(flow_run_filter=chosen):
        if run.id in settled or not is_worth_repeating(run, now):
            continue
        if await _is_out_of_repeats(client, run, now):
            settled.add(run.id)
        elif (await client.read_flow_run(run.id)).state_id == run.state_id:  # no other worker was faster
            due = max(now, run.expected_start_time or now)  # its process may have died before its scheduled time
            await client.set_flow_run_state(run.id, AwaitingRetry(scheduled_time=due, message=REPEATED))
            print(f"{run.name} was Crashed and runs again")


def is_worth_repeating(run: FlowRun, now: datetime) -> bool:
    """Whether there is time for the run's slot at `now`."""
    worth = [minutes for tag, minutes in WORTH_MINUTES.items() if tag in run.tags]
    if not (run.auto_scheduled and run.expected_start_time and worth):
        return False
    return not too_late(run.expected_start_time, now + RESERVE, min(worth))


def is_stale_repeat(run: FlowRun, now: datetime) -> bool:
    """Whether we set the run back for a repeat, and no worker was there to begin it in time."""
    repeated = run.state is not None and run.state.message == REPEATED
    return repeated and not is_worth_repeating(run, now - RESERVE)


async def _is_out_of_repeats(client: PrefectClient, run: FlowRun, now: datetime) -> bool:
    """Whether the run was repeated MOST_REPEATS times, or a later slot of its deployment has been due.

    Attempts are counted by the states on the server, so that they survive a restart of the worker.
    """
    states = await client.read_flow_run_states(run.id)
    if sum(state.name == "AwaitingRetry" for state in states) >= MOST_REPEATS:
        return True
    later = FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=[run.deployment_id]),
        tags=FlowRunFilterTags(all_=[OF_A_SCHEDULE]),
        expected_start_time=FlowRunFilterExpectedStartTime(after_=run.expected_start_time, before_=now),
    )
    newer = await client.read_flow_runs(flow_run_filter=later, limit=2)
    return any(other.id != run.id for other in newer)
