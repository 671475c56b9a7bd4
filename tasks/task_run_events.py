"""Events of task runs for the Prefect server: that a task run began and how it ended, and its flow run.

Prefect sends three events for each task run, each with flow run, flow, deployment, work queue, work pool and tags,
and the server keeps an indexed row for every one of them: nine tenths of what an analysis of one symbol took in its
database. The server builds a task run from its events and needs only the flow run; the rest belongs to the flow run.
"""

from typing import Any

from prefect.events import Event
from prefect.events.worker import EventsWorker

PENDING = "prefect.task-run.Pending"
ROUTINE = ("prefect.task-run.Running", "prefect.task-run.Completed")
"""Events without failures. Those of failures and retries keep everything, for automations that use them."""

_attach = EventsWorker.attach_related_resources_from_context
_handle = EventsWorker._handle


async def _attach_flow_run_only(worker: EventsWorker, event: Event) -> None:
    await _attach(worker, event)
    if event.event in ROUTINE:
        event.related = [resource for resource in event.related if resource.role == "flow-run"]


async def _send_without_pending(worker: EventsWorker, event: Event) -> None:
    """Our stages begin within a millisecond after they are Pending: only the beginning is sent."""
    if event.event == PENDING:
        worker._context_cache.pop(event.id, None)
        return
    if event.event in ROUTINE and event.payload["initial_state"]["name"] == "Pending":
        event.follows = None  # else the server waits for the event that was not sent
    await _handle(worker, event)


def reduce_task_run_events() -> None:
    """Apply it in this process. Prefect has no setting for it, hence the assignments; a test counts the rows."""
    worker: Any = EventsWorker
    worker.attach_related_resources_from_context = _attach_flow_run_only
    worker._handle = _send_without_pending
