"""Replay: cycles a second, judging again, a second process, whether four weeks cost twice two, a year's memory.

Measured on one symbol after its first weekly training, without what a training from scratch costs:
`ReplayedService.cycles` on one core, half a day at a time, with fine-tuning in every cycle and in fast mode;
the same two days on two processes and on one; four weeks against two, weekly trainings of 23,000 rows
included; the peak memory of a process that replays a year, a training of 80,000 rows included. Floor
of a cycle: LightGBM alone looking up the leaves of the ten rows that are new in it. Judging again: the same cycles
from kept answers, with other bounds, a pace and a penalty, against replaying them. How to read it:
50 ms a cycle are 20 cycles a second; two processes at 0.5 of one's time waste nothing, but only on two
cores that have nothing else to do; the share of processor time that stays in the first process (which
decides) says on any machine where more processes stop helping. Cross-checked: two processes answer bit
by bit as one. Where trainings from scratch are frequent (the bar for recent accuracy is raised for that), going on
with the cycles meanwhile stands beside waiting, with as many processes as there are cores: below 1 it gains.
"""

import resource
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from datetime import datetime, timedelta
from itertools import count
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
from common import Report, cross_check, interleaved, options, seconds, show_progress, some_bars

from hybrid_ml.config.settings import MOST_NUM_THREADS, cores
from hybrid_ml.market.bars import MAX_GAP_MINUTES
from hybrid_ml.replay.engine import ReplayedService, train, train_on
from hybrid_ml.replay.executors import SEQUENTIAL, WorkerPool, open_pool
from hybrid_ml.replay.history import Past
from hybrid_ml.replay.kept import KeptWork
from hybrid_ml.replay.memory_store import Trained
from hybrid_ml.schemas.requests import AnalysisRequest

SYMBOL = "BENCH"
CYCLE, WEEK = timedelta(minutes=10), timedelta(weeks=1)
OFTEN_UNDER = 0.6
"""An accuracy that models of the simulated market often miss, with 0.45 they hardly ever do."""
TARGET_MS = {"with fine-tuning": 50.0, "fast mode": 5.0}
MORE_BARS = 6_610
"""Beyond the rows to train on: for the first features, the hold-out and bars without a trade."""
MEBIBYTE = 2**20


class TrainsAtOnce(Executor):
    """Trains in this process, which waits for it; other work goes to `pool`."""

    def __init__(self, pool: Executor) -> None:
        self._pool = pool

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        executor = SEQUENTIAL.executor if function is train_on else self._pool
        return executor.submit(function, *arguments, **named)


def service_of(trained: Trained, num_threads: int = 1, **options: bool | float) -> ReplayedService:
    """A service whose first weekly training was `trained`, never asleep."""
    request = AnalysisRequest(symbols=[SYMBOL], disable_sleep_window=True, **options)
    service = ReplayedService(SYMBOL, request, lambda _: (0, 23_000), num_threads)
    service.weekly(trained)
    return service


def moments(start: datetime, cycles: int, every: timedelta = CYCLE) -> list[datetime]:
    return [start + cycle * every for cycle in range(cycles)]


def cycle_costs(past: Past, start: datetime, trained: Trained, slices: int, length: int, report: Report) -> None:
    """Slices of each kind and of the floor, taking turns."""
    show_progress(f"cycles: {slices} slices of {length} of each kind")
    services = {name: service_of(trained, fast_mode=name == "fast mode") for name in TARGET_MS}
    turns, answered = {name: count() for name in TARGET_MS}, dict.fromkeys(TARGET_MS, 0)
    place = count(past.place(start), 10)

    def cycles(name: str) -> None:
        begins = start + next(turns[name]) * length * CYCLE
        answered[name] += sum(row is not None for row in services[name].cycles(past, moments(begins, length)))

    def floor() -> None:
        for _ in range(length):
            first = next(place)
            trained.model.leaves(past.rows.features[first : first + 10])

    work = {**{name: lambda name=name: cycles(name) for name in TARGET_MS}, "ten rows, LightGBM alone": floor}
    median = interleaved(work, slices)
    cross_check(min(answered.values()) > 0.9 * slices * length, "nearly every cycle was answered")
    for name, target in TARGET_MS.items():
        report.add(f"a cycle {name}", median[name] / length * 1000, "ms", target)
    report.add("ten rows, LightGBM alone", median["ten rows, LightGBM alone"] / length * 1000, "ms")
    report.add("ratio, fast mode", median["fast mode"] / median["ten rows, LightGBM alone"], "x")


