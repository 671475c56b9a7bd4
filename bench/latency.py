"""Latency: how long from the moment a run is due, or is started by hand, to its work and to Telegram's door.

Measured: scheduled analyses of simulated symbols, one due every fifteen seconds, on a real Prefect server (on the
embedded PostgreSQL) with a real worker, against a Bot API in a process of its own on loopback, with bounds that any
direction passes: from the scheduled time to the Running state, to the first byte of the alert, to the end. Then runs
by hand, one after the other. One worker after the other in the same session: ours (`hybrid-ml worker`), which looks
ahead, and Prefect's process worker as it is. How to read it: each is the median; a ratio is against Prefect's process
worker. A FLAT answer is no alert, so there are more runs than alerts.
"""

import atexit
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from common import Report, TemporaryStore, cross_check, options

from hybrid_ml.config.settings import load_settings
from hybrid_ml.market.bars import clean_bars
from hybrid_ml.market.simulation import simulate_bars
from hybrid_ml.store.bars import store_bars

ROOT = Path(__file__).resolve().parents[1]
TOKEN, PORT = "123456:not-a-real-token", 4391
CANDIDATES = tuple(f"SIM{number}" for number in range(10))
SYMBOLS, APART_SECONDS = 4, 15
BOUNDS = {"min_confidence": 0.0, "min_prob_margin": 0.0, "max_entropy": 1.1, "disable_sleep_window": True}
TARGET_SECONDS = 1.5
OURS = [str(Path(sys.executable).with_name("hybrid-ml")), "worker"]
PREFECTS = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "hybrid-ml", "--type", "process"]
WORKERS = {"hybrid-ml worker": OURS, "process worker as it is": PREFECTS}


@dataclass
class Seconds:
    """What one worker took, each a list of seconds."""

    to_running: list[float] = field(default_factory=list)
    to_alert: list[float] = field(default_factory=list)
    to_end: list[float] = field(default_factory=list)
    by_hand_to_running: list[float] = field(default_factory=list)
    by_hand_to_end: list[float] = field(default_factory=list)


@contextmanager
def running(command: list[str], **more: Any) -> Iterator[subprocess.Popen]:
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, **more)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()


@contextmanager
def server(data_dir: Path) -> Iterator[None]:
    """A server as `hybrid-ml up` starts it, and this process's too."""
    from deployments.service.authentication import CLIENT_VARIABLE, keep_authentication
    from deployments.service.server import listen, server_service, wait_until_ready

    authentication = keep_authentication(data_dir)
    listener = listen("127.0.0.1", PORT)
    service = server_service("127.0.0.1", PORT, data_dir, authentication, [], listener)
    inherited = {"pass_fds": service.passed_descriptors}
    with (
        listener,
        running(service.command, env=service.environment, stdout=subprocess.DEVNULL, **inherited) as process,
    ):
        api_url = f"http://127.0.0.1:{PORT}/api"
        wait_until_ready(api_url, lambda: process.poll() is not None, lambda: time.sleep(0.2))
        os.environ.update({"PREFECT_API_URL": api_url, CLIENT_VARIABLE: authentication})
        yield


def prepare() -> None:
    """Simulated symbols, each with bars beyond now and a trained model."""
    from flows.weekly_training import weekly_training
    from hybrid_ml.schemas.requests import TrainingRequest

    engine, now = load_engine(), datetime.now(UTC).replace(second=0, microsecond=0)
    for seed, symbol in enumerate(CANDIDATES):
        bars = clean_bars(simulate_bars(now + timedelta(hours=3), bars=9_000, seed=seed, missing_share=0.0)).bars
        store_bars(engine, symbol, bars)
        weekly_training(TrainingRequest(symbols=[symbol], limit=5_000, as_of=now - timedelta(hours=6)))


def symbols_that_alert() -> list[str]:
    """Of the candidates those most likely to alert in the next minutes: over the bar, with a direction now."""
    from flows.analysis import analysis
    from hybrid_ml.schemas.requests import AnalysisRequest

    report = analysis(AnalysisRequest(symbols=list(CANDIDATES), **BOUNDS))
    report = report if hasattr(report, "analyses") else report.data
    ranked = sorted(report.analyses, key=lambda item: (item.degraded, item.probabilities["flat"]))
    return [spread.symbol for spread in ranked[:SYMBOLS]]


def load_engine() -> Any:
    from hybrid_ml.store.engine import open_engine

    return open_engine(load_settings())


