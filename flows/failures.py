"""One symbol that fails does not stop the others."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from sqlalchemy.exc import SQLAlchemyError

from hybrid_ml.errors import SymbolBusy
from hybrid_ml.schemas.reports import Failure
from hybrid_ml.store.database_errors import describe
from tasks.pipeline_task import log

LONGEST_ERROR = 2_000
Item = TypeVar("Item")
Result = TypeVar("Result")


def run_each(items: Iterable[Item], work: Callable[[Item], Result]) -> tuple[list[Result], list[Failure]]:
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
            log().error("%s failed: %s", symbol, format_error(error))
            failures.append(Failure(symbol=symbol, error=format_error(error)))
    return results, failures


def format_error(error: Exception) -> str:
    """An error in one line of bearable length; of one from the database, what the database said."""
    text = describe(error) if isinstance(error, SQLAlchemyError) else str(error)
    return " ".join(text.split())[:LONGEST_ERROR] or type(error).__name__
