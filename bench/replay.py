"""Replay: cycles a second, what a second process brings, whether four weeks cost twice two, a year's memory.

Measured on one symbol after its first weekly training, without what a training from scratch costs:
`Service.cycles` on one core, half a day at a time, with fine-tuning in every cycle and in fast mode;
the same two days on two processes and on one; four weeks against two, weekly trainings of 23,000 rows
included; the peak memory of a process that replays a year, a training of 80,000 rows included. Floor
of a cycle: LightGBM alone looking up the leaves of the ten rows that are new in it. How to read it:
50 ms a cycle are 20 cycles a second; two processes at 0.5 of one's time waste nothing, but only on two
cores that have nothing else to do; the share of processor time that stays in the first process (which
decides) says on any machine where more processes stop helping. Cross-checked: two processes answer bit
by bit as one.
"""

import resource
import subprocess
import sys
import time
from datetime import datetime, timedelta
from itertools import count
from unittest.mock import patch

import numpy as np
import pandas as pd
from common import Report, cross_check, interleaved, options, seconds, some_bars

from hybrid_ml.market.bars import MAX_GAP_MINUTES
from hybrid_ml.replay.engine import Service, train
from hybrid_ml.replay.executors import IN_TURN, Spread, spread_over
from hybrid_ml.replay.history import Past
from hybrid_ml.replay.memory_store import Trained
from hybrid_ml.schemas.requests import AnalysisRequest

SYMBOL = "BENCH"
CYCLE, WEEK = timedelta(minutes=10), timedelta(weeks=1)
SLICE = 72
TWO_DAYS = 288
LINEAR_CYCLE = timedelta(hours=1)
TARGET_MS = {"with fine-tuning": 50.0, "fast mode": 5.0}
YEAR_BARS = 365 * 1_440
MEBIBYTE = 2**20


def service_of(trained: Trained, **asked: bool) -> Service:
    """A service whose first weekly training was `trained`, never asleep."""
    request = AnalysisRequest(symbols=[SYMBOL], disable_sleep_window=True, **asked)
    service = Service(SYMBOL, request, lambda _: (0, 23_000), 1)
    service.weekly(trained)
    return service


def moments(start: datetime, cycles: int, every: timedelta = CYCLE) -> list[datetime]:
    return [start + cycle * every for cycle in range(cycles)]


def cycle_costs(past: Past, start: datetime, trained: Trained, slices: int, report: Report) -> None:
    """Half-day slices of each kind and of the floor, taking turns."""
    services = {name: service_of(trained, fast_mode=name == "fast mode") for name in TARGET_MS}
    turns, answered = {name: count() for name in TARGET_MS}, dict.fromkeys(TARGET_MS, 0)
    place = count(past.place(start), 10)

    def cycles(name: str) -> None:
        begins = start + next(turns[name]) * SLICE * CYCLE
        answered[name] += sum(row is not None for row in services[name].cycles(past, moments(begins, SLICE)))

    def floor() -> None:
        for _ in range(SLICE):
            first = next(place)
            trained.model.leaves(past.rows.features[first : first + 10])

    work = {**{name: lambda name=name: cycles(name) for name in TARGET_MS}, "ten rows, LightGBM alone": floor}
    median = interleaved(work, slices)
    cross_check(min(answered.values()) > 0.9 * slices * SLICE, "nearly every cycle was answered")
    for name, target in TARGET_MS.items():
        report.add(f"a cycle {name}", median[name] / SLICE * 1000, "ms", target)
    report.add("ten rows, LightGBM alone", median["ten rows, LightGBM alone"] / SLICE * 1000, "ms")
    report.add("ratio, fast mode", median["fast mode"] / median["ten rows, LightGBM alone"], "x")


