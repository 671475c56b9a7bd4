"""The Prefect server during a run: no alert waits for it; it gets pages, name and final state when it answers again.

Prefect's client waits a minute for an answer and asks six times. A server that is frozen or restarting would hold up
an alert for minutes, so nothing between the Running state and the alert waits for the server, and what comes after the
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
"""How long one answer may take that the run can do without."""
POLL_SECONDS = 1.0
DRAIN_SECONDS = 30.0
"""How long events and log lines still in memory may take to leave when the process ends."""
Result = TypeVar("Result")


class _Silence:
    """Since when the server has not answered; None while it does. Seconds of `time.monotonic`."""

    since: float | None = None

    @classmethod
    def is_over_the_bound(cls) -> bool:
        """Count the silence from the first question that got no answer, and compare it with the bound."""
        cls.since = time.monotonic() if cls.since is None else cls.since
        return time.monotonic() - cls.since >= load_settings().hybrid_ml_server_wait_seconds


def call_server(work: Callable[[], Result]) -> Result | None:
    """Do `work`, which calls the Prefect server, once it answers, and again where it falls silent meanwhile.

    None when it stays silent for HYBRID_ML_SERVER_WAIT_SECONDS, counted over all calls in this process.
    Raises whatever else `work` raises.
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
            _Silence.since = None
            return result
        if _Silence.is_over_the_bound():
            return None
        time.sleep(POLL_SECONDS)


def _check_ready() -> None:
    """Raise httpx.HTTPError where the server does not answer soon, or its database does not."""
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
    """Requests within are not retried. Prefect's `temporary_settings` takes 30 ms to check all settings anew."""
    context = get_settings_context()
    client = context.settings.client.model_copy(update={"max_retries": 0})
    settings = context.settings.model_copy(update={"client": client})
    with SettingsContext(profile=context.profile, settings=settings):
        yield


def _is_unavailable(error: httpx.HTTPStatusError) -> bool:
    """Whether the server, or a proxy in front of it, cannot answer now; other statuses are answers.

    So is a CSRF token that the server does not know any more: Prefect's client has fetched another one then.
    """
    response = error.response
    return response.status_code >= 500 or response.status_code in (408, 429) or "Invalid CSRF token" in response.text


class RunClient(SyncPrefectClient):
    """The client of a flow's engine, which goes on without the server where the run can.

    Prefect's engine reads the run once more when it is Running, before the flow's first line, and proposes its final
    state after the last one.
    """

    def create_flow_run(self, *arguments: Any, **named: Any) -> FlowRun:
        """Create a run, which the engine then brings to Running."""
        return self._remember(super().create_flow_run(*arguments, **named))

    def read_flow_run(self, flow_run_id: UUID) -> FlowRun:
        """The run; where the server is silent, as it was known before it was Running."""
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
        """The engine keeps the state of this very object up to date."""
        self._known[run.id] = run
        return run

    @property
    def _known(self) -> dict[UUID, FlowRun]:
        known: dict[UUID, FlowRun] = self.__dict__.setdefault("_runs", {})
        return known

    def set_flow_run_state(
        self, flow_run_id: UUID | str, state: State[Any], force: bool = False
    ) -> OrchestrationResult[Any]:
        """Propose a state. A final one waits for a silent server, and is taken as accepted where it stays silent."""
        propose = super().set_flow_run_state
        if not state.is_final():
            return propose(flow_run_id, state, force)
        result = call_server(lambda: propose(flow_run_id, state, force))
        if result is None:
            log().warning(
                "the Prefect server at %s has not answered for %g s; this run ends as %s, which the server does not "
                "know; the database has all it did",
                get_current_settings().api.url,
                load_settings().hybrid_ml_server_wait_seconds,
                state.name,
            )
            return OrchestrationResult(state=state, status=SetStateStatus.ACCEPT, details=StateAcceptDetails())
        return result


@contextmanager
def run_client() -> Iterator[None]:
    """A flow run within uses RunClient.

    Prefect's engine takes the client of its context and offers no way to choose its class, so that of the client is
    changed, as Prefect does with the responses it gets.
    """
    with SyncClientContext.get_or_create() as context:
        context.client.__class__ = RunClient
        yield


def drain() -> None:
    """Send what is still in memory for the server, events and log lines, and end the process where that takes long.

    To be called last: Prefect would wait at the end of the process for as long as the server is silent. Ends with the
    exit code of the exception under way.
    """
    # Events, too: Prefect keeps both in one place. It returns futures where no event loop runs.
    _, pending = APILogWorker.drain_all(timeout=DRAIN_SECONDS)  # type: ignore[misc]
    if pending:
        lost = "the Prefect server has not taken the last events and log lines of this run; they are lost there"
        sys.stderr.write(f"{lost}\n")
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_exit_code(sys.exc_info()[1]))


def _exit_code(error: BaseException | None) -> int:
    """What Python would end with."""
    code = error.code if isinstance(error, SystemExit) else error
    return code if isinstance(code, int) else 1 if code else 0
