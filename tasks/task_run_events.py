"""What a task run tells the Prefect server: that it began and how it ended, and of which flow run it is.

Prefect sends three events a task run, each with flow run, flow, deployment, work queue, work pool and tags beside it,
and the server keeps an indexed row for every one of them: nine tenths of what an analysis of one symbol took in its
database. The server makes a task run of its events and needs the flow run for that; the rest stands with the flow run.
"""

from typing import Any

from prefect.events import Event
from prefect.events.worker import EventsWorker

PENDING = "prefect.task-run.Pending"
ROUTINE = ("prefect.task-run.Running", "prefect.task-run.Completed")
"""Events of what goes well. Those of failures and retries keep everything, for automations that listen to them."""

_attach = EventsWorker.attach_related_resources_from_context
_handle = EventsWorker._handle


async def _attach_what_is_needed(worker: EventsWorker, event: Event) -> None:
    await _attach(worker, event)
    if event.event in ROUTINE:
        event.related = [resource for resource in event.related if resource.role == "flow-run"]


async def _send_what_tells(worker: EventsWorker, event: Event) -> None:
    """Our stages begin in the millisecond after they are Pending: only the beginning is sent."""
    if event.event == PENDING:
        worker._context_cache.pop(event.id, None)
        return
    if event.event in ROUTINE and event.payload["initial_state"]["name"] == "Pending":
        event.follows = None  # else the server waits for the event that was not sent
    await _handle(worker, event)


def send_less() -> None:
    """From now on in this process. Prefect offers no place for it, hence the assignments; a test counts the rows."""
    worker: Any = EventsWorker
    worker.attach_related_resources_from_context = _attach_what_is_needed
    worker._handle = _send_what_tells
