"""Replay: the past of a symbol, its weekly models, its weeks, and what else could have answered them."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from functools import partial
from itertools import groupby

import pandas as pd

from hybrid_ml.config.settings import cores, load_settings
from hybrid_ml.console.run_tables import progress
from hybrid_ml.errors import BadInput, DataUnavailable
from hybrid_ml.learning.scaling import FEWEST_LABELLED_ROWS, WEEK, row_limit
from hybrid_ml.market.bars import closed_before
from hybrid_ml.pipeline.context import Run
from hybrid_ml.replay import baselines
from hybrid_ml.replay.checkpoints import ReplayFolder, fingerprint, week_fingerprint
from hybrid_ml.replay.engine import Service, train_on, training
from hybrid_ml.replay.executors import Spread, spread_over
from hybrid_ml.replay.history import Past
from hybrid_ml.replay.memory_store import Trained
from hybrid_ml.schemas.requests import AnalysisRequest, ReplayRequest
from hybrid_ml.store import bars as stored_bars
from hybrid_ml.text.counts import counted
from tasks.files import read_bars_of
from tasks.pipeline_task import database, log, pipeline_task

MOST_BARS = 10_000_000
NOT_ABOUT_ANSWERS = {
    "weeks", "workers", "runner", "dask_address", "baselines", "work_path", "predictions_path", "report_path", "advise",
    "wanted_precision", "fee_bps", "csv_path", "symbols", "as_of", "source",
}  # fmt: skip


@pipeline_task("load past {symbol}", timeout_seconds=600, uses_io=True)
def load_past(symbol: str, run: Run, request: ReplayRequest) -> Past:
    """Every bar up to the end of the replay, with features made once."""
    until = min(closed_before(run.as_of), request.start + request.weeks * WEEK + timedelta(hours=1))
    if run.source == "csv":
        bars = read_bars_of(run.csv_path).bars
        bars = bars[bars["time"] <= pd.Timestamp(until)].reset_index(drop=True)
    else:
        with database().connect() as connection:
            stored_bars.bar_span(connection, symbol)
            bars = stored_bars.recent_bars(connection, symbol, until, MOST_BARS)
    _refuse_weeks_without_bars(symbol, request, bars)
    past = Past(bars, run.max_gap_minutes)
    labelled = len(past.labelled_rows(request.start, FEWEST_LABELLED_ROWS))
    if labelled < FEWEST_LABELLED_ROWS:
        raise DataUnavailable(
            f"{symbol} has {counted(labelled, 'labelled row')} before --start {request.start:%Y-%m-%dT%H:%M}, and a "
            f"training takes {FEWEST_LABELLED_ROWS:,} at least; choose a later start, or load older bars"
        )
    log().info("%s: %s until %s", symbol, counted(len(bars), "bar"), bars["time"].iloc[-1])
    return past


def _refuse_weeks_without_bars(symbol: str, request: ReplayRequest, bars: pd.DataFrame) -> None:
    """Raise DataUnavailable for a start before the bars or after them, BadInput for weeks that begin after them."""
    start = f"--start {request.start:%Y-%m-%dT%H:%M}"
    if bars.empty or bars["time"].iloc[0] >= pd.Timestamp(request.start):
        first = "there is none" if bars.empty else f"the first is of {bars['time'].iloc[0]:%Y-%m-%d %H:%M}"
        raise DataUnavailable(f"{symbol} has no bars before {start} ({first}); choose a later start")
    last = bars["time"].iloc[-1]
    if last < pd.Timestamp(request.start):
        raise DataUnavailable(f"{symbol} has no bars from {start} on (the last is of {last:%Y-%m-%d %H:%M}); "
                              "choose an earlier start")  # fmt: skip
    weeks = (last - pd.Timestamp(request.start)) // WEEK + 1
    if weeks < request.weeks:
        raise BadInput(
            f"--weeks {request.weeks} is beyond the bars of {symbol}, the last of which is of {last:%Y-%m-%d %H:%M}; "
            f"from {start} on they reach into {counted(weeks, 'week')}: --weeks {weeks}"
        )
    ends = pd.Timestamp(request.start + request.weeks * WEEK)
    if last < ends - timedelta(days=3):  # a weekend is no end
        log().warning("%s: the bars end at %s, before week %d does", symbol, last, request.weeks - 1)


@pipeline_task("open replay {symbol}", timeout_seconds=60)
def open_folder(symbol: str, run: Run, request: ReplayRequest, past: Past) -> ReplayFolder:
    """The folder of finished weeks; refused when they are of another replay, or of other bars."""
    requested = {name: str(value) for name, value in request.model_dump(exclude=NOT_ABOUT_ANSWERS).items()}
    # Bars of weeks to come may be added between two runs; those of the first training may not change.
    before = past.newest_bars(request.start, MOST_BARS)
    manifest = {**requested, "symbol": symbol, "threads": run.training_threads, "bars": fingerprint(before)}
    manifest["max_gap_minutes"] = run.max_gap_minutes
    name = f"{symbol}-{request.start:%Y%m%dT%H%M}-{fingerprint(pd.DataFrame({'asked': [str(manifest)]}))[:8]}"
    place = request.work_path or load_settings().data_dir / "replay" / name.replace("/", "_")
    folder = ReplayFolder(place, manifest)
    folder.refuse_changed(past, request.start, request.weeks)
    if folder.finished():
        log().info("%s: going on after week %d, kept in %s", symbol, folder.finished() - 1, place)
    return folder


def open_spread(request: ReplayRequest) -> AbstractContextManager[Spread]:
    """Where the work goes; more processes than cores would only be in each other's way."""
    settings, workers = load_settings(), min(request.workers, cores())
    address = request.dask_address or settings.hybrid_ml_dask_address
    if workers < request.workers and not (request.runner == "dask" and address):
        log().warning("--workers %d is more than the cores here; it uses %d", request.workers, workers)
    return spread_over(request.runner, workers, address)


