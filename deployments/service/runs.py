"""The Prefect server's state for the monitor: whether it is ready, its workers, and how the slots ended."""

from dataclasses import dataclass
from datetime import datetime

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import DeploymentFilter, FlowRunFilter
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound, PrefectException
from prefect.settings import (
    PREFECT_API_REQUEST_TIMEOUT,
    PREFECT_CLIENT_MAX_RETRIES,
    get_current_settings,
    temporary_settings,
)

from deployments.provision.names import TAG
from deployments.service.probes import server_problem
from deployments.status.collect import online_workers
from hybrid_ml.config.settings import Settings
from hybrid_ml.health.problems import Problem

ANSWER_SECONDS = 5.0
ANALYSIS = "analysis"
ENDED = [StateType.COMPLETED, StateType.FAILED, StateType.CRASHED]
RUNS = 20
SKIPPED = "Skipped"


@dataclass(frozen=True)
class Slot:
    """The end of a scheduled run of the analysis. `good`: it completed, with or without a signal."""

    ended_at: datetime
    good: bool


@dataclass(frozen=True)
class ServerCheck:
    """The result of a check. `slots`: None where they could not be read; `is_scheduled`: whether any is expected."""

    problems: dict[str, Problem | None]
    slots: list[Slot] | None = None
    is_scheduled: bool = False


def check_server(settings: Settings) -> ServerCheck:
    """Check the configured Prefect server; an empty result where none is configured."""
    api_url, patience_seconds = get_current_settings().api.url, settings.hybrid_ml_health_patience_seconds
    if not api_url:
        return ServerCheck({})
    problem = server_problem(api_url, ANSWER_SECONDS)
    if not problem:
        limits = {PREFECT_API_REQUEST_TIMEOUT: ANSWER_SECONDS, PREFECT_CLIENT_MAX_RETRIES: 0}
        try:
            with temporary_settings(limits), get_client(sync_client=True) as client:
                return _check(client, patience_seconds)
        except (httpx.HTTPError, PrefectException) as error:
            problem = _short(error)
    text = f"the Prefect server at {api_url} is not ready ({problem})"
    return ServerCheck(
        {"server": Problem(text, "no run begins meanwhile; see its log and start it again", patience_seconds)}
    )


def _short(error: Exception) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return f"it answers with {status}: check PREFECT_API_AUTH_STRING or PREFECT_API_KEY"
    return f"it answers with {status}" if status else type(error).__name__


def _check(client: SyncPrefectClient, patience_seconds: float) -> ServerCheck:
    no_worker = Problem(
        "no worker is online, so no run begins", "start `hybrid-ml worker`, or `hybrid-ml up`", patience_seconds
    )
    problems: dict[str, Problem | None] = {"server": None, "worker": None if _workers(client) else no_worker}
    slots: list[Slot] = []
    is_scheduled = False
    tagged = DeploymentFilter.model_validate({"tags": {"all_": [TAG]}})
    for deployment in client.read_deployments(deployment_filter=tagged):
        if not deployment.schedules:
            continue
        ended = _ended(client, deployment)
        if ended and ended[0].state and ended[0].state.name != SKIPPED:
            problems[f"runs of {deployment.name}"] = _failure(ended[0], deployment)
        if deployment.name == ANALYSIS:
            is_scheduled = not deployment.paused and any(schedule.active for schedule in deployment.schedules)
            slots = [_slot(run) for run in ended]
    return ServerCheck(problems, slots, is_scheduled)


def _workers(client: SyncPrefectClient) -> list[str]:
    """The workers online; none where there is no pool."""
    try:
        return online_workers(client)
    except (ObjectNotFound, httpx.HTTPStatusError) as error:
        if isinstance(error, httpx.HTTPStatusError) and error.response.status_code != 404:
            raise
        return []


def _ended(client: SyncPrefectClient, deployment: DeploymentResponse) -> list[FlowRun]:
    """The newest scheduled runs that ended, the newest first; without those that a person cancelled."""
    chosen = FlowRunFilter.model_validate(
        {"deployment_id": {"any_": [deployment.id]}, "state": {"type": {"any_": ENDED}}}
    )
    runs = client.read_flow_runs(flow_run_filter=chosen, sort=FlowRunSort.END_TIME_DESC, limit=RUNS)
    return [run for run in runs if run.auto_scheduled and run.end_time]


def _failure(run: FlowRun, deployment: DeploymentResponse) -> Problem | None:
    state = run.state
    if state is None or state.type == StateType.COMPLETED:
        return None
    due = f"{run.expected_start_time:%Y-%m-%d %H:%M} UTC" if run.expected_start_time else "a slot"
    why = " ".join((state.message or "").split())[:200]
    text = f"the run of {deployment.name} for {due} ended {state.name}{f' ({why})' if why else ''}"
    return Problem(text, f"see run {run.name} in the UI; resolved when the next scheduled run ends well")


def _slot(run: FlowRun) -> Slot:
    state = run.state
    good = state is not None and state.type == StateType.COMPLETED and state.name != SKIPPED
    if run.end_time is None:
        raise ValueError(f"run {run.id} has not ended")
    return Slot(run.end_time, good)
