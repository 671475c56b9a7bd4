"""Analysis: one run from database read to database write, on one thread, without Prefect's engine.

Measured: the flow of `flows/analysis.py` itself, each of its tasks replaced by its plain function
and the artifact for the Prefect UI left out, at successive moments of one symbol: with fine-tuning
and in fast mode, in one database with 10,000 bars and another with five million (the same newest
ones and an older history). The four kinds take turns, and both databases must give the same
answers. Targets: 150 ms with fine-tuning, 60 ms in fast mode, and five million bars as fast as ten
thousand. How to read the second table: medians of each task, "rest" is what lies between them.
Analyses that fell back to training from scratch are counted and left out; what they train differs
between the databases, so that answers are compared only up to the first of them.
"""

import io
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
from common import (
    Report,
    TemporaryStore,
    accept_every_accuracy,
    cross_check,
    options,
    show_progress,
    some_bars,
)
from prefect import Task
from sqlalchemy import Engine, text

import flows.analysis
import flows.task_runners
import flows.weekly_training
from hybrid_ml.learning.model import HybridModel
from hybrid_ml.learning.promotion import Promotion
from hybrid_ml.learning.rows import make_window
from hybrid_ml.learning.training import train_base
from hybrid_ml.learning.windows import ANALYSIS_BARS
from hybrid_ml.market.bars import MAX_GAP_MINUTES, VALUE_COLUMNS
from hybrid_ml.schemas.reports import Analysis, AnalysisReport
from hybrid_ml.schemas.requests import AnalysisRequest
from hybrid_ml.store import binary_copy
from hybrid_ml.store import model_registry as registry
from hybrid_ml.store.bars import copy_into, store_bars

SYMBOL = "BENCH"
FINE_TUNED, FAST = "with fine-tuning", "fast mode"
TARGET_MS = {FINE_TUNED: 150.0, FAST: 60.0}
TARGET_RATIO = 1.1
MORE_BARS = 7_000
"""Beyond the rows to train on: for the first features, calibration and the hold-out."""
BARS_BETWEEN = 5
UNSEEN_BARS = 300
"""Bars between the training and the first analysis, so that recent accuracy can be judged at once."""
CHUNK_ROWS = 250_000

WHOLE = "analyse"
"""The task that calls the others: its time is theirs."""
Stages = dict[str, float]


@dataclass(frozen=True)
class Done:
    """The work on a symbol, done."""

    symbol: str
    outcome: Any

    def result(self) -> Any:
        return self.outcome


