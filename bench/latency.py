"""Latency: how long from the moment a slot's bar is final at the exchange to Telegram's door; and runs by hand.

Measured: an analysis of simulated symbols every minute, scheduled ten seconds ahead of its slot as in prefect.yaml, on
a real Prefect server (on the embedded PostgreSQL) with a real worker. Their bars come from an exchange on loopback, as
final as its clock says (two seconds after their minute), and alerts go to a Bot API on loopback, each in a process of
its own; with bounds that any direction passes. Then runs by hand, one after the other. One worker after the other in
the same session: ours (`hybrid-ml worker`), which looks ahead, and Prefect's process worker as it is. How to read it:
each is the median; a ratio is against Prefect's process worker. Of a slot the first alert counts: a chat takes one
message a second. A FLAT answer is no alert.
"""

import atexit
import json
import multiprocessing
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
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

import pandas as pd
from common import Report, TemporaryStore, cross_check, options, show_progress

from hybrid_ml.config.settings import load_settings
from hybrid_ml.market.bars import VALUE_COLUMNS, clean_bars
from hybrid_ml.market.coverage import Span
from hybrid_ml.market.simulation import simulate_bars
from hybrid_ml.store.bars import store_bars
from hybrid_ml.store.coverage import Instrument, record_coverage, save_instrument

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from tests.exchange_server import Exchange, Kline, Market, exchange_server  # noqa: E402

TOKEN, PORT = "123456:not-a-real-token", 4391
SYMBOLS, LOOK_SECONDS = 4, 15
AHEAD = timedelta(seconds=10)
"""How far ahead of its slot a run is scheduled, as in prefect.yaml."""
BOUNDS = {"min_confidence": 0.0, "min_prob_margin": 0.0, "max_entropy": 1.1, "disable_sleep_window": True}
TARGET_SECONDS = 1.5
OURS = [str(Path(sys.executable).with_name("hybrid-ml")), "worker"]
PREFECTS = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "hybrid-ml", "--type", "process"]
WORKERS = {"hybrid-ml worker": OURS, "process worker as it is": PREFECTS}


@dataclass
class Seconds:
    """What one worker took, each a list of seconds; those of scheduled runs begin when the slot's bar is final."""

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
    from prefect.context import refresh_global_settings_context

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
        refresh_global_settings_context()  # what was imported here may have read the settings already
        yield


def prepare(candidates: list[str], rows: int) -> None:
    """Simulated symbols, each with bars until now, later ones at the exchange, and a trained model."""
    from flows.weekly_training import weekly_training
    from hybrid_ml.schemas.requests import TrainingRequest

    engine, now = load_engine(), datetime.now(UTC).replace(second=0, microsecond=0)
    for number, symbol in enumerate(candidates, start=1):
        show_progress(f"training {symbol}, {number} of {len(candidates)}")
        bars = bars_of(symbol)
        bars = bars[bars["time"] < now]
        store_bars(engine, symbol, bars)
        with engine.begin() as connection:
            save_instrument(connection, Instrument(symbol, "binance", symbol))
            record_coverage(connection, symbol, [Span(bars["time"].iloc[0].to_pydatetime(), now, "have")])
        weekly_training(TrainingRequest(symbols=[symbol], limit=rows, as_of=now - timedelta(hours=6)))


BEGAN = datetime.now(UTC).replace(second=0, microsecond=0)


@cache
def bars_of(symbol: str) -> pd.DataFrame:
    """The simulated market of a symbol, three hours beyond the beginning of this benchmark."""
    seed = int(symbol.removeprefix("SIM"))
    return clean_bars(simulate_bars(BEGAN + timedelta(hours=3), bars=9_000, seed=seed, missing_share=0.0)).bars


class SimulatedExchange(Exchange):
    """An exchange whose klines are those of `bars_of`."""

    def klines(self, symbol: str, start: int | None, end: int | None, limit: int) -> list[Kline]:
        bars, now = bars_of(symbol), datetime.now(UTC)
        opened = bars["time"].astype("int64").to_numpy() // 1_000
        chosen = (opened >= (start or 0)) & (opened <= min(end or 2**62, now.timestamp() * 1_000))
        return [
            [int(time), *map(str, bar), int(time) + 59_999, "0", 1, "0", "0", "0"]
            for time, bar in zip(opened[chosen][:limit], bars.loc[chosen, VALUE_COLUMNS].to_numpy(), strict=False)
        ]


def serve_exchange(symbols: list[str], address: Path) -> None:
    """In a process: the exchange; its address is written into a file."""
    markets = {symbol: Market(BEGAN - timedelta(days=30)) for symbol in symbols}
    with exchange_server(SimulatedExchange(lambda: datetime.now(UTC), markets)) as served:
        address.with_suffix(".part").write_text(served.url)
        address.with_suffix(".part").rename(address)
        while True:
            time.sleep(60)


def address_in(file: Path) -> str:
    while not file.exists():
        time.sleep(0.05)
    return file.read_text()


def symbols_that_alert(candidates: list[str]) -> list[str]:
    """Of the candidates those most likely to alert in the next minutes: with a direction now."""
    from flows.analysis import analysis
    from hybrid_ml.schemas.requests import AnalysisRequest

    report = analysis(AnalysisRequest(symbols=candidates, **BOUNDS))
    report = report if hasattr(report, "analyses") else report.data
    ranked = sorted(report.analyses, key=lambda item: item.probabilities["flat"])
    return [spread.symbol for spread in ranked[:SYMBOLS]]


