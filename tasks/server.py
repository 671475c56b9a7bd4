"""Calls to the Prefect server during a run. No alert waits for it; pages, name and final state are sent later.

Prefect's client waits a minute for an answer and makes six attempts. A frozen or restarting server would delay an
alert by minutes, so nothing between the Running state and the alert waits for the server, and what follows the
alerts waits HYBRID_ML_SERVER_WAIT_SECONDS at most.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas import OrchestrationResult
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.responses import SetStateStatus, StateAcceptDetails
from prefect.context import SettingsContext, SyncClientContext, get_settings_context
from prefect.logging.handlers import APILogWorker
from prefect.settings import get_current_settings
from prefect.types._datetime import now

from hybrid_ml.config.settings import load_settings
from tasks.pipeline_task import log

ANSWER_SECONDS = 2.0
"""Timeout of a request that the run can do without."""
POLL_SECONDS = 1.0
DRAIN_SECONDS = 30.0
"""How long sending the remaining events and log lines may take when the process ends."""
Result = TypeVar("Result")


class _Outage:
    """Since when the server has not answered; None while it answers. Seconds of `time.monotonic`."""

    since: float | None = None

    @classmethod
    def exceeds_limit(cls) -> bool:
        """Count from the first request without an answer, and compare with the limit."""
        cls.since = time.monotonic() if cls.since is None else cls.since
        return time.monotonic() - cls.since >= load_settings().hybrid_ml_server_wait_seconds


def call_server(work: Callable[[], Result]) -> Result | None:
    """Call `work`, which calls the Prefect server, once the server is ready, and again where it stops answering.

    None where it has not answered for HYBRID_ML_SERVER_WAIT_SECONDS, counted over all calls in this process.
    Raises any other error of `work`.
    """
    while True:
        try:
            _check_ready()
            with _without_retries():
                result = work()
        except httpx.HTTPStatusError as error:
            if not _is_unavailable(error):
                raise
        except httpx.TransportError:
            pass
        else:
            _Outage.since = None
            return result
        if _Outage.exceeds_limit():
            return None
        time.sleep(POLL_SECONDS)


def _check_ready() -> None:
    """Raise httpx.HTTPError where the server or its database does not answer within ANSWER_SECONDS."""
    if not get_current_settings().api.url:
        return  # a server that Prefect started for this command alone
    with _without_retries(), get_client(sync_client=True) as client:
        try:
            client.request("GET", "/ready", timeout=ANSWER_SECONDS)
        except httpx.HTTPStatusError as error:
            if _is_unavailable(error):
                raise


@contextmanager
def _without_retries() -> Iterator[None]:
    """Requests in the block are not retried. Prefect's `temporary_settings` takes 30 ms to validate all settings."""
    context = get_settings_context()
    client = context.settings.client.model_copy(update={"max_retries": 0})
    settings = context.settings.model_copy(update={"client": client})
    with SettingsContext(profile=context.profile, settings=settings):
        yield


def _is_unavailable(error: httpx.HTTPStatusError) -> bool:
    """Whether the server, or a proxy in front of it, cannot answer now; other statuses are answers.

    An expired CSRF token counts as unavailable too: Prefect's client has fetched another one then.
    """
    response = error.response
    return response.status_code >= 500 or response.status_code in (408, 429) or "Invalid CSRF token" in response.text


class RunClient(SyncPrefectClient):
    """The client of a flow's engine, which continues without the server where the run can.

    Prefect's engine reads the run once more when it is Running, before the flow's first line, and proposes its final
    state after the last one.
    """

    def create_flow_run(self, *arguments: Any, **named: Any) -> FlowRun:
        """Create a run, which the engine then sets to Running."""
        return self._remember(super().create_flow_run(*arguments, **named))

    def read_flow_run(self, flow_run_id: UUID) -> FlowRun:
        """The run; where the server does not answer, as it was before it was Running."""
        known = self._known.get(flow_run_id)
        if known is None or known.state is None or not known.state.is_running():
            return self._remember(super().read_flow_run(flow_run_id))
        try:
            with _without_retries():
                response = self.request(
                    "GET", "/flow_runs/{id}", path_params={"id": flow_run_id}, timeout=ANSWER_SECONDS
                )
        except httpx.TransportError:
            # What the server changes when a run begins.
            begun = {"run_count": known.run_count + 1, "start_time": known.start_time or now("UTC")}
            return known.model_copy(update=begun)
        return FlowRun.model_validate(response.json())

    def _remember(self, run: FlowRun) -> FlowRun:
        """The engine keeps the state of this same object up to date."""
        self._known[run.id] = run
        return run

    @property
    def _known(self) -> dict[UUID, FlowRun]:
        known: dict[UUID, FlowRun] = self.__dict__.setdefault("_runs", {})
        return known

    def set_flow_run_state(
        self, flow_run_id: UUID | str, state: State[Any], force: bool = False
    ) -> OrchestrationResult[Any]:
        """Propose a state. A final one waits for the server, and counts as accepted if none answers in time."""
        propose = super().set_flow_run_state
        if not state.is_final():
            return propose(flow_run_id, state, force)
        result = call_server(lambda: propose(flow_run_id, state, force))
        if result is None:
            log().warning(
                "the Prefect server at %s has not answered for %g s; this run ends as %s, which is not recorded "
                "there; the results are in the database",
                get_current_settings().api.url,
                load_settings().hybrid_ml_server_wait_seconds,
                state.name,
            )
            return OrchestrationResult(state=state, status=SetStateStatus.ACCEPT, details=StateAcceptDetails())
        return result


@contextmanager
def run_client() -> Iterator[None]:
    """Flow runs in the block use RunClient.

    Prefect's engine uses the client of its context, whose class cannot be configured, so the class of that object is
    changed, as Prefect does with the responses it gets.
    """
    with SyncClientContext.get_or_create() as context:
        context.client.__class__ = RunClient
        yield


def drain() -> None:
    """Send the events and log lines still in memory to the server; end the process where that takes too long.

    Call it last: otherwise Prefect waits at the end of the process until the server answers. Ends with the exit code of
    the current exception.
    """
    # Events as well: Prefect keeps both in one place. It returns futures where no event loop runs.
    _, pending = APILogWorker.drain_all(timeout=DRAIN_SECONDS)  # type: ignore[misc]
    if pending:
        lost = "the Prefect server has not accepted the last events and log lines of this run; they are lost"
        sys.stderr.write(f"{lost}\n")
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_exit_code(sys.exc_info()[1]))


def _exit_code(error: BaseException | None) -> int:
    """The exit code that Python would use."""
    code = error.code if isinstance(error, SystemExit) else error
    return code if isinstance(code, int) else 1 if code else 0