def two_processes(past: Past, start: datetime, trained: Trained, report: Report) -> None:
    """The same two days on one process and on two that are there already."""
    found: dict[str, pd.DataFrame] = {}
    processor: dict[str, float] = {}

    def two_days(name: str, spread: Spread, *, fast_mode: bool) -> None:
        began = time.process_time()
        rows = service_of(trained, fast_mode=fast_mode).cycles(past, moments(start, TWO_DAYS), spread)
        found[name] = pd.DataFrame([row for row in rows if row is not None])
        processor[name] = time.process_time() - began

    with spread_over("processes", 2) as both:
        two_days("warm", both, fast_mode=True)
        for kind in TARGET_MS:
            fast = kind == "fast mode"
            work = {
                "one": lambda fast=fast: two_days("one", IN_TURN, fast_mode=fast),
                "two": lambda fast=fast: two_days("two", both, fast_mode=fast),
            }
            median = interleaved(work, 3)
            cross_check(found["one"].equals(found["two"]), "two processes answer bit by bit as one")
            report.add(f"two processes against one, {kind}", median["two"] / median["one"], "x", 0.6)
            report.add("  share that stays in the first process", processor["two"] / processor["one"], "x", 0.05)


def linearity(past: Past, start: datetime, report: Report) -> None:
    """Four weeks against two, a cycle an hour, a training of the same size every week."""

    def weeks(number: int) -> None:
        service = Service(SYMBOL, AnalysisRequest(symbols=[SYMBOL]), lambda _: (0, 23_000), 1)
        for week in range(number):
            begins = start + week * WEEK
            service.weekly(train(past, SYMBOL, "base", begins, 0, 23_000, 1))
            answers = list(service.cycles(past, moments(begins, WEEK // LINEAR_CYCLE, LINEAR_CYCLE)))
            cross_check(any(answers), "a week has answers")

    weeks(1)
    two, four = seconds(lambda: weeks(2)), seconds(lambda: weeks(4))
    report.add("four weeks against two", four / two, "x", 2.2)


def replay_a_year() -> None:
    """A cycle a day over a year of bars, and a training of 80,000 rows; prints the peak, bytes."""
    past = Past(some_bars(YEAR_BARS, None), MAX_GAP_MINUTES)
    start = past.bars["time"].iloc[30_000].ceil("D").to_pydatetime()
    service = service_of(train(past, SYMBOL, "base", start, 0, 23_000, 1))
    ends = past.bars["time"].iloc[-1].to_pydatetime()
    answers = list(service.cycles(past, moments(start, (ends - start) // timedelta(days=1), timedelta(days=1))))
    service.weekly(train(past, SYMBOL, "base", ends, 6, 80_000, 1))
    cross_check(np.mean([row is not None for row in answers]) > 0.9, "nearly every day was answered")
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--slices", type=int, default=7, help="slices of half a day of each kind")
    parser.add_argument("--only_memory", action="store_true", help="replay a year in this process, print its peak")
    chosen = parser.parse_args()
    if chosen.only_memory:
        with patch.object(Service, "_falls_back", lambda *_: False):
            return replay_a_year()
    bars = some_bars(70_000, chosen.csv_path)
    start = bars["time"].iloc[-4 * 10_080 - 70].floor("10min").to_pydatetime()
    past = Past(bars, MAX_GAP_MINUTES)
    trained = train(past, SYMBOL, "base", start, 0, 23_000, 2)
    report = Report(f"replay: {chosen.slices} times {SLICE} cycles of each kind, one thread")
    with patch.object(Service, "_falls_back", lambda *_: False):
        cycle_costs(past, start, trained, chosen.slices, report)
        two_processes(past, start, trained, report)
        linearity(past, start, report)
    command = [sys.executable, __file__, "--only_memory"]
    year = subprocess.run(command, check=True, capture_output=True, text=True)
    report.add("peak memory of a year", int(year.stdout) / MEBIBYTE, "MiB", 2_048)
    report.show(as_json=chosen.json)
    return None


if __name__ == "__main__":
    main()
