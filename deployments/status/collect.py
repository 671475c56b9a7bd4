"""`hybrid-ml status`: what runs, when next, how the last runs ended, the models in use, and the age of the bars."""

from datetime import UTC, datetime

from httpx import HTTPError
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings
from pydantic import BaseModel

from deployments.provision.deploy import stated_deployments
from deployments.provision.names import POOL
from deployments.provision.server_api import format_http_error, server_problem
from hybrid_ml.config.settings import Settings, load_settings
from hybrid_ml.diagnostics.settings_table import SettingRow, list_settings
from hybrid_ml.diagnostics.sizes import Sizes, measure_sizes
from hybrid_ml.errors import HybridMLError
from hybrid_ml.health.disk import free_disks
from hybrid_ml.health.problems import OpenProblem
from hybrid_ml.health.state_file import monitored
from hybrid_ml.market.bars import FUTURE_REMEDY, future_problem
from hybrid_ml.pipeline.run import without_simulated
from hybrid_ml.schemas.bot_status import SymbolStatus
from hybrid_ml.store import bars as stored_bars
from hybrid_ml.store import bot_queries as bot_store
from hybrid_ml.store.engine import open_engine, shown
from tasks.configuration import load_configuration_for_command

ENDED = [StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED]


class RunStatus(BaseModel):
    """A run that ended: its state, when it began, its duration."""

    name: str
    state: str
    message: str
    began: datetime | None
    seconds: float


class DeploymentStatus(BaseModel):
    """A deployment: whether it exists and is READY, its next run, its last run."""

    name: str
    ready: bool
    paused: bool = False
    next_run: datetime | None = None
    running: int = 0
    last: RunStatus | None = None


class InstallationStatus(BaseModel):
    """Everything. `problems`: what does not run or cannot be read, each with its remedy.

    `open_problems`: problems that the monitor of this installation has reported and that are not over.
    """

    as_of: datetime
    server: str | None = None
    workers: list[str] = []
    deployments: list[DeploymentStatus] = []
    database: str | None = None
    symbols: list[SymbolStatus] = []
    deliveries: dict[str, int] = {}
    sizes: Sizes | None = None
    settings: list[SettingRow] = []
    open_problems: list[OpenProblem] = []
    problems: list[str] = []


def deployment_statuses(client: SyncPrefectClient) -> list[DeploymentStatus]:
    """Each deployment of prefect.yaml, with its state on the server."""
    return [_deployment(client, name) for name, _ in stated_deployments()]


def _deployment(client: SyncPrefectClient, name: str) -> DeploymentStatus:
    try:
        deployment = client.read_deployment_by_name(name)
    except ObjectNotFound:
        return DeploymentStatus(name=name, ready=False)
    of_it = DeploymentFilter(id=DeploymentFilterId(any_=[deployment.id]))
    due = _runs(client, of_it, [StateType.SCHEDULED], FlowRunSort.EXPECTED_START_TIME_ASC)
    ended = _runs(client, of_it, ENDED, FlowRunSort.END_TIME_DESC)
    running = _runs(
        client, of_it, [StateType.RUNNING, StateType.PENDING], FlowRunSort.EXPECTED_START_TIME_ASC, limit=20
    )
    return DeploymentStatus(
        name=name,
        ready=deployment.status is not None and deployment.status.value == "READY",
        paused=deployment.paused or any(not schedule.active for schedule in deployment.schedules),
        next_run=due[0].expected_start_time if due else None,
        running=sum(1 for run in running if run.start_time),
        last=_ended(ended[0]) if ended else None,
    )


def _runs(
    client: SyncPrefectClient, of_it: DeploymentFilter, states: list[StateType], sort: FlowRunSort, limit: int = 1
) -> list[FlowRun]:
    wanted = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=states)))
    return client.read_flow_runs(deployment_filter=of_it, flow_run_filter=wanted, sort=sort, limit=limit)


def _ended(run: FlowRun) -> RunStatus:
    state = run.state
    return RunStatus(
        name=run.name,
        state=(state.name if state else None) or "unknown",
        message=(state.message if state else None) or "",
        began=run.start_time,
        seconds=round(run.total_run_time.total_seconds(), 1),
    )


