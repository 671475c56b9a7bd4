"""What every flow over symbols does alike: isolate failures, name its end."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from hybrid_ml.config.settings import load_settings
from hybrid_ml.review.result import ReviewReport
from hybrid_ml.schemas.reports import AnalysisReport, SymbolsReport, TrainingReport
from hybrid_ml.store.locks import SymbolLocks, symbol_locks
from tasks.pipeline_task import database

Report = TypeVar("Report", TrainingReport, AnalysisReport, ReviewReport)


def to_final_state(report: Report) -> State | Report:
    """The report, as the data of a state whose name and message say what a list of runs should show.

    Failed goes before Busy, and Busy before what was found out.
    """
    remarks: list[str] = _remarks(report)
    if report.failures:
        lines: list[str] = [f"{failure.symbol}: {failure.error}" for failure in report.failures]
        message = "; ".join(lines + remarks)
        if report.failed:
            return Failed(message=message, data=report)
        return Completed(name="Busy", message=message, data=report)
    return Completed(name=_name(report), message="; ".join(remarks), data=report) if remarks else report


def _name(report: SymbolsReport) -> str | None:
    if isinstance(report, AnalysisReport) and report.all_degraded:
        return "Degraded"
    if isinstance(report, TrainingReport) and report.kept_champion:
        return "Kept champion"
    return "Drift" if _found(report) else None


def _remarks(report: SymbolsReport) -> list[str]:
    remarks = list(_found(report))
    if report.finished_before:
        remarks.append(f"finished by an earlier attempt: {', '.join(report.finished_before)}")
    if isinstance(report, AnalysisReport) and report.all_degraded:
        remarks += [f"{analysis.symbol}: {analysis.degraded_reason}" for analysis in report.recorded]
    if isinstance(report, TrainingReport) and report.kept_champion:
        remarks += [
            f"{training.symbol}: the champion {training.champion} stays: {training.reason}"
            for training in report.trainings
        ]
    return remarks


def _found(report: SymbolsReport) -> list[str]:
    return report.found if isinstance(report, ReviewReport) else []


def asleep(report: AnalysisReport) -> State:
    """The run's end in quiet hours."""
    if report.failed:
        return Failed(message="; ".join(failure.error for failure in report.failures), data=report)
    return Completed(name="Asleep", message=f"quiet hours {report.quiet_hours}", data=report)


@contextmanager
def locks(wait_seconds: float | None = None) -> Iterator[SymbolLocks]:
    """Locks on the symbols this run works on, let go when the block ends; waiting as configured, or as stated."""
    patience = load_settings().hybrid_ml_lock_wait_seconds if wait_seconds is None else wait_seconds
    with symbol_locks(database(), patience) as held:
        yield held


class Stopwatch:
    """Milliseconds by stage."""

    def __init__(self) -> None:
        self.stage_ms: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.stage_ms[name] = round((time.perf_counter() - started) * 1000, 1)
