"""What every flow over symbols does alike: isolate failures, name its end."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from sqlalchemy.exc import SQLAlchemyError

from hybrid_ml.errors import SymbolBusy
from hybrid_ml.reports import AnalysisReport, Failure, ReviewReport, SymbolsReport, TrainingReport
from hybrid_ml.settings import load_settings
from hybrid_ml.store.database_errors import describe
from hybrid_ml.store.locks import SymbolLocks, symbol_locks
from tasks.stage import database, log

LONGEST_ERROR = 2_000
Report = TypeVar("Report", TrainingReport, AnalysisReport, ReviewReport)
Item = TypeVar("Item")
Result = TypeVar("Result")


def collect(items: Iterable[Item], work: Callable[[Item], Result]) -> tuple[list[Result], list[Failure]]:
    """Do `work` for each item; one that fails is named and does not stop the others."""
    results: list[Result] = []
    failures: list[Failure] = []
    for item in items:
        symbol = str(getattr(item, "symbol", item))
        try:
            results.append(work(item))
        except SymbolBusy as busy:
            log().warning("%s", busy)
            failures.append(Failure(symbol=symbol, error=str(busy), busy=True))
        except Exception as error:  # whatever it is, the other symbols must go on; it is named at the end
            log().error("%s failed: %s", symbol, told(error))
            failures.append(Failure(symbol=symbol, error=told(error)))
    return results, failures


def told(error: Exception) -> str:
    """An error in one line of bearable length; of one from the database, what the database said."""
    said = describe(error) if isinstance(error, SQLAlchemyError) else str(error)
    return " ".join(said.split())[:LONGEST_ERROR] or type(error).__name__


def ended(report: Report) -> State | Report:
    """The report, as the data of a state whose name and message say what a list of runs should show.

    Failed goes before Busy, and Busy before what was found out.
    """
    remarks: list[str] = _remarks(report)
    if report.failures:
        told: list[str] = [f"{failure.symbol}: {failure.error}" for failure in report.failures]
        message = "; ".join(told + remarks)
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
        remarks += [f"{each.symbol}: {each.degraded_told}" for each in report.recorded]
    if isinstance(report, TrainingReport) and report.kept_champion:
        remarks += [f"{each.symbol}: the champion {each.champion} stays: {each.reason}" for each in report.trainings]
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
