"""The moment a run judges, which stays the same however often it is tried again."""

from datetime import datetime

from prefect.context import FlowRunContext
from prefect.runtime import flow_run

from hybrid_ml.store import run_timestamps
from tasks.pipeline_task import database


def settle_now(as_of: datetime | None, now: datetime) -> datetime:
    """`now` at the first attempt of a flow run and that same moment at later ones; as it is where `as_of` is stated."""
    if not flow_run.id or as_of is not None:
        return now
    with database().begin() as connection:  # kept whatever comes of the run
        return run_timestamps.settle(connection, str(flow_run.id), _first_begun() or now)


def _first_begun() -> datetime | None:
    """When the first attempt of a run that is tried again began: it may have ended before it kept its moment."""
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    return run.start_time if run and run.run_count > 1 else None
