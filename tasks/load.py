"""Load: the run's frame, bars, and the saved model."""

from datetime import datetime
from typing import TypeVar

import pandas as pd
from prefect.runtime import flow_run

from hybrid_ml.config.settings import load_settings
from hybrid_ml.config.thresholds import THRESHOLDS, format_bounds, setting_of
from hybrid_ml.errors import DataUnavailable, HybridMLError, ModelUnavailable
from hybrid_ml.learning.model import HybridModel
from hybrid_ml.learning.rows import Window, make_window
from hybrid_ml.learning.windows import ANALYSIS_BARS, training_window
from hybrid_ml.market.bars import closed_before
from hybrid_ml.market.simulation import simulate_bars
from hybrid_ml.pipeline.context import Run, SavedModel
from hybrid_ml.pipeline.context import open_run as settle_run
from hybrid_ml.schemas.requests import AnalysisRequest, Request
from hybrid_ml.store import bars as stored_bars
from hybrid_ml.store import model_registry as registry
from hybrid_ml.store import predictions, run_timestamps
from hybrid_ml.store.model_files import read_model, write_model
from hybrid_ml.store.run_timestamps import Answered
from hybrid_ml.text.counts import counted
from tasks.files import read_bars_of
from tasks.moment import settle_now
from tasks.naming import name_symbols
from tasks.pipeline_task import database, log, pipeline_task

Asked = TypeVar("Asked", bound=AnalysisRequest)


@pipeline_task("open run", timeout_seconds=120, uses_io=True)
def open_run(request: Request, now: datetime) -> Run:
    """Settle moment, symbols and folders; a run that is tried again judges the moment of its first attempt."""
    now = settle_now(request.as_of, now)
    with database().connect() as connection:
        run = settle_run(request, load_settings(), stored_bars.symbols(connection), now)
    name_symbols(run.symbols)
    log().info("as of %s UTC: %s, bars from %s", f"{run.as_of:%Y-%m-%d %H:%M}", ", ".join(run.symbols), run.source)
    return run


def find_answered(run: Run) -> list[Answered]:
    """The symbols that an earlier attempt of this flow run has answered; at the first attempt none."""
    if flow_run.run_count <= 1:
        return []
    with database().connect() as connection:
        found = run_timestamps.answered(connection, run.as_of, run.symbols)
    log().info("finished before: %s", ", ".join(answer.symbol for answer in found) or "no symbol")
    return found


def find_trained(run: Run) -> list[str]:
    """The symbols that an earlier attempt of this flow run has trained; at the first attempt none."""
    if flow_run.run_count <= 1:
        return []
    with database().connect() as connection:
        found = run_timestamps.trained(connection, run.as_of, run.symbols)
    log().info("finished before: %s", ", ".join(found) or "no symbol")
    return found


def settle_bounds(request: Asked) -> Asked:
    """The request with the bounds that environment or Variable state where it states none; it says whose each is."""
    settings = load_settings()
    stated = {name: getattr(settings, setting_of(name)) for name in THRESHOLDS if getattr(request, name) is None}
    stated = {name: value for name, value in stated.items() if value is not None}
    settled = request.model_copy(update=stated)

    def origin(name: str) -> str:
        if name in stated:
            return settings.origin(setting_of(name))
        return f"preset {request.preset}" if getattr(request, name) is None else "this run"

    log().info("bounds: %s", format_bounds(settled.bounds, origin))
    return settled


@pipeline_task("load bars {symbol}", timeout_seconds=120, uses_io=True)
def load_window(symbol: str, run: Run) -> Window:
    """The newest bars of `symbol`, as many as one analysis needs, with their features."""
    window = make_window(_bars(symbol, run, ANALYSIS_BARS), run.max_gap_minutes)
    log().info("%s: %s until %s UTC", symbol, counted(len(window.rows), "bar"), f"{window.bar_time:%Y-%m-%d %H:%M}")
    return window


@pipeline_task("load bars {symbol}", timeout_seconds=600, uses_io=True)
def load_training_window(symbol: str, run: Run, row_limit: int) -> Window:
    """Bars enough for `row_limit` labelled rows and their hold-out, or all there are."""
    window = training_window(lambda count: _bars(symbol, run, count), row_limit, run.max_gap_minutes)
    labelled = counted(len(window.rows.labelled()), "labelled row")
    log().info("%s: %s, %s", symbol, counted(len(window.rows), "bar"), labelled)
    return window


def _bars(symbol: str, run: Run, count: int) -> pd.DataFrame:
    """The newest `count` bars closed at the run's moment, from whichever source it reads."""
    until = closed_before(run.as_of)
    if run.source == "demo":
        bars = simulate_bars(run.as_of, bars=count)
    elif run.source == "csv":
        cleaned = read_bars_of(run.csv_path)
        if len(cleaned.set_aside):
            rows = counted(len(cleaned.set_aside), "row")
            log().warning("%s: %s set aside: %s", run.csv_path, rows, cleaned.reasons)
        bars = cleaned.bars[cleaned.bars["time"] <= pd.Timestamp(until)].tail(count).reset_index(drop=True)
    else:
        with database().connect() as connection:
            span = stored_bars.bar_span(connection, symbol)
            bars = stored_bars.recent_bars(connection, symbol, until, count)
        if bars.empty:
            raise DataUnavailable(f"{symbol} has no bar before {run.as_of:%Y-%m-%d %H:%M}; its first is {span.first}")
    if bars.empty:
        raise DataUnavailable(
            f"{symbol}: no usable bar before {run.as_of:%Y-%m-%d %H:%M} in {run.csv_path or run.source}"
        )
    return bars


@pipeline_task("load model {symbol}", timeout_seconds=60, uses_io=True)
def load_model(symbol: str, run: Run) -> SavedModel:
    """The model that serves at the run's moment: the local copy when it is the right one, else the registry's."""
    with database().connect() as connection:
        was_degraded = predictions.was_degraded(connection, symbol, run.as_of)
        serving = registry.find_serving(connection, symbol, run.as_of)
        if serving is None:
            log().warning("%s: there is no saved model for %s", symbol, f"{run.as_of:%Y-%m-%d %H:%M}")
            return SavedModel(None, "there is no saved model", was_degraded)
        if serving.is_champion:
            try:
                model = read_model(run.folder(symbol), serving.file, symbol)
                log().info("%s: %s from its local copy", symbol, model)
                return SavedModel(model, None, was_degraded)
            except ModelUnavailable as error:
                log().warning("%s: the local copy is not used (%s)", symbol, error)
        try:
            model = registry.fetch(connection, serving)
        except ModelUnavailable as error:
            log().error("%s: %s cannot be used: %s", symbol, serving.version, error)
            return SavedModel(None, f"the saved model cannot be used: {error}", was_degraded)
        newest = registry.find_current(connection, symbol)
    if serving.version != model.version:
        log().error("%s: %s is damaged; its base answers alone", symbol, serving.version)
    elif newest is not None and newest.version == serving.version:
        _rebuild_copy(symbol, run, model)
    log().info("%s: %s from the registry", symbol, model)
    return SavedModel(model, None, was_degraded)


def _rebuild_copy(symbol: str, run: Run, model: HybridModel) -> None:
    try:
        write_model(run.folder(symbol), model)
    except HybridMLError as error:
        log().warning("%s: %s", symbol, error)