def load_engine() -> Any:
    from hybrid_ml.store.engine import open_engine

    return open_engine(load_settings())


def deploy(symbols: list[str], first_slot: datetime) -> UUID:
    """A deployment for `symbols`, as the analysis of prefect.yaml, with a slot every minute."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.schedules import IntervalSchedule

    with get_client(sync_client=True) as client:
        like = client.read_deployment_by_name("analysis/analysis")
        client.pause_deployment(like.id)
        schedule = IntervalSchedule(interval=timedelta(minutes=1), anchor_date=first_slot - AHEAD, timezone="UTC")
        return client.create_deployment(
            like.flow_id,
            name="latency",
            entrypoint=like.entrypoint,
            pull_steps=like.pull_steps,
            work_pool_name="hybrid-ml",
            parameters={"request": {"symbols": symbols, **BOUNDS}},
            schedules=[DeploymentScheduleCreate(schedule=schedule, active=True)],
            tags=["hybrid-ml"],
        )


def measure(name: str, requested: Any, candidates: list[str], log: Path) -> Seconds:
    """Scheduled runs until there are alerts enough, then runs by hand."""
    show_progress(f"{name}: choosing symbols")
    taken, symbols = Seconds(), symbols_that_alert(candidates)
    with running(WORKERS[name], env=dict(os.environ), stdout=subprocess.DEVNULL):
        time.sleep(requested.settle_seconds)  # whatever it prepares, it has prepared
        begun = datetime.now(UTC)
        deployment = deploy(symbols, begun.replace(second=0, microsecond=0) + timedelta(minutes=2))
        ended = begun + timedelta(minutes=requested.most_minutes)
        while datetime.now(UTC) < ended:
            time.sleep(LOOK_SECONDS)
            scheduled(taken, deployment, log, begun)
            runs = f"{len(taken.to_end)} scheduled runs have ended"
            show_progress(f"{name}: {runs}, {len(taken.to_alert)} of {requested.alerts} with an alert")
            if len(taken.to_alert) >= requested.alerts:
                break
        retire(deployment)
        for number in range(requested.by_hand):
            show_progress(f"{name}: by hand, {number + 1} of {requested.by_hand}")
            by_hand(taken, symbols[0])
    return taken


def scheduled(taken: Seconds, deployment: UUID, log: Path, since: datetime) -> None:
    """Every scheduled run so far that has ended, and its alerts."""
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
        chosen = DeploymentFilter(id=DeploymentFilterId(any_=[deployment]))
        # Without this the runs to come would fill the answer.
        ended = FlowRunFilter(state=StateFilter(type=FlowRunFilterStateType(any_=[StateType.COMPLETED])))
        runs = client.read_flow_runs(deployment_filter=chosen, flow_run_filter=ended, limit=200)
    taken.to_running, taken.to_alert, taken.to_end = [], [], []
    for run in runs:
        due = run.expected_start_time
        if due is None or due < since:
            continue
        final = due.timestamp() + AHEAD.total_seconds() + load_settings().hybrid_ml_settling_seconds
        taken.to_running.append((run.start_time - due).total_seconds())
        taken.to_end.append(run.end_time.timestamp() - final)
        sent = [row["at"] - final for row in alerts]
        sent = [seconds for seconds in sent if -10 <= seconds < 40]
        taken.to_alert += [min(sent)] if sent else []  # Telegram takes one message a second for a chat


def retire(deployment: UUID) -> None:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
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
    report.add("final bar to alert, hybrid-ml worker", alert, "s", TARGET_SECONDS)
    report.add("against the process worker as it is", alert / statistics.median(plain.to_alert), "x")
    started = statistics.median(ours.by_hand_to_running)
    report.add("by hand to Running, hybrid-ml worker", started, "s")
    report.add("against the process worker as it is", started / statistics.median(plain.by_hand_to_running), "x")
    report.tables["seconds: due to Running; from the final bar to alert and end; from the trigger by hand"] = [
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
    smallest = {"alerts": 1, "by_hand": 1, "candidates": 4, "rows": 2_000, "settle_seconds": 10}
    parser = options(__doc__, smallest=smallest)
    parser.add_argument("--candidates", type=int, default=10, help="symbols, of which the likeliest to alert are run")
    parser.add_argument("--rows", type=int, default=5_000, help="rows each is trained on")
    parser.add_argument("--alerts", type=int, default=4, help="slots with an alert to wait for, a worker")
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
    candidates = [f"SIM{number}" for number in range(chosen.candidates)]
    exchange = multiprocessing.get_context("fork").Process(target=serve_exchange, args=(candidates, folder / "url"))
    exchange.daemon = True
    exchange.start()
    with running(telegram, stdout=subprocess.PIPE, text=True) as bot_api, server(store.folder / "data"):
        os.environ["HYBRID_ML_BINANCE_URL"] = address_in(folder / "url")
        base_url = bot_api.stdout.readline().split()[0].partition("=")[2]
        os.environ.update(TELEGRAM_BOT_TOKEN=TOKEN, TELEGRAM_CHAT_ID="42", TELEGRAM_BASE_URL=base_url)
        from deployments.provision.deploy import set_up

        set_up()
        prepare(candidates, chosen.rows)
        measured = {name: measure(name, chosen, candidates, log) for name in WORKERS}
    report_of(measured, chosen.json)
    fewest = min(len(taken.to_alert) for taken in measured.values())
    cross_check(fewest >= chosen.alerts, f"{fewest} alerts in {chosen.most_minutes:g} minutes, with one of the workers")


if __name__ == "__main__":
    main()
