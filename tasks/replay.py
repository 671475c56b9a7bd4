"""Replay: a symbol's past bars, its weekly models, its weeks, and the comparison methods on the same bars."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from functools import partial
from itertools import groupby
from typing import Any

import pandas as pd

from hybrid_ml.config.settings import cores, load_settings
from hybrid_ml.console.progress import progress
from hybrid_ml.learning.leader_choice import refuse_absent
from hybrid_ml.learning.rows import Rows
from hybrid_ml.learning.scaling import WEEK, row_limit
from hybrid_ml.market.bars import closed_before
from hybrid_ml.pipeline.leader_bars import READER
from hybrid_ml.pipeline.run import Run
from hybrid_ml.replay import baselines
from hybrid_ml.replay.checkpoints import ReplayFolder
from hybrid_ml.replay.engine import ReplayedService, train_on, training
from hybrid_ml.replay.executors import WorkerPool, open_pool
from hybrid_ml.replay.fingerprints import week_fingerprints
from hybrid_ml.replay.history import Past
from hybrid_ml.replay.memory_store import Trained
from hybrid_ml.replay.replayed_weeks import ReplayedWeek, replayed_week
from hybrid_ml.replay.setup import (
    ends_within_last_week,
    folder_name,
    make_manifest,
    new_service,
    refuse_too_few_rows,
    refuse_weeks_without_bars,
)
from hybrid_ml.replay.worker_count import choose_workers, free_memory
from hybrid_ml.schemas.requests import ReplayRequest
from hybrid_ml.store import bars as stored_bars
from hybrid_ml.text.counts import counted
from tasks.files import read_bars_of
from tasks.load import candidates
from tasks.pipeline_task import database, log, pipeline_task

MOST_BARS = 10_000_000


@pipeline_task("load past {symbol}", timeout_seconds=600, uses_io=True)
def load_past(symbol: str, run: Run, request: ReplayRequest) -> Past:
    """Every bar up to the end of the replay, with features computed once."""
    until = min(closed_before(run.as_of), request.start + request.weeks * WEEK + timedelta(hours=1))
    if run.source == "csv":
        bars = read_bars_of(run.csv_path).bars
        bars = bars[bars["time"] <= pd.Timestamp(until)].reset_index(drop=True)
    else:
        with database().connect() as connection:
            stored_bars.bar_span(connection, symbol)
            bars = stored_bars.recent_bars(connection, symbol, until, MOST_BARS)
    refuse_weeks_without_bars(symbol, request, bars)
    last = bars["time"].iloc[-1]
    if ends_within_last_week(request, bars):
        log().warning("%s: the bars end at %s, before week %d does", symbol, last, request.weeks - 1)
    leaders = READER.read(database(), run, candidates(symbol, run, request.start), _first_bar(run, bars))
    refuse_absent(symbol, run.leader_wishes.of(symbol) or (), leaders)
    past = Past(bars, run.max_gap_minutes, run.sessions_of(symbol), leaders)
    refuse_too_few_rows(symbol, request, past)
    log().info("%s: %s until %s", symbol, counted(len(bars), "bar"), last)
    return past


def _first_bar(run: Run, bars: pd.DataFrame) -> datetime:
    """The first of `bars`, or of another symbol of `run`: a leader is read once for all that may follow it."""
    firsts: list[datetime] = [bars["time"].iloc[0].to_pydatetime()]
    if run.source == "db":
        with database().connect() as connection:
            firsts += [stored_bars.bar_span(connection, symbol).first for symbol in run.symbols]
    return min(firsts)


@pipeline_task("open replay {symbol}", timeout_seconds=60)
def open_folder(symbol: str, run: Run, request: ReplayRequest, past: Past) -> ReplayFolder:
    """The folder of finished weeks; refused where they belong to another replay or to other bars."""
    manifest = make_manifest(symbol, run, request, past)
    place = request.work_path or load_settings().data_dir / "replay" / folder_name(request, manifest)
    folder = ReplayFolder(place, manifest, week_fingerprints(past, request.start, request.weeks, manifest))
    folder.refuse_changed(request.start)
    finished = folder.finished()
    if finished >= request.weeks:
        log().info("%s: every week is kept in %s and judged from there", symbol, place)
    elif finished:
        log().info("%s: continuing after week %d, kept in %s", symbol, finished - 1, place)
    return folder


def open_executor(request: ReplayRequest) -> AbstractContextManager[WorkerPool]:
    """The executor of the replay; more processes than cores would only slow each other down."""
    settings, workers = load_settings(), min(request.workers, cores())
    address = request.dask_address or settings.hybrid_ml_dask_address
    if request.runner == "dask" and address:
        return open_pool(request.runner, workers, address)
    if request.workers == 0:
        workers, reason = choose_workers(cores(), request.weeks, request.cycle_minutes, free_memory())
        log().info("--workers auto: %d, for %s", workers, reason)
    elif workers < request.workers:
        log().warning("--workers %d is more than the cores here; it uses %d", request.workers, workers)
    return open_pool(request.runner, workers, address)


def replay_weeks(
    symbol: str, run: Run, request: ReplayRequest, past: Past, folder: ReplayFolder, pool: WorkerPool
) -> list[ReplayedWeek]:
    """Replay every week in order, from what is kept of its models where that is there."""
    service = new_service(symbol, run, request)
    missing = [week for week in range(request.weeks) if not folder.is_kept(week)]

    def pieces() -> Iterator[tuple[Rows, dict[str, Any], int]]:
        for week in missing:
            yield weekly_training(request.start + week * WEEK, past, service)

    trained = pool.map_in_order(train_on, pieces())
    weeks = []
    for week in range(request.weeks):
        ready = next(trained) if week in missing else None
        weeks.append(replay_week(symbol, week, request, past, service, folder, ready, pool))
    return weeks


def weekly_training(begins: datetime, past: Past, service: ReplayedService) -> tuple[Rows, dict[str, Any], int]:
    """The arguments of `train_on` for the week from `begins`."""
    piece = training(past, service.symbol, "base", begins, *service.scaling(begins), service.recipe)
    return (*piece, service.num_threads)


@pipeline_task("replay week {week} {symbol}", timeout_seconds=24 * 3_600)
def replay_week(
    symbol: str,
    week: int,
    request: ReplayRequest,
    past: Past,
    service: ReplayedService,
    folder: ReplayFolder,
    trained: Trained | None,
    pool: WorkerPool,
) -> ReplayedWeek:
    """One week: the weekly training's decision, then every cycle; what models computed is kept once it is complete.

    `trained`: the weekly training; None where its decision is kept.
    """
    begins, was_kept = request.start + week * WEEK, trained is None
    service.kept = folder.open_week(week)
    replaced, kept = service.registry.replaced, service.registry.kept
    log().info("%s: week %d, %s", symbol, week, _weekly_decision(begins, past, service, trained))
    cycle = timedelta(minutes=request.cycle_minutes)
    moments = [begins + number * cycle for number in range(int(WEEK / cycle))]
    rows, words = [], f"{symbol}: week {week + 1} of {request.weeks}, cycles"
    with progress(words, len(moments), partial(log().info, "%s")) as advance:
        for row in service.cycles(past, moments, pool):
            rows += [row] if row is not None else []
            advance(1)
    if not was_kept or service.kept.is_changed:
        folder.keep(week, service.kept)
    if was_kept and service.kept.is_changed:
        log().info("%s: week %d, not kept and therefore computed: %s", symbol, week, service.kept.format_added())
    counts = {"replaced": service.registry.replaced - replaced, "kept": service.registry.kept - kept}
    return replayed_week(week, rows, service.registry.version, counts)


def _weekly_decision(begins: datetime, past: Past, service: ReplayedService, trained: Trained | None) -> str:
    """Why the weekly training's base serves, or does not; it is done again where another champion met it before."""
    judged = service.repeat_weekly(begins)
    if judged is not None:
        return judged.reason
    return service.weekly(trained or train_on(*weekly_training(begins, past, service))).reason


