"""`hybrid-ml up` as a user starts it, with a real PostgreSQL, Prefect server and worker."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
from sqlalchemy import URL, Engine, NullPool, create_engine, make_url, text

from hybrid_ml.market.simulation import SIMULATED_SYMBOL
from hybrid_ml.store.bars import store_bars
from hybrid_ml.store.embedded import DATABASE, administrator_address
from hybrid_ml.store.postgres_roles import ROLE
from tests.ports import free_port
from tests.simulated import bars_until
from tests.terminal import Terminal
from tests.up_schedules import set_schedules

ROOT = Path(__file__).resolve().parents[1]
SERVER = "deployments.service.prefect_server"
"""Part of the command line of the Prefect server that `up` starts."""
FLOW_PROCESS = "deployments.service.flow_process"
"""Part of the command line of a flow process."""
PROGRAM = str(Path(sys.executable).with_name("hybrid-ml"))
AWAKE = {"disable_sleep_window": True, "max_bar_age_minutes": 1_440}
WAIT_SECONDS = 300.0
"""The longest wait for an event, which only a test that fails uses up: machines may be slow and busy."""
POLL_SECONDS = 0.3
"""Between two looks at what is waited for: many of them ask the server, which then has less time for the run."""
STOP_SECONDS = 180.0


def wait_for(what: str, condition: Callable[[], Any], seconds: float = WAIT_SECONDS) -> Any:
    """The result of `condition` as soon as it is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        result = condition()
        if result:
            return result
        time.sleep(POLL_SECONDS)
    raise AssertionError(f"waited {seconds:g} s for {what}")