def judging_again(past: Past, start: datetime, trained: Trained, cycles: int, report: Report) -> None:
    """The same cycles with other gates: from kept answers, and replayed in full."""
    show_progress(f"judging {cycles} cycles again")
    gates = {"min_confidence": 0.45, "max_entropy": 1.1, "enable_recent_penalty": True, "signals_per_day": 20}
    first = service_of(trained)
    list(first.cycles(past, moments(start, cycles)))
    frames: dict[str, pd.DataFrame] = {}

    def replay(name: str, kept: KeptWork) -> None:
        service = service_of(trained, **gates)
        service.kept = kept
        frames[name] = pd.DataFrame([row for row in service.cycles(past, moments(start, cycles)) if row is not None])

    kept = KeptWork(first.kept.predictions, first.kept.trainings)
    judged = seconds(lambda: replay("judged", kept))
    replayed = seconds(lambda: replay("replayed", KeptWork()))
    cross_check(frames["judged"].equals(frames["replayed"]), "kept answers are judged as replayed ones")
    cross_check(not kept.is_changed, "nothing was computed again")
    report.add("judging a cycle again", judged / cycles * 1000, "ms")
    report.add("judging again against replaying", judged / replayed, "x", 0.05)


def two_processes(past: Past, start: datetime, trained: Trained, cycles: int, repetitions: int, report: Report) -> None:
    """The same cycles on one process and on two that are there already."""
    show_progress(f"two processes against one, {cycles} cycles")
    found: dict[str, pd.DataFrame] = {}
    processor: dict[str, float] = {}

    def run(name: str, pool: WorkerPool, *, fast_mode: bool) -> None:
        began = time.process_time()
        rows = service_of(trained, fast_mode=fast_mode).cycles(past, moments(start, cycles), pool)
        found[name] = pd.DataFrame([row for row in rows if row is not None])
        processor[name] = time.process_time() - began

    with open_pool("processes", 2) as both:
        run("warm", both, fast_mode=True)
        for kind in TARGET_MS:
            fast = kind == "fast mode"
            work = {
                "one": lambda fast=fast: run("one", SEQUENTIAL, fast_mode=fast),
                "two": lambda fast=fast: run("two", both, fast_mode=fast),
            }
            median = interleaved(work, repetitions)
            cross_check(found["one"].equals(found["two"]), "two processes answer bit by bit as one")
            report.add(f"two processes against one, {kind}", median["two"] / median["one"], "x", 0.6)
            report.add("  share that stays in the first process", processor["two"] / processor["one"], "x", 0.05)


def trainings_beside_cycles(past: Past, start: datetime, trained: Trained, cycles: int, report: Report) -> None:
    """`cycles` cycles with a training from scratch every few hours: beside the cycles, and before they go on."""
    frames: dict[str, pd.DataFrame] = {}
    processes = max(2, cores())
    threads = min(processes, MOST_NUM_THREADS)

    def replay(name: str, pool: WorkerPool) -> None:
        rows = service_of(trained, num_threads=threads).cycles(past, moments(start, cycles), pool)
        frames[name] = pd.DataFrame([row for row in rows if row is not None])

    with open_pool("processes", processes) as pool:
        list(pool.map_in_order(divmod, [(1, 1)] * 2 * processes))  # the processes are there
        waiting = WorkerPool(TrainsAtOnce(pool.executor), pool.in_flight)
        work = {"beside": lambda: replay("beside", pool), "waiting": lambda: replay("waiting", waiting)}
        median = interleaved(work, 2)
    cross_check(frames["beside"].equals(frames["waiting"]), "when trainings are done makes no difference")
    report.add(f"trainings from scratch in {cycles} cycles", float(frames["beside"]["fell_back"].sum()), "")
    report.add("  going on meanwhile against waiting", median["beside"] / median["waiting"], "x")


