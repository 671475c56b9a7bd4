"""The output of a replay: the answers as a file, a report, a page in the Prefect UI."""

from dataclasses import asdict
from pathlib import Path

import pandas as pd
from pydantic_core import to_json

from hybrid_ml.config.settings import load_settings
from hybrid_ml.errors import BadInput
from hybrid_ml.evaluation.threshold_section import advice_section
from hybrid_ml.replay.checkpoints import ReplayFolder
from hybrid_ml.replay.comparison import comparison_markdown
from hybrid_ml.replay.figures import draw
from hybrid_ml.replay.kept_sections import KeptSection, earlier_sections, keep_section
from hybrid_ml.replay.replayed_weeks import ReplayedWeek, champions_of
from hybrid_ml.replay.report import BY_WEEK, report_markdown
from hybrid_ml.replay.result import ReplayReport, ReplaysReport
from hybrid_ml.replay.summary import account, curves, weekly_curves
from hybrid_ml.reporting.markdown import inline
from hybrid_ml.schemas.requests import ReplayRequest
from hybrid_ml.store.model_files import write_atomically
from hybrid_ml.store.output_files import (
    errors_as_bad_input,
    refuse_unwritable_file,
    refuse_unwritable_folder,
    write_parquet,
)
from hybrid_ml.text.counts import counted
from tasks.pages import queue_page
from tasks.pipeline_task import log, pipeline_task


@pipeline_task("check outputs", timeout_seconds=60)
def check_outputs(request: ReplayRequest) -> None:
    """Refuse output paths that cannot be written, before hours of work."""
    if request.predictions_path:
        refuse_unwritable_file(request.predictions_path, "--predictions_path")
        _refuse_file_of_bars(request)
    if request.report_path:
        refuse_unwritable_folder(request.report_path, "--report_path")


def _refuse_file_of_bars(request: ReplayRequest) -> None:
    bars, answers = request.csv_path, request.predictions_path
    if bars is not None and answers is not None and answers.exists() and bars.exists() and answers.samefile(bars):
        raise BadInput(f"--predictions_path {answers} is the file of bars, which would be replaced; choose another")


@pipeline_task("write predictions", timeout_seconds=600)
def write_predictions(answers: pd.DataFrame, path: Path) -> None:
    """One row for each bar, as Parquet."""
    write_parquet(answers, path, "--predictions_path")


@pipeline_task("write report {symbol}", timeout_seconds=3_600)
def write_report(
    symbol: str,
    request: ReplayRequest,
    answers: pd.DataFrame,
    weeks: list[ReplayedWeek],
    folder: ReplayFolder,
    seconds: float,
) -> ReplayReport:
    """Measure the answers; write Markdown, charts and JSON into the report's folder, and the page."""
    place = request.report_path or folder.folder / "report"
    rivals = folder.rivals(weeks)
    full = account(symbol, request, answers, rivals, champions_of(weeks), folder.folder, place, seconds)
    report = full.model_copy(update={"advice": full.advice.shortened() if full.advice else None})
    weekly = weekly_curves(answers, request.start, request.weeks, request.fee_bps)
    whole = curves(answers, request.fee_bps)
    pictures = draw(report, whole, weekly)
    drawn = {name: item.records() for name, item in {**({"all": whole} if whole else {}), **weekly}.items()}
    earlier = _sections(request, report, weeks, folder.folder)
    kept = {section.name: {"computed_from": section.computed_from, "figures": section.figures} for section in earlier}
    json = to_json({**full.model_dump(), "curves": drawn, "earlier": kept}, indent=2, inf_nan_mode="null")
    text = report_markdown(report, {name: name for name in pictures}, earlier)
    refuse_unwritable_folder(place, "--report_path")
    with errors_as_bad_input(place, "--report_path"):
        for name, picture in pictures.items():
            write_atomically(place / name, picture)
        write_atomically(place / "report.json", json)
        write_atomically(place / "report.md", text.encode())
    shown = {name: inline(picture) for name, picture in pictures.items() if name not in BY_WEEK}
    queue_page(report_markdown(report, shown, earlier), key="replay", description=f"Replay of {symbol}")
    log().info("%s: the report is in %s", symbol, place)
    return report


@pipeline_task("compare replays", timeout_seconds=600)
def compare_replays(reports: list[ReplayReport], request: ReplayRequest) -> ReplaysReport:
    """Write the page that compares `reports`, at least one, as a file and for the Prefect UI."""
    place = request.report_path or request.work_path or load_settings().data_dir / "replay"
    text, path = comparison_markdown(reports), place / f"comparison-{request.start:%Y%m%dT%H%M}.md"
    with errors_as_bad_input(place, "--report_path"):
        write_atomically(path, text.encode())
    symbols = ", ".join(report.symbol for report in reports)
    queue_page(text, key="replay-comparison", description=f"Replays of {symbols}")
    log().info("the replays of %s are compared in %s", symbols, path)
    return ReplaysReport(replays=reports, comparison_path=path)


def _sections(
    request: ReplayRequest, report: ReplayReport, weeks: list[ReplayedWeek], folder: Path
) -> list[KeptSection]:
    """Keep the sections of this run that need a flag; returns those that only an earlier one has written."""
    if report.advice:
        computed_from = (
            f"{counted(request.weeks, 'week')}, {report.judged_by}, wanted precision {request.wanted_precision:g}, fee "
            f"{request.fee_bps:g} bps"
        )
        answers, text = [week.fingerprint for week in weeks], advice_section(report.advice, report.fee_bps)
        keep_section(folder, KeptSection("advice", computed_from, answers, text, asdict(report.advice)))
    return earlier_sections(folder, weeks, written=["advice"] if report.advice else [])
