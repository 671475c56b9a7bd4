"""Report: what a person finds in the Prefect UI after a run, under the same key run after run."""

from collections.abc import Mapping

import pandas as pd

from hybrid_ml.market.quality import DataQuality
from hybrid_ml.pages.analysis import analysis_page, answer_picture, pictured, run_page, verdict_told
from hybrid_ml.pages.keys import page_key
from hybrid_ml.pages.quality import quality_page
from hybrid_ml.pages.training import training_page, training_pictures, untrained_page
from hybrid_ml.reports import Analysis, AnalysisReport, ScalingReport, Training, TrainingReport
from hybrid_ml.run import Run
from hybrid_ml.scaling_report import scaling_report
from hybrid_ml.settings import load_settings
from hybrid_ml.store import bars as stored_bars
from tasks.pages import leave_page
from tasks.stage import database, log, stage


@stage("report analysis", timeout_seconds=240)
def report_analysis(report: AnalysisReport, bars: Mapping[str, pd.DataFrame], zone: str) -> None:
    """A page for each symbol, and one of the run where there are several symbols, or one was not finished."""
    drawn = pictured(report.analyses)
    for analysis in report.analyses:
        symbol = analysis.symbol
        picture = _draw_answer(analysis, bars[symbol], zone) if symbol in drawn else None
        told = f"{symbol} {analysis.direction.upper()}, {verdict_told(analysis)}"
        leave_page(analysis_page(analysis, picture), page_key("analysis", symbol), told)
    if len(report.analyses) != 1 or report.failures:
        leave_page(run_page(report), "analysis", "Ten-minute analysis, every symbol")


def _draw_answer(analysis: Analysis, bars: pd.DataFrame, zone: str) -> bytes | None:
    try:
        return answer_picture(analysis, bars, zone)
    except Exception as error:  # whatever ails a picture, the page tells the rest without it
        log().warning("%s: no chart (%s: %s)", analysis.symbol, type(error).__name__, error)
        return None


@stage("report training", timeout_seconds=240, outside=True)
def report_training(report: TrainingReport, run: Run) -> None:
    """A page for each trained symbol, and one that names those that were not."""
    for training in report.trainings:
        scaling = scaling_report(training.symbol, load_settings(), run.as_of)
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


@stage("report data quality {symbol}", timeout_seconds=60, outside=True)
def report_quality(symbol: str, quality: DataQuality) -> None:
    """The page about the bars of a symbol."""
    with database().connect() as connection:
        set_aside = stored_bars.count_set_aside(connection, symbol)
    told = "; ".join(quality.warnings) or "No warnings"
    leave_page(quality_page(symbol, quality, set_aside), page_key("data-quality", symbol), told)
