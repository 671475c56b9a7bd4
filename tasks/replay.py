"""Replay: the past of a symbol, its weekly models, its weeks, and what they were worth."""

from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from multiprocessing import get_context
from typing import Any

import pandas as pd

from hybrid_ml.console import progress
from hybrid_ml.errors import DataUnavailable
from hybrid_ml.learning.scaling import row_limit
from hybrid_ml.market.sources import read_bar_file
from hybrid_ml.replay.engine import Service, Trained, train
from hybrid_ml.replay.folder import ReplayFolder, fingerprint
from hybrid_ml.replay.past import Past
from hybrid_ml.requests import AnalysisRequest, ReplayRequest
from hybrid_ml.run import Run
from hybrid_ml.settings import load_settings
from hybrid_ml.store import bars as stored_bars
from tasks.stage import database, log, stage

WEEK = timedelta(weeks=1)
MOST_BARS = 10_000_000
NOT_ABOUT_ANSWERS = {
    "weeks", "workers", "work_path", "predictions_path", "report_path", "advise", "wanted_precision", "fee_bps",
    "csv_path", "symbols", "as_of", "source",
}  # fmt: skip


@stage("load past {symbol}", timeout_seconds=600, outside=True)
def load_past(symbol: str, run: Run, request: ReplayRequest) -> Past:
    """Every bar up to the end of the replay, with features made once."""
    until = min(run.as_of, request.start + request.weeks * WEEK + timedelta(hours=1))
    if run.source == "csv":
        bars = read_bar_file(run.csv_path).bars
        bars = bars[bars["time"] <= pd.Timestamp(until)].reset_index(drop=True)
    else:
        with database().connect() as connection:
            stored_bars.bar_span(connection, symbol)
            bars = stored_bars.recent_bars(connection, symbol, until, MOST_BARS)
    if bars.empty or bars["time"].iloc[0] >= pd.Timestamp(request.start):
        first = "there is none" if bars.empty else f"the first is of {bars['time'].iloc[0]:%Y-%m-%d %H:%M}"
        raise DataUnavailable(
            f"{symbol} has no bars before --start {request.start:%Y-%m-%dT%H:%M} ({first}); choose a later start"
        )
    past = Past(bars, run.max_gap_minutes)
    log().info("%s: %s bars until %s", symbol, f"{len(bars):,}", bars["time"].iloc[-1])
    return past


@stage("open replay {symbol}", timeout_seconds=60)
def open_folder(symbol: str, run: Run, request: ReplayRequest, past: Past) -> ReplayFolder:
    """The folder of finished weeks; refused when they are of another replay."""
    asked = {name: str(value) for name, value in request.model_dump(exclude=NOT_ABOUT_ANSWERS).items()}
    # Bars of weeks to come may be added between two runs; those of the first training may not change.
    before = past.newest_bars(request.start, MOST_BARS)
    manifest = {**asked, "symbol": symbol, "threads": run.training_threads, "bars": fingerprint(before)}
    name = f"{symbol}-{request.start:%Y%m%dT%H%M}-{fingerprint(pd.DataFrame({'asked': [str(manifest)]}))[:8]}"
    place = request.work_path or load_settings().data_dir / "replay" / name.replace("/", "_")
    folder = ReplayFolder(place, manifest)
    if folder.finished():
        log().info("%s: going on after week %d, kept in %s", symbol, folder.finished() - 1, place)
    return folder


@contextmanager
def weekly_models(symbol: str, run: Run, request: ReplayRequest, past: Past, first: int) -> Iterator[Any]:
    """Give a function from week to its trained base; with several workers they are trained ahead, side by side."""
    weeks = range(first, request.weeks)
    if request.workers == 1:
        yield lambda week: _train(past, symbol, request.start, week, run.training_threads)
        return
    with ProcessPoolExecutor(request.workers, mp_context=get_context("spawn")) as pool:
        pending: dict[int, Future[Trained]] = {
            week: pool.submit(
                _train_alone,
                past.newest_bars(request.start + week * WEEK, _bars_needed(week)),
                past.max_gap_minutes,
                symbol,
                request.start,
                week,
                run.training_threads,
            )
            for week in weeks
        }
        try:
            yield lambda week: pending.pop(week).result()
        finally:
            pool.shutdown(cancel_futures=True)


def _bars_needed(week: int) -> int:
    return 4 * row_limit(week)


def _train_alone(bars: pd.DataFrame, gap: int, symbol: str, start: datetime, week: int, threads: int) -> Trained:
    return _train(Past(bars, gap), symbol, start, week, threads)


def _train(past: Past, symbol: str, start: datetime, week: int, threads: int) -> Trained:
    return train(past, symbol, "base", start + week * WEEK, week, row_limit(week), threads)


@stage("replay week {week} {symbol}", timeout_seconds=24 * 3_600)
def replay_week(
    symbol: str,
    week: int,
    request: ReplayRequest,
    past: Past,
    service: Service,
    folder: ReplayFolder,
    trained: Trained,
) -> int:
    """One week: the weekly training's decision, then every cycle; kept when it is whole."""
    begins = request.start + week * WEEK
    promotion = service.weekly(trained)
    log().info("%s: week %d, %s", symbol, week, promotion.reason)
    rows = []
    cycles = int(WEEK / timedelta(minutes=request.cycle_minutes))
    with progress(f"week {week + 1} of {request.weeks}", cycles) as advance:
        for cycle in range(cycles):
            row = service.cycle(past, begins + cycle * timedelta(minutes=request.cycle_minutes))
            rows += [row] if row is not None else []
            advance(1)
    folder.keep(week, rows, service)
    return len(rows)


def new_service(symbol: str, run: Run, request: ReplayRequest) -> Service:
    """A service that has not seen anything yet."""

    def scaling(now: datetime) -> tuple[int, int]:
        week = (now - request.start) // WEEK
        return week, row_limit(week)

    asked = AnalysisRequest(**request.model_dump(include=set(AnalysisRequest.model_fields) - {"as_of"}))
    return Service(symbol, asked, scaling, run.training_threads)