@dataclass
class Up:
    """A running `hybrid-ml up`."""

    process: subprocess.Popen
    environment: dict[str, str]
    log: Path
    api_url: str

    @property
    def data_dir(self) -> Path:
        return Path(self.environment["HYBRID_ML_DATA_DIR"])

    @contextmanager
    def client(self) -> Iterator[SyncPrefectClient]:
        with SyncPrefectClient(self.api_url, auth_string=self.authentication) as client:
            yield client

    @contextmanager
    def as_own_server(self) -> Iterator[None]:
        """Within the block, this process uses its server, as the project's commands do."""
        with temporary_settings({PREFECT_API_URL: self.api_url, PREFECT_API_AUTH_STRING: self.authentication}):
            yield

    @property
    def authentication(self) -> str:
        """The authentication string of its server, as USER:PASSWORD."""
        return (self.data_dir / "prefect-auth").read_text().strip()

    def trigger(self, deployment: str = "analysis/analysis", **request: Any) -> UUID:
        """Run a deployment now, as the UI's button does."""
        with self.client() as client:
            deployment_id = client.read_deployment_by_name(deployment).id
            parameters = {"request": request} if request else {}
            return client.create_flow_run_from_deployment(deployment_id, parameters=parameters).id

    def scheduled(self, name: str) -> list[FlowRun]:
        """Future runs that a schedule has created, the next one first."""
        with self.client() as client:
            deployment = client.read_deployment_by_name(name)
            to_come = FlowRunFilter(
                deployment_id={"any_": [deployment.id]}, expected_start_time={"after_": datetime.now(UTC)}
            )
            runs = client.read_flow_runs(flow_run_filter=to_come, sort=FlowRunSort.EXPECTED_START_TIME_ASC)
        return [run for run in runs if run.auto_scheduled]

    def run(self, run_id: UUID) -> FlowRun:
        with self.client() as client:
            return client.read_flow_run(run_id)

    def wait_for_end(self, run_id: UUID, seconds: float = WAIT_SECONDS) -> FlowRun:
        """The run, once it has a final state."""
        return self._wait_until(f"the end of {run_id}", run_id, lambda run: run.state.is_final(), seconds)

    def wait_until_running(self, run_id: UUID) -> FlowRun:
        """The run, once it is Running."""
        run = self._wait_until(f"the beginning of {run_id}", run_id, _has_begun, WAIT_SECONDS)
        assert run.state.name == "Running", f"{run.state.name}: {run.state.message}"
        return run

    def _wait_until(self, what: str, run_id: UUID, holds: Callable[[FlowRun], bool], seconds: float) -> FlowRun:
        with self.client() as client:

            def run_if_it_holds() -> FlowRun | None:
                run = client.read_flow_run(run_id)
                return run if holds(run) else None

            return wait_for(what, run_if_it_holds, seconds)

    def child(self, words: str) -> psutil.Process:
        """The process below `up` whose command line contains `words`, once it exists."""
        return wait_for(f"a process of {words}", lambda: next(iter(self.children(words)), None))

    def children(self, words: str) -> list[psutil.Process]:
        matches = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            try:
                if words in " ".join(child.cmdline()) and child.status() != psutil.STATUS_ZOMBIE:
                    matches.append(child)
            except psutil.NoSuchProcess:
                continue
        return matches

    def flow_processes(self) -> list[psutil.Process]:
        """The flow processes of current runs."""
        return self.children(FLOW_PROCESS)

    def task_names(self, run_id: UUID) -> list[str]:
        """Names of the tasks that the run has begun."""
        with self.client() as client:
            chosen = FlowRunFilter(id=FlowRunFilterId(any_=[run_id]))
            return [task.name for task in client.read_task_runs(flow_run_filter=chosen)]

    def state_names(self, run_id: UUID) -> list[str]:
        """All states of the run, the oldest first."""
        with self.client() as client:
            states = client.read_flow_run_states(run_id)
        return [state.name for state in sorted(states, key=lambda state: state.timestamp)]

    def server_answers(self) -> bool:
        """Whether the server answers."""
        try:
            with self.client() as client:
                return bool(client.hello())
        except Exception:  # the server does not answer, or cannot reach its database
            return False

    def command(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        """Run one of the project's commands in this installation."""
        return self._run([PROGRAM, *arguments], environment)

    def prefect(self, *arguments: str) -> subprocess.CompletedProcess:
        """Run one of Prefect's own commands against the server of `up`."""
        access = {"PREFECT_API_URL": self.api_url, "PREFECT_API_AUTH_STRING": self.authentication}
        return self._run([sys.executable, "-m", "prefect", *arguments], access)

    def _run(self, command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess:
        return subprocess.run(
            command,
            cwd=ROOT,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=WAIT_SECONDS,
            check=False,
        )

    def engine(self) -> Engine:
        """The project's own database."""
        address = self.environment["NEON_CONN_STR"]
        return _engine(make_url(address)) if address else self._embedded(DATABASE)

    def prefect_engine(self) -> Engine:
        """The database of the Prefect server."""
        return self._embedded("prefect")

    def _embedded(self, database: str) -> Engine:
        """This process does not join the embedded PostgreSQL, which then stops with `up`."""
        return _engine(make_url(administrator_address(self.data_dir, database)).set(username=ROLE))


def _engine(address: URL) -> Engine:
    """Without connections that stay open: PostgreSQL may be killed between two of them."""
    return create_engine(address.set(drivername="postgresql+psycopg2"), poolclass=NullPool)


def _has_begun(run: FlowRun) -> bool:
    return run.state.name == "Running" or run.state.is_final()


def environment_of(folder: Path, **variables: str) -> dict[str, str]:
    """The environment of a separate installation without a configured server."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return inherited | {
        "HOME": str(folder / "home"),
        "NEON_CONN_STR": "",
        "HYBRID_ML_DATA_DIR": str(folder / "data"),
        "HYBRID_ML_MODELS_DIR": str(folder / "models"),
        "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "10",
        **variables,
    }


def start_up(folder: Path, port: int, *flags: str, terminal: Terminal | None = None, **variables: str) -> Up:
    """Start `hybrid-ml up` with `flags`, on a `terminal` or in the background, and wait until all parts are ready."""
    (folder / "home").mkdir(parents=True, exist_ok=True)
    environment, log = environment_of(folder, **variables), folder / "up.log"
    command = [PROGRAM, "up", "--port", str(port), *flags]
    log.write_text("")
    if terminal:
        process = terminal.start(command, log, cwd=ROOT, env=environment)
    else:
        with log.open("a") as output:
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
    up = Up(process, environment, log, f"http://127.0.0.1:{port}/api")
    try:
        wait_for("up", lambda: "Ctrl-C stops" in log.read_text() or process.poll() is not None, WAIT_SECONDS)
        assert process.poll() is None, log.read_text()
    except BaseException:
        stop(up)
        raise
    return up


def stop(up: Up) -> None:
    """Ctrl-C, and wait."""
    if up.process.poll() is None:
        up.process.send_signal(signal.SIGINT)
        try:
            up.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            up.process.kill()
            raise


@contextmanager
def nothing_left_of(up: Up) -> Iterator[None]:
    """What the block does ends `up` with success, all processes below it, and its PostgreSQL."""
    children = psutil.Process(up.process.pid).children(recursive=True)
    yield
    assert up.process.wait(STOP_SECONDS) == 0
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    assert not (up.data_dir / "postgres" / "postmaster.pid").exists()


def make_accessible(folder: Path) -> Path:
    """`folder`, which others may enter: PostgreSQL runs as another user if the tests run as root."""
    for path in (folder, folder.parent, folder.parent.parent):
        path.chmod(0o755)
    return folder


@contextmanager
def everything_up(folder: Path, **variables: str) -> Iterator[Up]:
    """Everything up, with simulated bars until now; the schedules of prefect.yaml are off, see `schedules_on`."""
    running = start_up(make_accessible(folder), free_port(), **variables)
    try:
        set_schedules(running, active=False)
        wait_for("the end of a slot that came before", lambda: not running.flow_processes())
        load_bars(running)
        yield running
    finally:
        stop(running)
        shutil.rmtree(folder, ignore_errors=True)


def load_bars(running: Up) -> None:
    """Bars of the simulated market, the newest a minute old."""
    until = datetime.now(UTC).replace(second=0, microsecond=0)
    store_bars(running.engine(), SIMULATED_SYMBOL, bars_until(until, 9_000))


@contextmanager
def without_bars(up: Up) -> Iterator[None]:
    """DEMO has no bars within the block; retries of an analysis do not help."""
    with up.engine().begin() as connection:
        connection.execute(text("UPDATE bars SET symbol = 'AWAY' WHERE symbol = 'DEMO'"))
    try:
        yield
    finally:
        with up.engine().begin() as connection:
            connection.execute(text("UPDATE bars SET symbol = 'DEMO' WHERE symbol = 'AWAY'"))
