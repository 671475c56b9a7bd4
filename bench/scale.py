"""Scale: one analysis of many symbols, and what a symbol costs.

Measured: real runs of the analysis flow in this process, fine-tuning included, against a real Prefect server,
both databases an embedded PostgreSQL, over 50, 100 and 200 symbols. One of them has no bars: it must be named, and
all others recorded. Every symbol has the same simulated bars and a copy of one trained base as its champion;
training 200 would measure the training. The first run of each symbol reads its base from the registry and is
left out; those measured find local copies, as every run but the first after a training does. The numbers of
symbols take turns. How to read it: growth is linear when a symbol of 200 costs what one of 50 does;
the processor time is that of the flow's process, whatever else the machine does.
"""

import cProfile
import logging
import os
import pstats
import resource
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import httpx
from common import UNTIL, Report, TemporaryStore, cross_check, options
from prefect.settings import PREFECT_API_URL, temporary_settings
from sqlalchemy import Engine, text

import flows.task_runners
from flows.analysis import analysis
from hybrid_ml.learning import fallback
from hybrid_ml.learning.model import HybridModel
from hybrid_ml.learning.model_bytes import pack
from hybrid_ml.learning.promotion import Promotion
from hybrid_ml.learning.rows import make_window
from hybrid_ml.learning.training import train_base
from hybrid_ml.market.bars import MAX_GAP_MINUTES
from hybrid_ml.market.simulation import simulate_bars
from hybrid_ml.schemas.reports import AnalysisReport
from hybrid_ml.schemas.requests import AnalysisRequest
from hybrid_ml.store import model_registry as registry
from hybrid_ml.store.bars import store_bars
from hybrid_ml.store.embedded import for_asyncpg, start_embedded

COUNTS = (50, 100, 200)
SYMBOLS = [f"S{number:03d}" for number in range(COUNTS[-1])]
WITHOUT_BARS = SYMBOLS[7]
TRAINING_ROWS, TRAINING_BARS, STORED_BARS = 23_000, 30_000, 4_000
BEGIN = UNTIL - timedelta(hours=12)
TARGET_MS, TARGET_RATIO = 300.0, 1.2


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each number of symbols")
    parser.add_argument("--threads", type=int, help="threads, instead of those the flow chooses")
    parser.add_argument("--profile", action="store_true", help="also print where the main thread's time went")
    chosen = parser.parse_args()
    if chosen.threads:
        vars(flows.task_runners)["MOST_THREADS"] = chosen.threads
    store = TemporaryStore.make()
    engine = store.use()
    # A model that happens to be poor would be trained again, which is not what is measured here.
    vars(fallback).update(MINIMUM_RECENT_ACCURACY=0.0, RECOVERED_RECENT_ACCURACY=0.0)
    logging.getLogger("prefect").setLevel(logging.CRITICAL)
    prepare(engine)
    taken: dict[int, list[float]] = {count: [] for count in COUNTS}
    busy: dict[int, list[float]] = {count: [] for count in COUNTS}
    with prefect_server(store.folder):
        analysed(engine, COUNTS[-1], 0)
        for number in range(chosen.rounds * len(COUNTS)):
            count = COUNTS[number % len(COUNTS)]
            begun = time.process_time()
            taken[count].append(analysed(engine, count, 1 + number))
            busy[count].append(time.process_time() - begun)
        if chosen.profile:
            profile = cProfile.Profile()
            profile.runcall(analysed, engine, COUNTS[0], 1 + chosen.rounds * len(COUNTS))
            pstats.Stats(profile).sort_stats("cumtime").print_stats(60)
    per_symbol_ms = {count: 1000 * statistics.median(seconds) / count for count, seconds in taken.items()}
    report = Report(f"scale: medians of {chosen.rounds} analyses of each number of symbols, one of them without bars")
    for count, seconds in taken.items():
        report.add(f"{count} symbols", statistics.median(seconds), "s")
        report.add(f"{count} symbols, each", per_symbol_ms[count], "ms", TARGET_MS)
        report.add(f"{count} symbols, processor time of each", 1000 * statistics.median(busy[count]) / count, "ms")
    report.add("a symbol of 200 to one of 50", per_symbol_ms[COUNTS[-1]] / per_symbol_ms[COUNTS[0]], "x", TARGET_RATIO)
    report.add("most memory of the process", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "MiB")
    report.show(as_json=chosen.json)


def prepare(engine: Engine) -> None:
    """The same bars for every symbol but one, and the same base, trained on those before BEGIN."""
    bars = simulate_bars(UNTIL, bars=TRAINING_BARS)
    known = bars[bars["time"] < BEGIN - timedelta(hours=6)]
    window = make_window(known, MAX_GAP_MINUTES)
    as_of = known["time"].iloc[-1].to_pydatetime() + timedelta(minutes=1)
    model, _ = train_base(
        window.rows, symbol="S", kind="base", row_limit=TRAINING_ROWS, week=0, as_of=as_of, num_threads=1
    )
    for symbol in SYMBOLS:
        if symbol != WITHOUT_BARS:
            store_bars(engine, symbol, bars.tail(STORED_BARS))
        base = pack(replace(model.base, symbol=symbol))
        with engine.begin() as connection:
            registry.save_base(connection, HybridModel(base), Promotion(True, "benchmark"))


def analysed(engine: Engine, count: int, cycle: int) -> float:
    """Seconds of one run over `count` symbols, whose answers are all recorded but the one that cannot be."""
    as_of = BEGIN + timedelta(minutes=10 * cycle)
    request = AnalysisRequest(symbols=SYMBOLS[:count], as_of=as_of, disable_sleep_window=True)
    started = time.perf_counter()
    state = analysis(request, return_state=True)
    took = time.perf_counter() - started
    report = state.result(raise_on_failure=False)
    cross_check(isinstance(report, AnalysisReport), f"the run ended with a report, not {report!r}")
    cross_check([failure.symbol for failure in report.failures] == [WITHOUT_BARS], f"one failed: {report.failures[:3]}")
    cross_check(not any(answer.fell_back for answer in report.analyses), "no symbol was trained from scratch")
    cross_check(recorded(engine, as_of) == count - 1, f"{count - 1} answers were recorded as of {as_of}")
    return took


def recorded(engine: Engine, as_of: datetime) -> int:
    with engine.connect() as connection:
        found = connection.execute(text("SELECT count(*) FROM predictions WHERE as_of = :as_of"), {"as_of": as_of})
        return int(found.scalar_one())


@contextmanager
def prefect_server(folder: Path) -> Iterator[None]:
    """A Prefect server with its database beside the project's; what runs in the block reports to it."""
    address = for_asyncpg(start_embedded(folder / "data", "prefect", ("pg_trgm",)))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": address,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    url = f"http://127.0.0.1:{port}/api"
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        wait_until_healthy(url)
        with temporary_settings({PREFECT_API_URL: url}):
            yield
    finally:
        server.terminate()
        server.wait(30)


def wait_until_healthy(url: str) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        try:
            if httpx.get(f"{url}/health", timeout=2).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.2)
    raise SystemExit(f"no Prefect server answers at {url}")


if __name__ == "__main__":
    main()
