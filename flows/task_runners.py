"""A task for each symbol, in parallel: in threads of this process, or on the machines of a dask cluster."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

from prefect import Task
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from flows.failures import collect_failure, run_each
from hybrid_ml.config.settings import cores, load_settings
from hybrid_ml.pipeline.dask_cluster import dask_client, missing_dask_as_bad_input
from hybrid_ml.pipeline.run import Run
from hybrid_ml.schemas.reports import Failure
from hybrid_ml.schemas.requests import AnalysisRequest, TrainingRequest
from hybrid_ml.store.locks import SymbolLocks
from tasks.lock import lock_symbols

MOST_THREADS = 2
"""Much of a symbol's work holds Python's global lock, so more threads would only slow each other down."""


MOST_SYMBOLS_OF_FEEDS = 4
"""An exchange answers slower than a page is stored; more at once would only empty the budget faster."""


@dataclass(frozen=True)
class StartedTask:
    """The submitted task of a symbol."""

    symbol: str
    future: PrefectFuture[Any]

    def result(self) -> Any:
        """The task's result, once it has ended; raises what the task raised."""
        return self.future.result()


class Workers:
    """Runs the tasks of the symbols."""

    def __init__(self, runner: TaskRunner[Any]) -> None:
        self._runner = runner

    def start(self, work: Callable[..., Any], symbol: str, **parameters: Any) -> StartedTask:
        """Submit the task `work` for `symbol`; it begins as soon as a worker is free."""
        return StartedTask(symbol, self._runner.submit(cast(Task, work), {"symbol": symbol, **parameters}))


@contextmanager
def workers(request: AnalysisRequest | TrainingRequest, run: Run) -> Iterator[Workers]:
    """Workers for the symbols of `run`: at most MOST_THREADS threads, or a dask cluster.

    Raises BadInput when dask is not installed or its scheduler does not answer.
    """
    opening: AbstractContextManager[TaskRunner[Any]] = (
        _dask(request, run) if request.runner == "dask" else ThreadPoolTaskRunner(_threads(run))
    )
    with opening as runner:
        yield Workers(runner)


def _threads(run: Run) -> int:
    return min(MOST_THREADS, cores(), len(run.symbols))


def with_shared_threads(run: Run) -> Run:
    """`run` for one of several symbols that are trained in parallel: they share the training threads."""
    return replace(run, training_threads=max(1, run.training_threads // _threads(run)))


def results(started: Iterable[StartedTask]) -> tuple[list[Any], list[Failure]]:
    """The results, in order, and the failures; one failure does not stop the others."""
    return run_each(started, lambda item: item.result())


def submit_as_locked(
    symbols: list[str], held: SymbolLocks, start: Callable[[str], StartedTask]
) -> tuple[list[StartedTask], list[Failure]]:
    """Submit the task of each symbol as soon as its lock is held; symbols that stay locked are reported as busy.

    A symbol that is free never waits for one that is locked.
    """
    remaining, started = symbols, dict[str, StartedTask]()
    while remaining:
        free, problems = list[str](), list[Failure]()
        with collect_failure(problems, "locks"):
            free = lock_symbols(remaining, held)
        if problems:
            failed = [Failure(symbol=symbol, error=problems[0].error) for symbol in remaining]
            return _in_order(symbols, started), failed
        if not free:
            break
        started |= {symbol: start(symbol) for symbol in free}
        remaining = [symbol for symbol in remaining if symbol not in started]
    busy = [Failure(symbol=symbol, error=str(held.busy(symbol)), busy=True) for symbol in remaining]
    return _in_order(symbols, started), busy


def _in_order(symbols: list[str], started: dict[str, StartedTask]) -> list[StartedTask]:
    return [started[symbol] for symbol in symbols if symbol in started]


@contextmanager
def _dask(request: AnalysisRequest | TrainingRequest, run: Run) -> Iterator[TaskRunner[Any]]:
    with missing_dask_as_bad_input():
        from prefect_dask.task_runners import DaskTaskRunner
    address = request.dask_address or load_settings().hybrid_ml_dask_address
    with (
        dask_client(min(cores(), len(run.symbols)), address) as client,
        DaskTaskRunner(cluster=client.cluster, address=address or None) as runner,
    ):
        yield runner
