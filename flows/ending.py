"""What every flow over symbols does alike: isolate failures, name its runs and its end."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from sqlalchemy.exc import DBAPIError

from hybrid_ml.errors import SymbolBusy
from hybrid_ml.reports import AnalysisReport, Failure, ReviewReport, TrainingReport
from hybrid_ml.settings import load_settings
from hybrid_ml.store.locks import SymbolLocks, symbol_locks
from tasks.stage import database, log

LONGEST_ERROR = 2_000
MOST_NAMED = 8
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
    said = str(error.orig if isinstance(error, DBAPIError) else error)
    return " ".join(said.split())[:LONGEST_ERROR] or type(error).__name__


def ended(report: Report) -> State | Report:
    """The report, as the data of a state that says so when symbols failed or were left to another run."""
    if not report.failures:
        return report
    message = "; ".join([*(f"{failure.symbol}: {failure.error}" for failure in report.failures), *_found(report)])
    return (
        Failed(message=message, data=report) if report.failed else Completed(name="Busy", message=message, data=report)
    )


def _found(report: Report) -> list[str]:
    return report.found if isinstance(report, ReviewReport) else []


def asleep(report: AnalysisReport) -> State:
    """The run's end in quiet hours."""
    if report.failed:
        return Failed(message="; ".join(failure.error for failure in report.failures), data=report)
    return Completed(name="Asleep", message=f"quiet hours {report.quiet_hours}", data=report)


def reviewed(report: ReviewReport) -> State | ReviewReport:
    """The review, as the data of a state named after what was found, for a person to see in the list of runs."""
    if report.failures or not report.found:
        return ended(report)
    return Completed(name="Drift", message="; ".join(report.found), data=report)


@contextmanager
def locks(wait_seconds: float | None = None) -> Iterator[SymbolLocks]:
    """Locks on the symbols this run works on, let go when the block ends; waiting as configured, or as stated."""
    patience = load_settings().hybrid_ml_lock_wait_seconds if wait_seconds is None else wait_seconds
    with symbol_locks(database(), patience) as held:
        yield held


def run_name() -> str:
    """`analysis BTCUSD 2018-06-01 10:20`: what, for whom, as of when."""
    request = flow_run.parameters["request"]
    stated = getattr(request, "symbols", None) or ["all symbols"]
    told = ",".join(stated) if len(stated) <= MOST_NAMED else f"{stated[0]} and {len(stated) - 1} more"
    moment = getattr(request, "as_of", None) or flow_run.scheduled_start_time
    return f"{flow_run.flow_name} {told} {moment:%Y-%m-%d %H:%M}"


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