def main() -> None:
    parser = options(__doc__, smallest={"rows": 2_000, "few_bars": 0, "bars": 6_000, "cycles": 1})
    parser.add_argument("--rows", type=int, default=23_000, help="rows the base is trained on")
    parser.add_argument("--few_bars", type=int, default=10_000, help="bars in the small database")
    parser.add_argument("--bars", type=int, default=5_000_000, help="bars in the large database")
    parser.add_argument("--cycles", type=int, default=30, help="analyses of each kind")
    chosen = parser.parse_args()
    judged = 2 * chosen.cycles * BARS_BETWEEN
    bars = some_bars(chosen.rows + MORE_BARS + judged, chosen.csv_path)
    few = max(chosen.few_bars, ANALYSIS_BARS + judged)
    if chosen.bars <= few:
        parser.error(f"--bars {chosen.bars}: the large database must hold more than {few} bars")
    cross_check(few + UNSEEN_BARS < len(bars), f"{len(bars):,} bars are enough to train on and to judge")
    show_progress(f"training on {chosen.rows:,} rows")
    model = trained(bars.iloc[: -judged - UNSEEN_BARS], chosen.rows)
    stores = {few: TemporaryStore.make(), chosen.bars: TemporaryStore.make()}
    accept_every_accuracy()
    for count, store in stores.items():
        show_progress(f"filling a database with {count:,} bars")
        fill(store.use(), bars, few, count, model)
        store.checkpoint()

    times: dict[tuple[int, str], list[Stages]] = {(count, mode): [] for count in stores for mode in TARGET_MS}
    fell_back = 0
    measured = without_prefect()
    show_progress(f"{chosen.cycles} analyses of each of four kinds")
    moments = [moment.to_pydatetime() for moment in bars["time"].iloc[-judged::BARS_BETWEEN]]
    for place, moment in enumerate(moments):
        mode = (FINE_TUNED, FAST)[place % 2]
        answers = []
        for count in list(stores)[:: 1 if place // 2 % 2 else -1]:
            stores[count].use()
            analysis, stages = measured(moment + timedelta(minutes=1), mode == FAST)
            answers.append(analysis.probabilities)
            if analysis.fell_back:
                fell_back += 1
            else:
                times[count, mode].append(stages)
        same = fell_back > 0 or answers[0] == answers[1]
        cross_check(same, f"both databases give the same answer at {moment}")
    for store in stores.values():
        written = counted(store.use(), "predictions")
        cross_check(written == len(moments), f"{written} of {len(moments)} predictions were written")
    summarised(times, few, chosen.bars, fell_back).show(as_json=chosen.json)


def summarised(times: dict[tuple[int, str], list[Stages]], few: int, many: int, fell_back: int) -> Report:
    """Medians and ratios, and the stages of both modes in the small database."""
    report = Report(f"analysis: one thread, {few:,} and {many:,} bars, {len(times[few, FAST])} analyses of each kind")
    for mode, target in TARGET_MS.items():
        total = {
            count: statistics.median(sum(stages.values()) for stages in times[count, mode]) for count in (few, many)
        }
        report.add(f"{mode}, {few:,} bars", total[few] * 1000, "ms", target)
        report.add(f"{mode}, {many:,} bars", total[many] * 1000, "ms", target)
        report.add(f"{mode}, ratio of both", total[many] / total[few], "x", TARGET_RATIO)
    if fell_back:
        report.add("fell back and were left out", fell_back, "")
    names = list(dict.fromkeys(name for stages in times[few, FINE_TUNED] + times[few, FAST] for name in stages))
    report.tables[f"stages, median ms, {few:,} bars"] = [
        {"stage": name, **{mode: stage_ms(times[few, mode], name) for mode in TARGET_MS}} for name in names
    ]
    return report


def stage_ms(runs: list[Stages], name: str) -> float:
    return statistics.median(stages.get(name, 0.0) for stages in runs) * 1000


class InTurn:
    """Workers that do each symbol's work when it is submitted."""

    def start(self, work: Callable[..., Any], symbol: str, **options: Any) -> Done:
        return Done(symbol, work(symbol=symbol, **options))


def without_prefect() -> Callable[[datetime, bool], tuple[Analysis, Stages]]:
    """The flow as a plain function of moment and mode, giving the analysis and the seconds of each stage."""
    stages: Stages = {}
    for module in (flows.analysis, flows.task_runners, flows.weekly_training):
        _unwrap(module, stages)
    for module in (flows.analysis, flows.weekly_training):
        vars(module)["workers"] = lambda *_: nullcontext(InTurn())
    vars(flows.analysis)["report_analysis"] = lambda *_: None
    vars(flows.weekly_training)["report_quality"] = lambda *_: None

    def measured(as_of: datetime, fast_mode: bool) -> tuple[Analysis, Stages]:
        stages.clear()
        request = AnalysisRequest(symbols=[SYMBOL], as_of=as_of, fast_mode=fast_mode, disable_sleep_window=True)
        started = time.perf_counter()
        report = flows.analysis.analysis.fn(request)
        took = time.perf_counter() - started
        if not isinstance(report, AnalysisReport):
            raise SystemExit(f"the analysis at {as_of} failed: {report.message}")
        return report.analyses[0], stages | {"rest": took - sum(stages.values())}

    return measured


def _unwrap(module: ModuleType, stages: Stages) -> None:
    """Put each task's function in the task's place, with a stopwatch around it."""

    def timed(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*given: Any, **named: Any) -> Any:
            started = time.perf_counter()
            try:
                return work(*given, **named)
            finally:
                stages[name] = stages.get(name, 0.0) + time.perf_counter() - started

        return run

    for name, value in list(vars(module).items()):
        if isinstance(value, Task):
            setattr(module, name, value.fn if name == WHOLE else timed(name, value.fn))


def trained(bars: pd.DataFrame, rows: int) -> HybridModel:
    """A base of `rows` rows, on bars older than every analysis."""
    window = make_window(bars, MAX_GAP_MINUTES)
    as_of = bars["time"].iloc[-1].to_pydatetime() + timedelta(minutes=1)
    model, _ = train_base(window.rows, symbol=SYMBOL, kind="base", row_limit=rows, week=0, as_of=as_of, num_threads=1)
    return model


def fill(engine: Engine, bars: pd.DataFrame, few: int, count: int, model: HybridModel) -> None:
    """The newest `few` bars, an older history before them up to `count`, and the model as champion."""
    older = count - few
    values = bars[VALUE_COLUMNS].iloc[:few]
    raw = engine.raw_connection()
    for start in range(0, older, CHUNK_ROWS):
        rows = min(CHUNK_ROWS, older - start)
        first = bars["time"].iloc[-few] - pd.Timedelta(minutes=older - start)
        chunk = values.iloc[np.arange(rows) % few].reset_index(drop=True)
        chunk.insert(0, "time", pd.date_range(first, periods=rows, freq="min", unit="us"))
        raw.cursor().copy_expert(copy_into("bars", chunk), io.BytesIO(binary_copy.encode(SYMBOL, chunk)))
    raw.commit()
    raw.close()
    store_bars(engine, SYMBOL, bars.tail(few))
    with engine.begin() as connection:
        registry.save_base(connection, model, Promotion(True, "benchmark"))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM (ANALYZE) bars"))
    cross_check(counted(engine, "bars") == max(count, few), f"{count:,} bars are in the table")
    engine.dispose()  # a connection that has been in AUTOCOMMIT sends more statements than a fresh one


def counted(engine: Engine, table: str) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


if __name__ == "__main__":
    main()