@pipeline_task("replay rivals {symbol}", timeout_seconds=7 * 24 * 3_600)
def replay_rivals(
    symbol: str,
    run: Run,
    request: ReplayRequest,
    past: Past,
    folder: ReplayFolder,
    weeks: list[ReplayedWeek],
    pool: WorkerPool,
) -> None:
    """The comparison methods on the replayed weeks; kept week by week, and computed once."""
    makers = {"rivals": baselines.row_limit_pieces} | (
        {"baselines": baselines.baseline_pieces} if request.baselines else {}
    )
    todo = [(week.number, part) for week in weeks for part in makers if not folder.has_rivals(week, part)]

    def replayed(number: int) -> baselines.Week:
        return _compared_week(symbol, run, request, folder, weeks[number])

    def pieces() -> Iterator[tuple[baselines.BaselineTask]]:
        for number, part in todo:
            week = replayed(number)
            found = list(makers[part](past, week)) if len(week.answers) else []
            yield from ((piece,) for piece in found)
            if not found:
                log().info("%s: week %d has no %s: too few rows before it, or no answer", symbol, number, part)
                folder.keep_rivals(weeks[number], part, baselines.empty_frame())

    with progress(f"{symbol}: comparison methods", len(todo), partial(log().info, "%s")) as advance:
        answered = groupby(pool.map_in_order(baselines.answer, pieces()), key=lambda item: (item.week, item.part))
        for (number, part), found in answered:
            folder.keep_rivals(weeks[number], part, baselines.frame(replayed(number), found))
            advance(1)


def _compared_week(
    symbol: str, run: Run, request: ReplayRequest, folder: ReplayFolder, week: ReplayedWeek
) -> baselines.Week:
    return baselines.Week(
        number=week.number,
        begins=request.start + week.number * WEEK,
        row_limit=row_limit(request.first_week + week.number),
        answers=week.first_answers,
        champion=folder.champion(week, symbol),
        num_threads=run.training_threads,
    )
