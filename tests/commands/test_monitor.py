"""`hybrid-ml monitor` as a process: one report when a problem begins and one when it is over; no secrets."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Completed
from sqlalchemy import Engine, create_engine, text

from hybrid_ml.health.state_file import read_state
from hybrid_ml.market.bars import clean_bars
from hybrid_ml.market.simulation import simulate_bars
from hybrid_ml.store.bars import store_bars
from hybrid_ml.store.engine import migrate
from tests.conftest import ROOT, WORK
from tests.databases import OwnPostgres, database
from tests.faults.conftest import faults
from tests.faults.table import FaultRows
from tests.hooks import Hooks, hooks
from tests.ports import free_port
from tests.telegram_api import TOKEN, BotApi
from tests.telegram_server import bot_api
from tests.up import wait_for

__all__ = ["faults"]
SECRET = "a-secret-of-ours"
PROGRAM = str(Path(sys.executable).with_name("hybrid-ml"))


@dataclass
class Watched:
    """An installation with a monitor, and the chat, webhook and heartbeat URL that receive its reports."""

    folder: Path
    environment: dict[str, str]
    api: BotApi
    hooks: Hooks

    @property
    def data_dir(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> str:
        return (self.folder / "monitor.log").read_text()

    def texts(self) -> list[str]:
        """Messages to chat 42."""
        return [message["text"] for message in self.api.messages if message["chat_id"] == "42"]

    def wait_for_text(self, words: str) -> str:
        return wait_for(words, lambda: next((item for item in self.texts() if words in item), None))

    @contextmanager
    def monitor(self, **variables: str) -> Iterator[subprocess.Popen]:
        """A running monitor; killed at the end of the block, as by a power cut."""
        with (self.folder / "monitor.log").open("w") as log:
            process = subprocess.Popen(
                [PROGRAM, "monitor"], cwd=ROOT, env=self.environment | variables, stdout=log, stderr=log
            )
        try:
            wait_for("the monitor", lambda: "monitoring" in self.log or process.poll() is not None)
            assert process.poll() is None, self.log
            yield process
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    with bot_api() as api, hooks() as received:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        environment = inherited | {
            "HOME": str(tmp_path),
            "HYBRID_ML_DATA_DIR": str(tmp_path / "data"),
            "HYBRID_ML_MODELS_DIR": str(tmp_path / "models"),
            "HYBRID_ML_BLOCKS": "false",
            "HYBRID_ML_HEALTH_PATIENCE_SECONDS": "1",
            "HYBRID_ML_HEALTH_WEBHOOK_URL": f"{received.url}/{SECRET}",
            "HYBRID_ML_HEARTBEAT_URL": f"{received.url}/ping/{SECRET}",
            "TELEGRAM_BASE_URL": api.base_url,
            "TELEGRAM_BOT_TOKEN": TOKEN,
            "TELEGRAM_CHAT_ID": "42",
        }
        yield Watched(tmp_path, environment, api, received)


@pytest.fixture
def market(watched: Watched, server: str, migrated: str) -> Iterator[Engine]:
    """The watched installation's database, without bars."""
    with database(server, template=migrated) as address:
        watched.environment["NEON_CONN_STR"] = address
        engine = create_engine(address.replace("postgresql://", "postgresql+psycopg2://"))
        yield engine
        engine.dispose()


def store(engine: Engine, symbol: str, until: datetime, bars: int) -> None:
    store_bars(engine, symbol, clean_bars(simulate_bars(until.replace(second=0, microsecond=0), bars=bars)).bars)


