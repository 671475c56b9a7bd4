"""Load: the run's moment and symbols, bars, and the saved model."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import pandas as pd
from prefect.runtime import flow_run

from hybrid_ml.config.settings import load_settings
from hybrid_ml.errors import DataUnavailable, HybridMLError, ModelUnavailable
from hybrid_ml.learning.leader_choice import MOST_CANDIDATES
from hybrid_ml.learning.model import HybridModel
from hybrid_ml.learning.rows import Window, make_window
from hybrid_ml.learning.windows import ANALYSIS_BARS, is_enough_to_train, training_bars
from hybrid_ml.market.bars import closed_before
from hybrid_ml.market.simulation import simulate_bars
from hybrid_ml.pipeline import bounds
from hybrid_ml.pipeline.bounds import AnyAnalysisRequest
from hybrid_ml.pipeline.leader_bars import READER
from hybrid_ml.pipeline.proposals import SavedModel
from hybrid_ml.pipeline.run import Run, format_ended, leading, make_run
from hybrid_ml.schemas.requests import Request
from hybrid_ml.store import bars as stored_bars
from hybrid_ml.store import model_registry as registry
from hybrid_ml.store import run_timestamps
from hybrid_ml.store.model_files import read_model, write_model
from hybrid_ml.store.run_timestamps import Answered
from hybrid_ml.store.sessions import read_sessions
from hybrid_ml.text.counts import counted
from tasks.files import read_bars_of
from tasks.moment import first_attempt_now, is_scheduled
from tasks.naming import name_symbols
from tasks.pipeline_task import database, log, pipeline_task


@pipeline_task("open run", timeout_seconds=120, uses_io=True)
def open_run(request: Request, now: datetime) -> Run:
    """Determine moment, symbols and folders; a retried run keeps the moment of its first attempt.

    Only a scheduled run may have no symbol: a service may be started before its first bars are there.
    """
    now = first_attempt_now(request.as_of, now)
    with database().connect() as connection:
        newest_bars = stored_bars.newest_bars_without_feed(connection)
        symbols = stored_bars.symbols(connection)
        run = make_run(request, load_settings(), symbols, now, newest_bars, may_be_empty=is_scheduled())
        run = replace(run, leaders=registry.leaders(connection, run.symbols))
        if run.source == "db":
            run = replace(run, sessions=read_sessions(connection, [*run.symbols, *leading(run.leaders)]))
    if run.symbols:
        name_symbols(run.symbols)
    ended = f"; ended: {format_ended(run.ended)}" if run.ended else ""
    moment, names = f"{run.as_of:%Y-%m-%d %H:%M}", ", ".join(run.symbols) or "no symbols"
    log().info("as of %s UTC: %s, bars from %s%s", moment, names, run.source, ended)
    return run


def find_answered(run: Run) -> list[Answered]:
    """The symbols that an earlier attempt of this flow run has answered; empty at the first attempt."""
    if flow_run.run_count <= 1:
        return []
    with database().connect() as connection:
        found = run_timestamps.answered(connection, run.as_of, run.symbols)
    log().info("finished before: %s", ", ".join(answer.symbol for answer in found) or "no symbol")
    return found


def find_trained(run: Run) -> list[str]:
    """The symbols that an earlier attempt of this flow run has trained; empty at the first attempt."""
    if flow_run.run_count <= 1:
        return []
    with database().connect() as connection:
        found = run_timestamps.trained(connection, run.as_of, run.symbols)
    log().info("finished before: %s", ", ".join(found) or "no symbol")
    return found


def fill_in_bounds(request: AnyAnalysisRequest) -> AnyAnalysisRequest:
    """The request with the bounds of the environment or the Variable where it states none."""
    settled, words = bounds.fill_in_bounds(request, load_settings())
    log().info("bounds: %s", words)
    return settled


@pipeline_task("load bars {symbol}", timeout_seconds=120, uses_io=True)
def load_window(symbol: str, run: Run, leaders: Sequence[str]) -> Window:
    """The newest bars of `symbol`, as many as one analysis needs, with their features and those of its leaders."""
    window = make_window(_bars(symbol, run, ANALYSIS_BARS), run.max_gap_minutes, run.sessions_of(symbol))
    window = _follow(run, window, leaders)
    for leader in window.rows.absent(leaders):
        log().warning("%s: its leader %s has no bar in time; the answer is made without it", symbol, leader)
    log().info("%s: %s until %s UTC", symbol, counted(len(window.rows), "bar"), f"{window.bar_time:%Y-%m-%d %H:%M}")
    return window


@pipeline_task("load bars {symbol}", timeout_seconds=600, uses_io=True)
def load_training_window(symbol: str, run: Run, row_limit: int) -> Window:
    """Enough bars for `row_limit` labelled rows and their hold-out, or all there are.

    With the features of the leaders that are named for it or that may be chosen, and of those it has.
    """
    count, sessions = training_bars(row_limit), run.sessions_of(symbol)
    bars = _bars(symbol, run, count)
    window = make_window(bars, run.max_gap_minutes, sessions)
    while len(bars) == count and not is_enough_to_train(window, row_limit):
        count *= 2  # short sessions: the last minutes of each have no labels
        bars = _bars(symbol, run, count)
        window = make_window(bars, run.max_gap_minutes, sessions)
    window = _follow(run, window, [*candidates(symbol, run, run.as_of), *run.leaders.get(symbol, ())])
    labelled = counted(len(window.rows.labelled()), "labelled row")
    log().info("%s: %s, %s", symbol, counted(len(window.rows), "bar"), labelled)
    return window


def candidates(symbol: str, run: Run, as_of: datetime) -> Sequence[str]:
    """The symbols among which leaders of `symbol` are, or are chosen, by the bars that were closed at `as_of`."""
    named = run.leader_wishes.of(symbol)
    if named is not None or run.source == "demo":
        return named or ()
    with database().connect() as connection:
        return stored_bars.leader_candidates(connection, symbol, closed_before(as_of), MOST_CANDIDATES)


def _follow(run: Run, window: Window, leaders: Sequence[str]) -> Window:
    if not leaders:
        return window
    since: datetime = window.rows.times[0].to_pydatetime()
    return window.with_leaders(READER.read(database(), run, dict.fromkeys(leaders), since))


def _bars(symbol: str, run: Run, count: int) -> pd.DataFrame:
    """The newest `count` bars in sessions that are closed at the run's moment, from the run's source."""
    until = closed_before(run.as_of)
    if run.source == "demo":
        bars = simulate_bars(run.as_of, bars=count)
    elif run.source == "csv":
        cleaned = read_bars_of(run.csv_path)
        if len(cleaned.rejected):
            rows = counted(len(cleaned.rejected), "row")
            log().warning("%s: %s rejected: %s", run.csv_path, rows, cleaned.reasons)
        bars = cleaned.bars[cleaned.bars["time"] <= pd.Timestamp(until)].tail(count).reset_index(drop=True)
    else:
        with database().connect() as connection:
            span = stored_bars.bar_span(connection, symbol)
            bars = stored_bars.recent_open_bars(connection, symbol, until, count, run.sessions_of(symbol))
        if bars.empty:
            in_session = f" in a session of {run.sessions[symbol].calendar}" if symbol in run.sessions else ""
            raise DataUnavailable(
                f"{symbol}: no bar{in_session} before {run.as_of:%Y-%m-%d %H:%M}; its first is {span.first}"
            )
    if bars.empty:
        raise DataUnavailable(
            f"{symbol}: no usable bar before {run.as_of:%Y-%m-%d %H:%M} in {run.csv_path or run.source}"
        )
    return bars


@pipeline_task("load model {symbol}", timeout_seconds=60, uses_io=True)
def load_model(symbol: str, run: Run) -> SavedModel:
    """The model in use at the run's moment: the local copy where it matches the registry, else the registry's."""
    with database().connect() as connection:
        serving = registry.find_serving(connection, symbol, run.as_of)
        if serving is None:
            log().warning("%s: there is no saved model for %s", symbol, f"{run.as_of:%Y-%m-%d %H:%M}")
            return SavedModel(None, "there is no saved model")
        if serving.is_champion:
            try:
                model = read_model(run.folder(symbol), serving.file, symbol)
                log().info("%s: %s from its local copy", symbol, model)
                return SavedModel(model)
            except ModelUnavailable as error:
                log().warning("%s: the local copy is not used (%s)", symbol, error)
        try:
            model = registry.fetch(connection, serving)
        except ModelUnavailable as error:
            log().error("%s: %s cannot be used: %s", symbol, serving.version, error)
            return SavedModel(None, f"the saved model cannot be used: {error}")
        newest = registry.find_current(connection, symbol)
    if serving.version != model.version:
        log().error("%s: %s is damaged; its base is used without it", symbol, serving.version)
    elif newest is not None and newest.version == serving.version:
        _rebuild_copy(symbol, run, model)
    log().info("%s: %s from the registry", symbol, model)
    return SavedModel(model)


def _rebuild_copy(symbol: str, run: Run, model: HybridModel) -> None:
    try:
        write_model(run.folder(symbol), model)
    except HybridMLError as error:
        log().warning("%s: %s", symbol, error)
