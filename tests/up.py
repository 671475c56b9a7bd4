"""`hybrid-ml up` as a user starts it: PostgreSQL, Prefect server and worker, real."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
from sqlalchemy import Engine, create_engine, text

from deployments.service.worker import DEFAULTS
from hybrid_ml.market.bars import clean_bars
from hybrid_ml.market.simulation import SIMULATED_SYMBOL, simulate_bars
from hybrid_ml.store.bars import store_bars
from hybrid_ml.store.embedded import start_embedded
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[1]
SERVER = "deployments.service.prefect_server"
"""What stands in the command line of the Prefect server that `up` starts."""
FLOW_PROCESS = "deployments.service.flow_process"
"""What stands in that of a flow process."""
PROGRAM = str(Path(sys.executable).with_name("hybrid-ml"))
SLOT_SECONDS, SLOT_RUN_SECONDS = 600, 20
"""The analysis of a slot is due five seconds into it, and soon at work."""
PREFETCH_SECONDS = float(DEFAULTS["worker.prefetch_seconds"])
"""Before a run is due its process starts."""
AWAKE = {"disable_sleep_window": True, "max_bar_age_minutes": 1_440}
START_SECONDS, RUN_SECONDS = 400.0, 120.0


def wait_for(what: str, found: Callable[[], Any], seconds: float = RUN_SECONDS) -> Any:
    """Whatever `found` finds, as soon as it finds something."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        result = found()
        if result:
            return result
        time.sleep(0.1)
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
        access = {PREFECT_API_URL: self.api_url, PREFECT_API_AUTH_STRING: self.authentication}
        with temporary_settings(access), get_client(sync_client=True) as client:
            yield client

    @property
    def authentication(self) -> str:
        """What its server asks for, as USER:PASSWORD."""
        return (self.data_dir / "prefect-auth").read_text().strip()

    def wait_for_our_turn(self, seconds: float = 20.0) -> None:
        """Wait until no slot's run is to begin for so long: for tests that look at processes, or count runs."""
        latest = SLOT_SECONDS - PREFETCH_SECONDS - seconds
        wait_for("a turn of ours", lambda: latest > time.time() % SLOT_SECONDS > SLOT_RUN_SECONDS, SLOT_SECONDS)

    def trigger(self, deployment: str = "analysis/analysis", **request: Any) -> UUID:
        """Run a deployment now, as the UI's button does."""
        with self.client() as client:
            found = client.read_deployment_by_name(deployment)
            parameters = {"request": request} if request else {}
            return client.create_flow_run_from_deployment(found.id, parameters=parameters).id

    def scheduled(self, name: str) -> list[FlowRun]:
        """Runs that a schedule has made and that are still to come, the next one first."""
        with self.client() as client:
            deployment = client.read_deployment_by_name(name)
            to_come = FlowRunFilter(
                deployment_id={"any_": [deployment.id]}, expected_start_time={"after_": datetime.now(UTC)}
            )
            runs = client.read_flow_runs(flow_run_filter=to_come, sort=FlowRunSort.EXPECTED_START_TIME_ASC)
        return [run for run in runs if run.auto_scheduled]

    def due_soon(self) -> UUID:
        """The run of `runs_every`, as soon as the server has made it."""
        return wait_for(
            "a run that is due", lambda: [run.id for run in self.scheduled("analysis/analysis") if _soon(run)]
        )[0]

    def run(self, run_id: UUID) -> FlowRun:
        with self.client() as client:
            return client.read_flow_run(run_id)

    def ended(self, run_id: UUID, seconds: float = RUN_SECONDS) -> FlowRun:
        """The run when it has come to an end."""
        return wait_for(f"the end of {run_id}", lambda: self._if(run_id, lambda run: run.state.is_final()), seconds)

    def begun(self, run_id: UUID) -> FlowRun:
        """The run when it is at work."""
        run = wait_for(f"the beginning of {run_id}", lambda: self._if(run_id, _begun_or_ended))
        assert run.state.name == "Running", f"{run.state.name}: {run.state.message}"
        return run

    def _if(self, run_id: UUID, holds: Callable[[FlowRun], bool]) -> FlowRun | None:
        run = self.run(run_id)
        return run if holds(run) else None

    def child(self, words: str) -> psutil.Process:
        """The process below `up` whose command line has `words`, waiting for it to be there."""
        return wait_for(f"a process of {words}", lambda: next(iter(self.children(words)), None))

    def children(self, words: str) -> list[psutil.Process]:
        found = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            try:
                if words in " ".join(child.cmdline()) and child.status() != psutil.STATUS_ZOMBIE:
                    found.append(child)
            except psutil.NoSuchProcess:
                continue
        return found

    def flow_processes(self) -> list[psutil.Process]:
        """Those of the runs at work."""
        return self.children(FLOW_PROCESS)

    def own(self) -> list[psutil.Process]:
        """`up` itself."""
        return [psutil.Process(self.process.pid)]

    def task_names(self, run_id: UUID) -> list[str]:
        """What the run has begun."""
        with self.client() as client:
            chosen = FlowRunFilter(id=FlowRunFilterId(any_=[run_id]))
            return [task.name for task in client.read_task_runs(flow_run_filter=chosen)]

    def state_names(self, run_id: UUID) -> list[str]:
        """All states the run has been in, the first one first."""
        with self.client() as client:
            states = client.read_flow_run_states(run_id)
        return [state.name for state in sorted(states, key=lambda state: state.timestamp)]

    def answers(self) -> bool:
        """Whether the server answers."""
        try:
            with self.client() as client:
                return bool(client.hello())
        except Exception:  # whichever way it cannot reach the database
            return False

    def command(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        """One of the project's commands, beside what is up."""
        return self._run([PROGRAM, *arguments], environment)

    def prefect(self, *arguments: str) -> subprocess.CompletedProcess:
        """One of Prefect's own commands, against the server that is up."""
        access = {"PREFECT_API_URL": self.api_url, "PREFECT_API_AUTH_STRING": self.authentication}
        return self._run([sys.executable, "-m", "prefect", *arguments], access)

    def _run(self, command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess:
        return subprocess.run(
            command,
            cwd=ROOT,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    def engine(self) -> Engine:
        """The project's own database."""
        address = self.environment["NEON_CONN_STR"] or start_embedded(self.data_dir)
        return create_engine(address.replace("postgresql://", "postgresql+psycopg2://"))

    def prefect_engine(self) -> Engine:
        """The database of the Prefect server."""
        address = start_embedded(self.data_dir, "prefect")
        return create_engine(address.replace("postgresql://", "postgresql+psycopg2://"))


def _begun_or_ended(run: FlowRun) -> bool:
    return run.state.name == "Running" or run.state.is_final()


def is_slot(due: datetime) -> bool:
    """Whether a run due then is one of prefect.yaml's; those of `runs_every` have a broken second."""
    return (due.second, due.microsecond) == (5, 0)


def _soon(run: FlowRun) -> bool:
    due = run.expected_start_time
    return not is_slot(due) and (due - datetime.now(UTC)).total_seconds() < 60


def environment_of(folder: Path, **more: str) -> dict[str, str]:
    """The environment of an installation of its own, which knows no server."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return kept | {
        "HOME": str(folder / "home"),
        "NEON_CONN_STR": "",
        "HYBRID_ML_DATA_DIR": str(folder / "data"),
        "HYBRID_ML_MODELS_DIR": str(folder / "models"),
        "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2",
        **more,
    }


def start_up(folder: Path, port: int, **more: str) -> Up:
    """`hybrid-ml up`, when it says that all is there."""
    (folder / "home").mkdir(parents=True, exist_ok=True)
    environment, log = environment_of(folder, **more), folder / "up.log"
    with log.open("a") as output:
        output.truncate(0)
        process = subprocess.Popen(
            [PROGRAM, "up", "--port", str(port)], cwd=ROOT, env=environment, stdout=output, stderr=output
        )
    up = Up(process, environment, log, f"http://127.0.0.1:{port}/api")
    try:
        wait_for("up", lambda: "Ctrl-C stops" in log.read_text() or process.poll() is not None, START_SECONDS)
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
            up.process.wait(180)
        except subprocess.TimeoutExpired:
            up.process.kill()
            raise


@contextmanager
def everything_up(folder: Path, **more: str) -> Iterator[Up]:
    """Everything up, with simulated bars until now; the schedules of prefect.yaml run as they would."""
    for path in (folder, folder.parent, folder.parent.parent):
        path.chmod(0o755)  # PostgreSQL runs as a user of its own where the tests run as root
    running = start_up(folder, free_port(), **more)
    try:
        load_bars(running)
        yield running
    finally:
        stop(running)
        shutil.rmtree(folder, ignore_errors=True)


def load_bars(running: Up) -> None:
    """Bars of the simulated market, the newest a minute old."""
    until = datetime.now(UTC).replace(second=0, microsecond=0)
    store_bars(running.engine(), SIMULATED_SYMBOL, clean_bars(simulate_bars(until, bars=9_000)).bars)


@contextmanager
def runs_every(up: Up, minutes: int = 60, *, in_seconds: float = 12.0, **request: Any) -> Iterator[None]:
    """One more schedule of the analysis, whose first run is due in a few seconds, with a `request` of its own."""
    body = {"schedule": {"interval": minutes * 60, "anchor_date": _moment(in_seconds)}, "active": True}
    body |= {"parameters": {"request": request}} if request else {}
    with up.client() as client:
        deployment = client.read_deployment_by_name("analysis/analysis").id
        path = f"/deployments/{deployment}/schedules"
        made = client._client.post(path, content=json.dumps([body]), headers={"Content-Type": "application/json"})
        made.raise_for_status()
        schedule = made.json()[0]["id"]
    try:
        yield
    finally:
        with up.client() as client, suppress(ObjectNotFound):  # a deployment in between removes it
            client.delete_deployment_schedule(deployment, UUID(schedule))


def _moment(in_seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=in_seconds)).isoformat()


@contextmanager
def bars_away(up: Up) -> Iterator[None]:
    """DEMO has no bars meanwhile, which an analysis of it cannot mend by trying again."""
    with up.engine().begin() as connection:
        connection.execute(text("UPDATE bars SET symbol = 'AWAY' WHERE symbol = 'DEMO'"))
    try:
        yield
    finally:
        with up.engine().begin() as connection:
            connection.execute(text("UPDATE bars SET symbol = 'DEMO' WHERE symbol = 'AWAY'"))
