"""Pages and names of a run for the Prefect UI, sent at the end of the run, so that no alert waits for them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from uuid import UUID

import httpx
from prefect.artifacts import MarkdownArtifact
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.exceptions import PrefectException
from prefect.runtime import flow_run, task_run

from hybrid_ml.text.counts import counted
from tasks.pipeline_task import log
from tasks.server import call_server


@dataclass
class _Unsent:
    """Pages and names that the flow run in this process has not sent to the server yet."""

    pages: list[MarkdownArtifact] = field(default_factory=list)
    names: dict[UUID, str] = field(default_factory=dict)


_unsent = _Unsent()


def queue_page(markdown: str, key: str, description: str) -> None:
    """Keep a page of this run for `send_pages`; under the same `key` in every run, so that the UI shows a history."""
    page = MarkdownArtifact(
        markdown=markdown, key=key, description=description, flow_run_id=_id(flow_run.id), task_run_id=_id(task_run.id)
    )
    _unsent.pages.append(page)
    if not _is_in_process_of_flow():
        send_pages()


def queue_name(name: str) -> None:
    """Keep a new name of this flow run for `send_pages`."""
    run_id = _id(flow_run.id)
    if run_id is not None:
        _unsent.names[run_id] = name


def send_pages() -> None:
    """Send the pages and the name to the server; waits for a server that does not answer as `call_server` does.

    Call it at the end of a flow, after its alerts. What the server refuses, or does not answer, is logged; the run does
    not fail for it.
    """
    pages, names = _unsent.pages[:], dict(_unsent.names)
    del _unsent.pages[: len(pages)]
    _unsent.names.clear()
    for number, page in enumerate(pages):
        if not _send(page.key, partial(_create, page)):
            log().warning("the Prefect server does not answer; its UI lacks %s", counted(len(pages) - number, "page"))
            return
    for run_id, name in names.items():
        _send("name", partial(_rename, run_id, name))


def _send(what: str | None, work: Callable[[], object]) -> bool:
    """False where the server does not answer."""
    try:
        return call_server(work) is not None
    except (httpx.HTTPError, PrefectException) as error:
        log().warning("the Prefect server refused %s: %s", what, error)
        return True


def _create(page: MarkdownArtifact) -> object:
    return page.create()


def _rename(run_id: UUID, name: str) -> object:
    with get_client(sync_client=True) as client:
        return client.update_flow_run(run_id, name=name)


def _is_in_process_of_flow() -> bool:
    """Whether `send_pages` will be called in this process; a dask worker has a copy of the flow run's context."""
    context = FlowRunContext.get()
    return context is not None and not context.detached


def _id(name: str | None) -> UUID | None:
    return UUID(name) if name else None
