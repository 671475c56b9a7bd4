"""The moment of a run, which stays the same at every retry."""

from datetime import datetime

from prefect.context import FlowRunContext
from prefect.runtime import flow_run

from hybrid_ml.pipeline.schedule import slot_of
from hybrid_ml.store import run_timestamps
from tasks.pipeline_task import database


def is_scheduled() -> bool:
    """Whether a schedule started this flow run, and not a person."""
    context = FlowRunContext.get()
    return bool(context and context.flow_run and context.flow_run.auto_scheduled)


def first_attempt_now(as_of: datetime | None, now: datetime) -> datetime:
    """The moment of a flow run, the same at each attempt: of a scheduled run its slot, else `now`.

    Unchanged where `as_of` is stated.
    """
    if not flow_run.id or as_of is not None:
        return now
    with database().begin() as connection:  # committed even if the run fails later
        return run_timestamps.settle(connection, str(flow_run.id), _first_moment(now))


def _first_moment(now: datetime) -> datetime:
    """The moment of the first attempt, which may have failed before it stored it."""
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    if run is None:
        return now
    begun = run.start_time if run.run_count > 1 and run.start_time else now
    scheduled = run.expected_start_time if run.auto_scheduled else None
    return slot_of(scheduled, begun) if scheduled else begun
