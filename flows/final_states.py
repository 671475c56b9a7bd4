"""What the flows over symbols share: final states, locks and a stopwatch."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from hybrid_ml.config.settings import load_settings
from hybrid_ml.pipeline.run import NO_SYMBOLS
from hybrid_ml.reporting.wording import format_closed
from hybrid_ml.review.result import ReviewReport
from hybrid_ml.schemas.reports import AddedReport, AnalysisReport, HistoryReport, SymbolsReport, TrainingReport
from hybrid_ml.store.locks import SymbolLocks, symbol_locks
from tasks.pipeline_task import database

Report = TypeVar("Report", TrainingReport, AnalysisReport, ReviewReport, HistoryReport, AddedReport)


def to_final_state(report: Report) -> State | Report:
    """The report, as the data of a state whose name and message a list of runs shows.

    Failed takes precedence over Busy, Busy over Kept champion and Drift, and these over Late bars.
    """
    remarks: list[str] = _remarks(report)
    if report.failures:
        message = "; ".join(_failure_lines(report) + remarks)
        if report.failed:
            return Failed(message=message, data=report)
        return Completed(name="Busy", message=message, data=report)
    return Completed(name=_name(report), message="; ".join(remarks), data=report) if remarks else report


def _name(report: SymbolsReport) -> str | None:
    if isinstance(report, TrainingReport) and report.kept_champion:
        return "Kept champion"
    if _findings(report):
        return "Drift"
    return "Late bars" if report.late else None


def _remarks(report: SymbolsReport) -> list[str]:
    late = (f"{symbol}: {problem}" for symbol, problem in report.late.items())
    remarks = [*_findings(report), *late, *_closed_lines(report)]
    if report.finished_before:
        remarks.append(f"finished by an earlier attempt: {', '.join(report.finished_before)}")
    if isinstance(report, TrainingReport) and report.kept_champion:
        remarks += [
            f"{training.symbol}: the champion {training.champion} stays: {training.reason}"
            for training in report.trainings
        ]
    return remarks


def _findings(report: SymbolsReport) -> list[str]:
    return report.found if isinstance(report, ReviewReport) else []


def state_without_symbols() -> State:
    """The final state of a scheduled run for which there is no symbol yet."""
    return Completed(name="No symbols", message=NO_SYMBOLS)


def resting_state(report: AnalysisReport) -> State:
    """The final state of a run in quiet hours, or while no market of its symbols is open."""
    if report.failed:
        return Failed(message="; ".join([*_failure_lines(report), *_closed_lines(report)]), data=report)
    if report.asleep:
        return Completed(name="Asleep", message=f"quiet hours {report.quiet_hours}", data=report)
    first = min(report.closed.values())
    return Completed(name="Closed", message=f"no market is open: all {format_closed(first)}", data=report)


def _failure_lines(report: SymbolsReport) -> list[str]:
    return [f"{failure.symbol}: {failure.error}" for failure in report.failures]


def _closed_lines(report: SymbolsReport) -> list[str]:
    return [f"{symbol}: {format_closed(opens_at)}" for symbol, opens_at in report.closed.items()]


@contextmanager
def locks(wait_seconds: float | None = None) -> Iterator[SymbolLocks]:
    """Locks on the symbols of this run, released at the end of the block; `wait_seconds` defaults to the setting."""
    seconds = load_settings().hybrid_ml_lock_wait_seconds if wait_seconds is None else wait_seconds
    with symbol_locks(database(), seconds) as held:
        yield held


class Stopwatch:
    """Elapsed milliseconds by stage."""

    def __init__(self) -> None:
        self.stage_ms: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.stage_ms[name] = round((time.perf_counter() - started) * 1000, 1)