def replay_weeks(
    symbol: str, run: Run, request: ReplayRequest, past: Past, folder: ReplayFolder, spread: Spread
) -> Service:
    """Every week that is not finished yet, and the service after the last one."""
    service, first = new_service(symbol, run, request), min(folder.finished(), request.weeks)
    if first:
        folder.restore(first - 1, service)

    def trainings() -> Iterator[tuple[object, ...]]:
        for week in range(first, request.weeks):
            begins = request.start + week * WEEK
            yield *training(past, symbol, "base", begins, *service.scaling(begins)), run.training_threads

    for week, trained in enumerate(spread.in_order(train_on, trainings()), start=first):
        replay_week(symbol, week, request, past, service, folder, trained, spread)
    return service


@pipeline_task("replay week {week} {symbol}", timeout_seconds=24 * 3_600)
def replay_week(
    symbol: str,
    week: int,
    request: ReplayRequest,
    past: Past,
    service: Service,
    folder: ReplayFolder,
    trained: Trained,
    spread: Spread,
) -> int:
    """One week: the weekly training's decision, then every cycle; kept when it is whole."""
    begins = request.start + week * WEEK
    promotion = service.weekly(trained)
    log().info("%s: week %d, %s", symbol, week, promotion.reason)
    rows = []
    cycle = timedelta(minutes=request.cycle_minutes)
    moments = [begins + number * cycle for number in range(int(WEEK / cycle))]
    with progress(f"week {week + 1} of {request.weeks}", len(moments)) as advance:
        for row in service.cycles(past, moments, spread):
            rows += [row] if row is not None else []
            advance(1)
    folder.keep(week, rows, service, week_fingerprint(past, begins))
    return len(rows)


def new_service(symbol: str, run: Run, request: ReplayRequest) -> Service:
    """A service that has not seen anything yet."""

    def scaling(now: datetime) -> tuple[int, int]:
        week = request.first_week + (now - request.start) // WEEK
        return week, row_limit(week)

    message = AnalysisRequest(
        **request.model_dump(include=set(AnalysisRequest.model_fields) - {"as_of", "runner", "dask_address"})
    )
    return Service(symbol, message, scaling, run.training_threads)


@pipeline_task("replay rivals {symbol}", timeout_seconds=7 * 24 * 3_600)
def replay_rivals(
    symbol: str, run: Run, request: ReplayRequest, past: Past, folder: ReplayFolder, spread: Spread
) -> None:
    """What else could have answered the finished weeks; kept week by week, and done once."""
    makers = {"rivals": baselines.row_limit_pieces} | (
        {"baselines": baselines.baseline_pieces} if request.baselines else {}
    )
    todo = [(week, part) for week in range(request.weeks) for part in makers if not folder.has_rivals(week, part)]
    replayed = partial(_replayed_week, symbol, run, request, folder)

    def pieces() -> Iterator[tuple[baselines.Piece]]:
        for number, part in todo:
            week = replayed(number)
            found = list(makers[part](past, week)) if len(week.answers) else []
            yield from ((piece,) for piece in found)
            if not found:
                log().info("%s: week %d has no %s: too few rows before it, or no answer", symbol, number, part)
                folder.keep_rivals(number, part, baselines.empty_frame())

    with progress("rivals", len(todo)) as advance:
        answered = groupby(spread.in_order(baselines.answer, pieces()), key=lambda item: (item.week, item.part))
        for (number, part), found in answered:
            folder.keep_rivals(number, part, baselines.frame(replayed(number), found))
            advance(1)


def _replayed_week(symbol: str, run: Run, request: ReplayRequest, folder: ReplayFolder, number: int) -> baselines.Week:
    return baselines.Week(
        number=number,
        begins=request.start + number * WEEK,
        row_limit=row_limit(request.first_week + number),
        answers=folder.week_answers(number),
        champion=folder.champion(number, symbol),
        num_threads=run.training_threads,
    )