def deploy(symbols: list[str], first_due: datetime) -> dict[UUID, str]:
    """A deployment for each symbol, as the analysis of prefect.yaml, due once a minute; by id, the symbol."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.schedules import IntervalSchedule

    made: dict[UUID, str] = {}
    with get_client(sync_client=True) as client:
        like = client.read_deployment_by_name("analysis/analysis")
        client.pause_deployment(like.id)
        for place, symbol in enumerate(symbols):
            due = first_due + timedelta(seconds=place * APART_SECONDS)
            schedule = IntervalSchedule(interval=timedelta(minutes=1), anchor_date=due, timezone="UTC")
            deployment = client.create_deployment(
                like.flow_id,
                name=f"latency-{symbol.lower()}",
                entrypoint=like.entrypoint,
                pull_steps=like.pull_steps,
                work_pool_name="hybrid-ml",
                parameters={"request": {"symbols": [symbol], **BOUNDS}},
                schedules=[DeploymentScheduleCreate(schedule=schedule, active=True)],
                tags=["hybrid-ml"],
            )
            made[deployment] = symbol
    return made


def measure(command: list[str], requested: Any, log: Path) -> Seconds:
    """Scheduled runs until there are alerts enough, then runs by hand."""
    taken, symbols = Seconds(), symbols_that_alert()
    with running(command, env=dict(os.environ), stdout=subprocess.DEVNULL):
        time.sleep(requested.settle_seconds)  # whatever it prepares, it has prepared
        begun = datetime.now(UTC)
        deployments = deploy(symbols, begun + timedelta(seconds=60))
        ended = begun + timedelta(minutes=requested.most_minutes)
        while datetime.now(UTC) < ended:
            time.sleep(5)
            scheduled(taken, deployments, log, begun)
            if len(taken.to_alert) >= requested.alerts:
                break
        retire(deployments)
        for _ in range(requested.by_hand):
            by_hand(taken, symbols[0])
    return taken


def scheduled(taken: Seconds, deployments: dict[UUID, str], log: Path, since: datetime) -> None:
    """Every scheduled run so far that has ended, and its alert if it had one."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import (
        DeploymentFilter,
        DeploymentFilterId,
        FlowRunFilter,
        FlowRunFilterStateType,
    )
    from prefect.client.schemas.filters import FlowRunFilterState as StateFilter
    from prefect.client.schemas.objects import StateType

    alerts = [row for row in map(json.loads, log.read_text().splitlines()) if row["method"].startswith("send")]
    with get_client(sync_client=True) as client:
        chosen = DeploymentFilter(id=DeploymentFilterId(any_=list(deployments)))
        # Without this the runs to come would fill the answer.
        ended = FlowRunFilter(state=StateFilter(type=FlowRunFilterStateType(any_=[StateType.COMPLETED])))
        runs = client.read_flow_runs(deployment_filter=chosen, flow_run_filter=ended, limit=200)
    taken.to_running, taken.to_alert, taken.to_end = [], [], []
    for run in runs:
        due = run.expected_start_time
        if due is None or due < since:
            continue
        taken.to_running.append((run.start_time - due).total_seconds())
        taken.to_end.append((run.end_time - due).total_seconds())
        symbol = deployments[run.deployment_id]
        words = (str(row.get("text") or "") for row in alerts)
        sent = [row["at"] - due.timestamp() for row, text in zip(alerts, words, strict=True) if f" {symbol} " in text]
        taken.to_alert += [min(run for run in sent if 0 <= run < 60)] if any(0 <= run < 60 for run in sent) else []


def retire(deployments: dict[UUID, str]) -> None:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        for deployment in deployments:
            client.delete_deployment(deployment)


def by_hand(taken: Seconds, symbol: str) -> None:
    """One run of the analysis, started as the UI's button starts it."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name("analysis/analysis").id
        request = time.time()
        parameters = {"request": {"symbols": [symbol], **BOUNDS}}
        run = client.create_flow_run_from_deployment(deployment, parameters=parameters)
        while not (run.state and run.state.is_final()):
            time.sleep(0.1)
            run = client.read_flow_run(run.id)
        cross_check(run.state.type.value == "COMPLETED", f"by hand: {run.state.name}, {run.state.message}")
    taken.by_hand_to_running.append(run.start_time.timestamp() - request)
    taken.by_hand_to_end.append(run.end_time.timestamp() - request)


def report_of(measured: dict[str, Seconds], as_json: bool) -> None:
    report = Report("latency: medians")
    ours, plain = measured.values()
    alert = statistics.median(ours.to_alert)
    report.add("scheduled time to alert, hybrid-ml worker", alert, "s", TARGET_SECONDS)
    report.add("against the process worker as it is", alert / statistics.median(plain.to_alert), "x")
    started = statistics.median(ours.by_hand_to_running)
    report.add("by hand to Running, hybrid-ml worker", started, "s")
    report.add("against the process worker as it is", started / statistics.median(plain.by_hand_to_running), "x")
    report.tables["seconds from the scheduled time (runs, alerts) and from the trigger by hand"] = [
        {
            "worker": name,
            "runs": len(taken.to_running),
            "Running": statistics.median(taken.to_running),
            "alerts": len(taken.to_alert),
            "alert": statistics.median(taken.to_alert),
            "slowest alert": max(taken.to_alert),
            "end": statistics.median(taken.to_end),
            "by hand: Running": statistics.median(taken.by_hand_to_running),
            "by hand: end": statistics.median(taken.by_hand_to_end),
        }
        for name, taken in measured.items()
    ]
    report.show(as_json=as_json)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--alerts", type=int, default=10, help="alerts of scheduled runs to wait for, a worker")
    parser.add_argument("--by_hand", type=int, default=5)
    parser.add_argument("--most_minutes", type=float, default=15)
    parser.add_argument("--settle_seconds", type=float, default=20)
    chosen = parser.parse_args()
    store = TemporaryStore.make()
    store.use()
    folder = Path(tempfile.mkdtemp(prefix="hybrid-ml-bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["PREFECT_HOME"] = str(folder / "prefect")
    os.environ["PREFECT_LOGGING_LEVEL"] = "ERROR"
    log = folder / "requests.jsonl"
    telegram = [sys.executable, "-m", "tests.telegram_server", "--log", str(log)]
    with running(telegram, stdout=subprocess.PIPE, text=True) as bot_api, server(store.folder / "data"):
        base_url = bot_api.stdout.readline().split()[0].partition("=")[2]
        os.environ.update(TELEGRAM_BOT_TOKEN=TOKEN, TELEGRAM_CHAT_ID="42", TELEGRAM_BASE_URL=base_url)
        from deployments.provision.deploy import set_up

        set_up()
        prepare()
        measured = {name: measure(command, chosen, log) for name, command in WORKERS.items()}
    report_of(measured, chosen.json)
    fewest = min(len(taken.to_alert) for taken in measured.values())
    cross_check(fewest >= chosen.alerts, f"{fewest} alerts in {chosen.most_minutes:g} minutes, with one of the workers")


if __name__ == "__main__":
    main()
