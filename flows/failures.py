"""One symbol that fails does not stop the others."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from sqlalchemy.exc import SQLAlchemyError

from hybrid_ml.errors import SymbolBusy
from hybrid_ml.schemas.reports import Failure
from hybrid_ml.store.database_errors import describe
from tasks.pipeline_task import IN_REPORT, log

LONGEST_ERROR = 2_000
Item = TypeVar("Item")
Result = TypeVar("Result")


def run_each(items: Iterable[Item], work: Callable[[Item], Result]) -> tuple[list[Result], list[Failure]]:
    """Call `work` for each item; a failure is recorded and does not stop the others."""
    results: list[Result] = []
    failures: list[Failure] = []
    for item in items:
        with collect_failure(failures, str(getattr(item, "symbol", item))):
            results.append(work(item))
    return results, failures


@contextmanager
def collect_failure(failures: list[Failure], name: str) -> Iterator[None]:
    """Append an exception of the block to `failures`, under `name`, and continue after the block."""
    try:
        yield
    except SymbolBusy as busy:
        log().warning("%s", busy, extra=IN_REPORT)
        failures.append(Failure(symbol=name, error=str(busy), busy=True))
    except Exception as error:  # any error: the run continues with the other items and reports this one at the end
        failure = Failure(symbol=name, error=format_error(error))
        log().error("%s failed: %s", failure.symbol, failure.error, extra=IN_REPORT)
        failures.append(failure)


def format_error(error: Exception) -> str:
    """An error in one line of at most LONGEST_ERROR characters; of a database error, the server's message."""
    text = describe(error) if isinstance(error, SQLAlchemyError) else str(error)
    return " ".join(text.split())[:LONGEST_ERROR] or type(error).__name__
