"""Report: what a person finds in the Prefect UI after a run, under the same key run after run."""

from collections.abc import Mapping

import pandas as pd

from hybrid_ml.market.quality import DataQuality
from hybrid_ml.pipeline.context import Run
from hybrid_ml.registry.scaling_timeline import timeline
from hybrid_ml.reporting.analysis_artifact import analysis_page, answer_picture, format_verdict, pictured, run_page
from hybrid_ml.reporting.artifact_keys import page_key
from hybrid_ml.reporting.quality_artifact import quality_page
from hybrid_ml.reporting.training_artifact import training_page, training_pictures, untrained_page
from hybrid_ml.schemas.reports import Analysis, AnalysisReport, ScalingReport, Training, TrainingReport
from hybrid_ml.store import bars as stored_bars
from tasks.pages import leave_page
from tasks.pipeline_task import database, log, pipeline_task


@pipeline_task("report analysis", timeout_seconds=240)
def report_analysis(report: AnalysisReport, bars: Mapping[str, pd.DataFrame], zone: str) -> None:
    """A page for each symbol, and one of the run where there are several symbols, or one was not finished."""
    drawn = pictured(report.analyses)
    for analysis in report.analyses:
        symbol = analysis.symbol
        picture = _draw_answer(analysis, bars[symbol], zone) if symbol in drawn else None
        message = f"{symbol} {analysis.direction.upper()}, {format_verdict(analysis)}"
        leave_page(analysis_page(analysis, picture), page_key("analysis", symbol), message)
    if len(report.analyses) != 1 or report.failures:
        leave_page(run_page(report), "analysis", "Ten-minute analysis, every symbol")


def _draw_answer(analysis: Analysis, bars: pd.DataFrame, zone: str) -> bytes | None:
    try:
        return answer_picture(analysis, bars, zone)
    except Exception as error:  # whatever ails a picture, the page tells the rest without it
        log().warning("%s: no chart (%s: %s)", analysis.symbol, type(error).__name__, error)
        return None


@pipeline_task("report training", timeout_seconds=240, uses_io=True)
def report_training(report: TrainingReport, run: Run) -> None:
    """A page for each trained symbol, and one that names those that were not."""
    for training in report.trainings:
        with database().connect() as connection:
            scaling = timeline(connection, training.symbol, training.minutes, run.as_of)
        page = training_page(training, scaling, _draw_training(training, scaling))
        leave_page(page, page_key("training", training.symbol), training.reason)
    if report.failures:
        leave_page(untrained_page(report), "training", "Symbols without a new model")


def _draw_training(training: Training, scaling: ScalingReport) -> dict[str, bytes]:
    try:
        return training_pictures(training, scaling)
    except Exception as error:  # whatever ails a picture, the page tells the rest without it
        log().warning("%s: no charts (%s: %s)", training.symbol, type(error).__name__, error)
        return {}


@pipeline_task("report data quality {symbol}", timeout_seconds=60, uses_io=True)
def report_quality(symbol: str, quality: DataQuality) -> None:
    """The page about the bars of a symbol."""
    with database().connect() as connection:
        set_aside = stored_bars.count_set_aside(connection, symbol)
    message = "; ".join(quality.warnings) or "No warnings"
    leave_page(quality_page(symbol, quality, set_aside), page_key("data-quality", symbol), message)