def online_workers(client: SyncPrefectClient) -> list[str]:
    """The online workers of the pool, by name."""
    workers = client.request(
        "POST", "/work_pools/{work_pool_name}/workers/filter", path_params={"work_pool_name": POOL}, json={}
    ).json()
    return [str(worker["name"]) for worker in workers if worker["status"] == "ONLINE"]


def are_ready() -> bool:
    """Whether every deployment is READY: a worker polls for its runs."""
    with get_client(sync_client=True) as client:
        return all(deployment_status.ready for deployment_status in deployment_statuses(client))


def format_next_runs_line() -> list[str]:
    """A line for each deployment: its next run."""
    with get_client(sync_client=True) as client:
        statuses = deployment_statuses(client)
    width = max(len(deployment.name) for deployment in statuses)
    return [
        f"  {deployment.name:<{width}}  {format_next_runs(deployment)}{' UTC' if deployment.next_run else ''}"
        for deployment in statuses
    ]


def format_next_runs(deployment: DeploymentStatus) -> str:
    """The next run, as text."""
    if not deployment.ready:
        return "not READY"
    if deployment.paused:
        return "paused"
    return f"{deployment.next_run.astimezone(UTC):%a %Y-%m-%d %H:%M:%S}" if deployment.next_run else "by hand"


def collect_status(now: datetime) -> InstallationStatus:
    """Everything that can be reached; what cannot is a problem with its remedy, and no error."""
    status = InstallationStatus(as_of=now)
    _check_server(status)
    try:
        if status.server:
            load_configuration_for_command()
        settings = load_settings()
        status.settings = list_settings(settings)
        status.problems += [str(disk) for disk in free_disks(settings) if disk.is_low]
        status.open_problems, silent = monitored(settings.data_dir, status.as_of)
        status.problems += [silent] if silent else []
        _check_database(status, settings)
    except HybridMLError as error:
        status.problems.append(str(error))
    return status


def _check_server(status: InstallationStatus) -> None:
    api_url = get_current_settings().api.url
    problem = server_problem(api_url) if api_url else "PREFECT_API_URL is not set"
    if problem or not api_url:
        remedy = f"check PREFECT_API_URL, which is {api_url}" if api_url else "start everything with `hybrid-ml up`"
        status.problems.append(f"no Prefect server ({problem}); {remedy}")
        return
    status.server = api_url
    try:
        with get_client(sync_client=True) as client:
            status.deployments = deployment_statuses(client)
            status.workers = online_workers(client)
    except ObjectNotFound:
        pass  # there is no pool; the missing worker is reported below
    except HTTPError as error:
        status.problems.append(format_http_error(error))
        return
    except HybridMLError as error:
        status.problems.append(str(error))
        return
    if not all(deployment.ready for deployment in status.deployments):
        status.problems.append("not every deployment is READY; `hybrid-ml up` or `hybrid-ml deploy` sets them up")
    if not status.workers:
        status.problems.append("no worker is online, so nothing runs; `hybrid-ml up` or `hybrid-ml worker` starts one")


def _check_database(status: InstallationStatus, settings: Settings) -> None:
    engine = open_engine(settings)
    status.database = shown(engine)
    with engine.connect() as connection:
        symbols = settings.symbols or without_simulated(stored_bars.symbols(connection))
        bot_status = bot_store.status(connection, symbols, "", [], status.as_of)
        status.sizes = measure_sizes(connection, settings)
    status.symbols, status.deliveries = bot_status.symbols, bot_status.deliveries
    for row in status.symbols:
        if row.newest_bar and (problem := future_problem(row.newest_bar.astimezone(UTC), status.as_of)):
            status.problems.append(f"{row.symbol}: {problem}; {FUTURE_REMEDY}")
        if row.calendar_problem:
            status.problems.append(f"{row.symbol}: {row.calendar_problem}")
    if not symbols:
        status.problems.append("there are no bars; load some with `hybrid-ml backfill`")