def test_unreachable_database_is_reported_once_and_its_recovery_once(watched: Watched, faults: FaultRows) -> None:
    """A monitor that is killed and restarted in between repeats no report. A second monitor exits with a message."""
    folder = WORK / "monitored"
    folder.mkdir()
    postgres = OwnPostgres(folder)
    watched.environment["NEON_CONN_STR"] = postgres.address
    migrate(create_engine(postgres.address.replace("postgresql://", "postgresql+psycopg2://")))
    with watched.monitor():
        second = subprocess.run(
            [PROGRAM, "monitor"],
            cwd=ROOT,
            env=watched.environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert (second.returncode, "another `hybrid-ml monitor` runs for" in second.stderr) == (1, True), second.stderr
        postgres.stop()
        report = watched.wait_for_text("cannot reach the database at")
        assert "since 20" in report
        assert "Check NEON_CONN_STR and that the server is up" in report
        wait_for("the state", lambda: [item.key for item in _open_problems(watched)] == ["database"])
    status = subprocess.run(
        [PROGRAM, "status", "--json"],
        cwd=ROOT,
        env=watched.environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert [problem["key"] for problem in json.loads(status.stdout)["open_problems"]] == ["database"]
    with watched.monitor():
        wait_for("a report", lambda: watched.hooks.bodies)
        postgres.start()
        over = watched.wait_for_text("over after")
        assert "the database at" in over
        assert len(watched.texts()) == 2, watched.texts()
        assert [(body["event"], body["problem"]) for body in watched.hooks.bodies] == [
            ("begun", "database"),
            ("over", "database"),
        ]
        assert watched.hooks.bodies[1]["lasted_seconds"] > 0
        wait_for("the state", lambda: not _open_problems(watched))
    assert SECRET not in watched.log
    assert TOKEN not in watched.log
    faults.add("the database is away, the monitor killed meanwhile", " / ".join(watched.texts()), 0.0)
    postgres.stop()


def _open_problems(watched: Watched) -> list:
    state = read_state(watched.data_dir)
    return state.opened if state else []


def test_missing_new_bars_are_reported_while_the_market_is_open(watched: Watched, market: Engine) -> None:
    """Only ABC had bars at this time a week ago; the market of IDX was closed then, and DEMO is simulated."""
    now = datetime.now(UTC)
    store(market, "ABC", now - timedelta(hours=2), bars=8 * 1_440)
    store(market, "DEMO", now - timedelta(hours=2), bars=8 * 1_440)
    store(market, "IDX", now - timedelta(hours=6), bars=300)
    store(market, "IDX", now - timedelta(days=7, hours=6), bars=300)
    with watched.monitor():
        message = watched.wait_for_text("no new bars of ABC for 30 minutes")
        assert "Check what loads its bars" in message
        store(market, "ABC", datetime.now(UTC), bars=30)
        watched.wait_for_text("over after")
        assert [text for text in watched.texts() if "ABC" not in text] == []
        assert len(watched.texts()) == 2


def test_expired_alerts_are_reported(watched: Watched, market: Engine) -> None:
    with watched.monitor():
        _deliver(market, "expired", "2026-01-01")
        message = watched.wait_for_text("alerts to chat 42 do not arrive")
        assert "1 in a day, nobody was there" in message
        _deliver(market, "sent", "2026-01-02")
        assert "alerts to chat 42" in watched.wait_for_text("over after")


def _deliver(engine: Engine, state: str, day: str) -> None:
    with engine.begin() as connection:
        alert = connection.execute(
            text(
                "INSERT INTO alerts (kind, symbol, bar_time, text, send_after, send_until) "
                "VALUES ('summary', '', :day, 'x', now(), now()) RETURNING id"
            ),
            {"day": f"{day} 00:00+00"},
        ).scalar_one()
        connection.execute(
            text(
                "INSERT INTO deliveries (alert_id, chat_id, state, detail, settled_at) "
                "VALUES (:alert, '42', :state, 'nobody was there', clock_timestamp())"
            ),
            {"alert": alert, "state": state},
        )


def test_low_disk_and_unreachable_server_are_reported_without_a_writable_folder(
    watched: Watched, market: Engine
) -> None:
    """No account can write files in /proc. Health reports have their own setting for chats; `off` means none."""
    variables = {
        "HYBRID_ML_DATA_DIR": "/proc/hybrid-ml",
        "HYBRID_ML_MIN_FREE_MB": "1000000000",
        "PREFECT_API_URL": f"http://127.0.0.1:{free_port()}/api",
    }
    with watched.monitor(**variables, HYBRID_ML_HEALTH_CHAT_ID="77"):
        for problem in ("MB free, less than 1,000,000,000 MB", "the Prefect server at"):
            wait_for(
                problem, lambda problem=problem: any(problem in message["text"] for message in watched.api.messages)
            )
        wait_for("both receivers", lambda: len(watched.hooks.bodies) == len(watched.api.messages))
        assert {message["chat_id"] for message in watched.api.messages} == {"77"}
    reports = len(watched.api.messages)
    with watched.monitor(**variables, HYBRID_ML_HEALTH_CHAT_ID="off"):
        # No state file could be written, so the problems are reported again.
        wait_for("the webhook", lambda: len(watched.hooks.bodies) == 2 * reports)
        assert len(watched.api.messages) == reports


def test_report_is_retried_until_telegram_and_webhook_accept_it(watched: Watched, market: Engine) -> None:
    watched.hooks.status = 503
    watched.api.orders += [(500, {"ok": False, "error_code": 500, "description": "Internal Server Error"})]
    with watched.monitor(HYBRID_ML_MIN_FREE_MB="1000000000"):
        wait_for("a refusal", lambda: any(row.answered_with == 500 for row in watched.api.rows))
        watched.hooks.status = 200
        watched.wait_for_text("MB free")
        wait_for("the webhook", lambda: watched.hooks.bodies)


def test_missed_slots_are_reported_until_one_completes(
    watched: Watched, market: Engine, own_prefect_api: str, faults: FaultRows
) -> None:
    """A schedule of the analysis whose runs no worker takes; then one run is Completed."""
    with (
        _scheduled(own_prefect_api) as client,
        watched.monitor(PREFECT_API_URL=own_prefect_api, HYBRID_ML_MISSED_SLOTS_MINUTES="0.1"),
    ):
        message = watched.wait_for_text("no slot of the analysis has ended well for 0.1 minutes")
        watched.wait_for_text("no worker is online")
        assert watched.hooks.paths == []
        filters = FlowRunFilter(tags={"all_": ["monitored"]})
        run = wait_for("a run of the schedule", lambda: client.read_flow_runs(flow_run_filter=filters, limit=1))[0]
        assert run.auto_scheduled
        client.set_flow_run_state(run.id, Completed(), force=True)
        wait_for("the heartbeat", lambda: watched.hooks.paths == [f"/ping/{SECRET}"])
        watched.wait_for_text("over after")
    assert SECRET not in watched.log
    faults.add("no slot ends well", message.splitlines()[0], 0.0)


@contextmanager
def _scheduled(own_prefect_api: str) -> Iterator[SyncPrefectClient]:
    """A deployment as the monitor expects it, every minute."""
    with temporary_settings({PREFECT_API_URL: own_prefect_api}), get_client(sync_client=True) as client:
        flow_id = client.create_flow_from_name("monitored")
        schedule = DeploymentScheduleCreate(schedule=IntervalSchedule(interval=timedelta(minutes=1)), active=True)
        tags = ["hybrid-ml", "monitored"]
        deployment_id = client.create_deployment(flow_id, "analysis", schedules=[schedule], tags=tags)
        try:
            yield client
        finally:
            client.delete_deployment(deployment_id)
