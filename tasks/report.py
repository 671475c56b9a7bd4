"""Report: the pages in the Prefect UI after a run, under the same keys in every run."""

from collections.abc import Mapping
from datetime import datetime

import pandas as pd

from hybrid_ml.market.quality import DataQuality
from hybrid_ml.pipeline.run import Run
from hybrid_ml.registry.scaling_timeline import timeline
from hybrid_ml.reporting.analysis_artifact import analysis_page, answer_picture, format_verdict, pictured, run_page
from hybrid_ml.reporting.artifact_images import completeness_picture
from hybrid_ml.reporting.artifact_keys import page_key
from hybrid_ml.reporting.data_artifact import data_page, incomplete
from hybrid_ml.reporting.quality_artifact import quality_page
from hybrid_ml.reporting.training_artifact import training_page, training_pictures, untrained_page
from hybrid_ml.schemas.data_report import DataReport
from hybrid_ml.schemas.reports import Analysis, AnalysisReport, ScalingReport, Training, TrainingReport
from hybrid_ml.store import bars as stored_bars
from hybrid_ml.symbols.data import read_data
from hybrid_ml.text.counts import counted
from tasks.pages import queue_page
from tasks.pipeline_task import database, log, pipeline_task

DAYS_OF_BARS, NAMED = 30, 5
"""Days on the page about bars, and symbols that its description names."""


@pipeline_task("report analysis", timeout_seconds=240)
def report_analysis(report: AnalysisReport, bars: Mapping[str, pd.DataFrame], zone: str) -> None:
    """A page for each symbol, and one of the run where there are several symbols or one failed."""
    drawn = pictured(report.analyses)
    for analysis in report.analyses:
        symbol = analysis.symbol
        picture = _draw_answer(analysis, bars[symbol], zone) if symbol in drawn else None
        message = f"{symbol} {analysis.direction.upper()}, {format_verdict(analysis)}"
        queue_page(analysis_page(analysis, picture), page_key("analysis", symbol), message)
    if len(report.analyses) != 1 or report.failures or report.closed:
        queue_page(run_page(report), "analysis", "Ten-minute analysis, every symbol")


def _draw_answer(analysis: Analysis, bars: pd.DataFrame, zone: str) -> bytes | None:
    try:
        return answer_picture(analysis, bars, zone)
    except Exception as error:  # any error in drawing: the page is sent without the chart
        log().warning("%s: no chart (%s: %s)", analysis.symbol, type(error).__name__, error)
        return None


@pipeline_task("report training", timeout_seconds=240, uses_io=True)
def report_training(report: TrainingReport, run: Run) -> None:
    """A page for each trained symbol, and one that lists those that failed."""
    for training in report.trainings:
        with database().connect() as connection:
            scaling = timeline(connection, training.symbol, training.minutes, run.as_of)
        page = training_page(training, scaling, _draw_training(training, scaling))
        queue_page(page, page_key("training", training.symbol), training.reason)
    if report.failures:
        queue_page(untrained_page(report), "training", "Symbols without a new model")


@pipeline_task("report bars", timeout_seconds=240, uses_io=True)
def report_bars(now: datetime) -> None:
    """The page about the bars of all symbols of the last DAYS_OF_BARS days; none where there are no symbols."""
    with database().connect() as connection:
        report = read_data(connection, [], DAYS_OF_BARS, now)
    if not report.symbols:
        return
    lacking = incomplete(report)
    some = f"{', '.join(lacking[:NAMED])}{' and others' if len(lacking) > NAMED else ''} lack bars"
    message = some if lacking else f"{counted(len(report.symbols), 'symbol')}, every bar is there"
    queue_page(data_page(report, _draw_bars(report)), "bars", message)


def _draw_bars(report: DataReport) -> bytes | None:
    try:
        return completeness_picture(report)
    except Exception as error:  # any error in drawing: the page is sent without the chart
        log().warning("no chart of the bars (%s: %s)", type(error).__name__, error)
        return None


def _draw_training(training: Training, scaling: ScalingReport) -> dict[str, bytes]:
    try:
        return training_pictures(training, scaling)
    except Exception as error:  # any error in drawing: the page is sent without the charts
        log().warning("%s: no charts (%s: %s)", training.symbol, type(error).__name__, error)
        return {}


@pipeline_task("report data quality {symbol}", timeout_seconds=60, uses_io=True)
def report_quality(symbol: str, quality: DataQuality) -> None:
    """The page about the bars of a symbol."""
    with database().connect() as connection:
        rejected = stored_bars.count_rejected_rows(connection, symbol)
        revisions = stored_bars.count_revisions(connection, symbol, quality.first)
    message = "; ".join(quality.warnings) or "No warnings"
    queue_page(quality_page(symbol, quality, rejected, revisions), page_key("data-quality", symbol), message)
