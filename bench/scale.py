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
import pstats
import resource
import statistics
import time
from dataclasses import replace
from datetime import datetime, timedelta

from common import (
    UNTIL,
    Report,
    TemporaryStore,
    accept_every_accuracy,
    cross_check,
    options,
    prefect_server,
    show_progress,
)
from sqlalchemy import Engine, text

import flows.task_runners
from flows.analysis import analysis
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

WITHOUT_BARS = "S001"
MORE_BARS, STORED_BARS = 7_000, 4_000
"""Bars beyond the rows to train on (first features, calibration, hold-out, analyses); bars stored of each symbol."""
BEGIN = UNTIL - timedelta(hours=12)
TARGET_MS, TARGET_RATIO = 300.0, 1.2


def main() -> None:
    parser = options(__doc__, smallest={"symbols": [2, 3], "rounds": 1, "rows": 2_000})
    parser.add_argument("--symbols", type=int, nargs="+", default=[50, 100, 200], help="numbers of symbols, growing")
    parser.add_argument("--rows", type=int, default=23_000, help="rows the base is trained on")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each number of symbols")
    parser.add_argument("--threads", type=int, help="threads, instead of those the flow chooses")
    parser.add_argument("--profile", action="store_true", help="also print where the main thread's time went")
    chosen = parser.parse_args()
    if chosen.threads:
        vars(flows.task_runners)["MOST_THREADS"] = chosen.threads
    store = TemporaryStore.make()
    engine = store.use()
    accept_every_accuracy()
    logging.getLogger("prefect").setLevel(logging.CRITICAL)
    counts, symbols = chosen.symbols, [f"S{number:03d}" for number in range(chosen.symbols[-1])]
    prepare(engine, symbols, chosen.rows)
    taken: dict[int, list[float]] = {count: [] for count in counts}
    busy: dict[int, list[float]] = {count: [] for count in counts}
    with prefect_server(store.folder):
        analysed(engine, symbols, 0)
        for number in range(chosen.rounds * len(counts)):
            count = counts[number % len(counts)]
            begun = time.process_time()
            taken[count].append(analysed(engine, symbols[:count], 1 + number))
            busy[count].append(time.process_time() - begun)
        if chosen.profile:
            profile = cProfile.Profile()
            profile.runcall(analysed, engine, symbols[: counts[0]], 1 + chosen.rounds * len(counts))
            pstats.Stats(profile).sort_stats("cumtime").print_stats(60)
    per_symbol_ms = {count: 1000 * statistics.median(seconds) / count for count, seconds in taken.items()}
    report = Report(f"scale: medians of {chosen.rounds} analyses of each number of symbols, one of them without bars")
    for count, seconds in taken.items():
        report.add(f"{count} symbols", statistics.median(seconds), "s")
        report.add(f"{count} symbols, each", per_symbol_ms[count], "ms", TARGET_MS)
        report.add(f"{count} symbols, processor time of each", 1000 * statistics.median(busy[count]) / count, "ms")
    growth = per_symbol_ms[counts[-1]] / per_symbol_ms[counts[0]]
    report.add(f"a symbol of {counts[-1]} to one of {counts[0]}", growth, "x", TARGET_RATIO)
    report.add("most memory of the process", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "MiB")
    report.show(as_json=chosen.json)


def prepare(engine: Engine, symbols: list[str], rows: int) -> None:
    """The same bars for every symbol but one, and the same base, trained on those before BEGIN."""
    bars = simulate_bars(UNTIL, bars=rows + MORE_BARS)
    known = bars[bars["time"] < BEGIN - timedelta(hours=6)]
    window = make_window(known, MAX_GAP_MINUTES)
    as_of = known["time"].iloc[-1].to_pydatetime() + timedelta(minutes=1)
    model, _ = train_base(window.rows, symbol="S", kind="base", row_limit=rows, week=0, as_of=as_of, num_threads=1)
    show_progress(f"bars and a base for {len(symbols)} symbols")
    for symbol in symbols:
        if symbol != WITHOUT_BARS:
            store_bars(engine, symbol, bars.tail(STORED_BARS))
        base = pack(replace(model.base, symbol=symbol))
        with engine.begin() as connection:
            registry.save_base(connection, HybridModel(base), Promotion(True, "benchmark"))


def analysed(engine: Engine, symbols: list[str], cycle: int) -> float:
    """Seconds of one run over `symbols`, whose answers are all recorded but the one that cannot be."""
    as_of = BEGIN + timedelta(minutes=10 * cycle)
    request = AnalysisRequest(symbols=symbols, as_of=as_of, disable_sleep_window=True)
    started = time.perf_counter()
    state = analysis(request, return_state=True)
    took = time.perf_counter() - started
    report = state.result(raise_on_failure=False)
    cross_check(isinstance(report, AnalysisReport), f"the run ended with a report, not {report!r}")
    cross_check([failure.symbol for failure in report.failures] == [WITHOUT_BARS], f"one failed: {report.failures[:3]}")
    cross_check(not any(answer.fell_back for answer in report.analyses), "no symbol was trained from scratch")
    expected = len(symbols) - 1
    cross_check(recorded(engine, as_of) == expected, f"{expected} answers were recorded as of {as_of}")
    show_progress(f"run {cycle}: {len(symbols)} symbols in {took:.1f} s")
    return took


def recorded(engine: Engine, as_of: datetime) -> int:
    with engine.connect() as connection:
        found = connection.execute(text("SELECT count(*) FROM predictions WHERE as_of = :as_of"), {"as_of": as_of})
        return int(found.scalar_one())


if __name__ == "__main__":
    main()