def linearity(past: Past, start: datetime, weeks: int, rows: int, every: timedelta, report: Report) -> None:
    """Twice as many weeks against `weeks`, a training of the same size every week."""

    def replay(number: int) -> None:
        service = ReplayedService(
            SYMBOL, AnalysisRequest(symbols=[SYMBOL], disable_sleep_window=True), lambda _: (0, rows), 1
        )
        for week in range(number):
            show_progress(f"linear: week {week + 1} of {number}")
            begins = start + week * WEEK
            service.weekly(train(past, SYMBOL, "base", begins, 0, rows, 1))
            answers = list(service.cycles(past, moments(begins, WEEK // every, every)))
            cross_check(any(answers), "a week has answers")

    replay(1)
    once, twice = seconds(lambda: replay(weeks)), seconds(lambda: replay(2 * weeks))
    report.add(f"{2 * weeks} weeks against {weeks}", twice / once, "x", 2.2)


def replay_a_year(rows: int, bars: int, last_rows: int) -> None:
    """A cycle a day over a year of bars, and a training of the full size; prints the peak, bytes."""
    past = Past(some_bars(bars, None), MAX_GAP_MINUTES)
    start = past.bars["time"].iloc[rows + 7_000].ceil("D").to_pydatetime()
    service = service_of(train(past, SYMBOL, "base", start, 0, rows, 1))
    ends = past.bars["time"].iloc[-1].to_pydatetime()
    answers = list(service.cycles(past, moments(start, (ends - start) // timedelta(days=1), timedelta(days=1))))
    service.weekly(train(past, SYMBOL, "base", ends, 6, last_rows, 1))
    cross_check(np.mean([row is not None for row in answers]) > 0.9, "nearly every day was answered")
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def main() -> None:
    smallest = {
        **{"slices": 1, "slice_cycles": 6, "repetitions": 1, "shared_cycles": 6, "rows": 2_000, "threads": 1},
        **{"training_cycles": 6, "weeks": 1, "every_minutes": 5_040, "year_bars": 14_000, "year_rows": 2_000},
    }
    parser = options(__doc__, smallest=smallest)
    parser.add_argument("--slices", type=int, default=7, help="slices of each kind")
    parser.add_argument("--slice_cycles", type=int, default=72, help="cycles of a slice")
    parser.add_argument("--repetitions", type=int, default=3, help="of two processes against one")
    parser.add_argument("--shared_cycles", type=int, default=288, help="cycles on two processes")
    parser.add_argument("--training_cycles", type=int, default=288, help="cycles with trainings from scratch")
    parser.add_argument("--rows", type=int, default=23_000, help="rows of a weekly training")
    parser.add_argument("--threads", type=int, default=2, help="threads of the first training, which is not measured")
    parser.add_argument("--weeks", type=int, default=2, help="twice as many are replayed against these")
    parser.add_argument("--every_minutes", type=int, default=60, help="from one cycle of these weeks to the next")
    parser.add_argument("--year_bars", type=int, default=365 * 1_440)
    parser.add_argument("--year_rows", type=int, default=80_000, help="rows of the training at the end of the year")
    parser.add_argument("--only_memory", action="store_true", help="replay a year in this process, print its peak")
    chosen = parser.parse_args()
    if chosen.only_memory:
        with patch.object(ReplayedService, "_falls_back", lambda *_: False):
            return replay_a_year(chosen.rows, chosen.year_bars, chosen.year_rows)
    ahead = 2 * chosen.weeks * 10_080 + 70
    bars = some_bars(chosen.rows + MORE_BARS + ahead, chosen.csv_path)
    start = bars["time"].iloc[-ahead].floor("10min").to_pydatetime()
    past = Past(bars, MAX_GAP_MINUTES)
    show_progress("training the base")
    trained = train(past, SYMBOL, "base", start, 0, chosen.rows, chosen.threads)
    report = Report(f"replay: {chosen.slices} times {chosen.slice_cycles} cycles of each kind, one thread")
    with patch.object(ReplayedService, "_falls_back", lambda *_: False):
        cycle_costs(past, start, trained, chosen.slices, chosen.slice_cycles, report)
        judging_again(past, start, trained, chosen.shared_cycles, report)
        two_processes(past, start, trained, chosen.shared_cycles, chosen.repetitions, report)
        linearity(past, start, chosen.weeks, chosen.rows, timedelta(minutes=chosen.every_minutes), report)
    with (
        patch("hybrid_ml.learning.fallback.MINIMUM_RECENT_ACCURACY", OFTEN_UNDER),
    ):
        show_progress("cycles with trainings from scratch")
        trainings_beside_cycles(past, start, trained, chosen.training_cycles, report)
    show_progress("replaying a year for its peak memory")
    sizes = [f"--{name}={vars(chosen)[name]}" for name in ("rows", "year_bars", "year_rows")]
    command = [sys.executable, __file__, "--only_memory", *sizes]
    year = subprocess.run(command, check=True, capture_output=True, text=True)
    report.add("peak memory of a year", int(year.stdout) / MEBIBYTE, "MiB", 2_048)
    report.show(as_json=chosen.json)
    return None


if __name__ == "__main__":
    main()
