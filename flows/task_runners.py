"""A task for each symbol, side by side: in threads of this process, or on the machines of a dask cluster."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

from prefect import Task
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from flows.failures import run_each
from hybrid_ml.config.settings import cores, load_settings
from hybrid_ml.errors import BadInput
from hybrid_ml.pipeline.context import Run
from hybrid_ml.schemas.reports import Failure
from hybrid_ml.schemas.requests import AnalysisRequest, TrainingRequest
from hybrid_ml.store.locks import SymbolLocks
from tasks.lock import lock_symbols

MOST_THREADS = 2
"""Much of a symbol's work holds Python's own lock, so that more threads only get in each other's way."""
CONNECT_SECONDS = 10


@dataclass(frozen=True)
class Started:
    """The work on a symbol, under way."""

    symbol: str
    future: PrefectFuture[Any]

    def result(self) -> Any:
        """What came of it, once it has ended; raises what it raised."""
        return self.future.result()


class Workers:
    """What runs the tasks of the symbols."""

    def __init__(self, runner: TaskRunner[Any]) -> None:
        self._runner = runner

    def start(self, work: Callable[..., Any], symbol: str, **asked: Any) -> Started:
        """Begin `work`, a task, on `symbol` as soon as there is room."""
        return Started(symbol, self._runner.submit(cast(Task, work), {"symbol": symbol, **asked}))


@contextmanager
def workers(request: AnalysisRequest | TrainingRequest, run: Run) -> Iterator[Workers]:
    """Workers for the symbols of `run`, as many as suit them.

    Raises BadInput when dask is not installed or its scheduler does not answer.
    """
    runner = _dask(request, run) if request.runner == "dask" else ThreadPoolTaskRunner(_threads(run))
    with runner:
        yield Workers(runner)


def _threads(run: Run) -> int:
    return min(MOST_THREADS, cores(), len(run.symbols))


def with_shared_threads(run: Run) -> Run:
    """`run` for one of several symbols at work at a time: they share the threads of training."""
    return replace(run, training_threads=max(1, run.training_threads // _threads(run)))


def results(started: Iterable[Started]) -> tuple[list[Any], list[Failure]]:
    """What came of all of it, in order; what failed is named and does not stop the others."""
    return run_each(started, lambda item: item.result())


def submit_as_locked(
    symbols: list[str], held: SymbolLocks, start: Callable[[str], Started]
) -> tuple[list[Started], list[Failure]]:
    """Start the work on each symbol as soon as its lock is held; those that stay busy are left to another run.

    Symbols that are free never wait for one that is not.
    """
    left, started = symbols, dict[str, Started]()
    while left:
        locking, problems = run_each(["locks"], partial(_lock, left, held))
        if problems:
            failed = [Failure(symbol=symbol, error=problems[0].error) for symbol in left]
            return _in_order(symbols, started), failed
        if not locking[0]:
            break
        started |= {symbol: start(symbol) for symbol in locking[0]}
        left = [symbol for symbol in left if symbol not in started]
    busy = [Failure(symbol=symbol, error=str(held.busy(symbol)), busy=True) for symbol in left]
    return _in_order(symbols, started), busy


def _lock(symbols: list[str], held: SymbolLocks, _: str) -> list[str]:
    return lock_symbols(symbols, held)


def _in_order(symbols: list[str], started: dict[str, Started]) -> list[Started]:
    return [started[symbol] for symbol in symbols if symbol in started]


def _dask(request: AnalysisRequest | TrainingRequest, run: Run) -> TaskRunner[Any]:
    try:
        from prefect_dask.task_runners import DaskTaskRunner
    except ImportError:
        raise BadInput(
            "--runner dask needs dask, which is not installed; install it with `pip install '.[dask]'`, "
            "or leave the flag out"
        ) from None
    address = request.dask_address or load_settings().hybrid_ml_dask_address
    if not address:
        here = {"n_workers": min(cores(), len(run.symbols)), "threads_per_worker": 1, "dashboard_address": None}
        # A scheduler runs whatever it is sent: certificates of the moment keep other accounts of this machine out.
        here["security"] = True
        return DaskTaskRunner(cluster_kwargs=here)
    runner = DaskTaskRunner(address=address, client_kwargs={"timeout": CONNECT_SECONDS})
    try:
        _ = runner.client
    except (OSError, ValueError) as error:
        raise BadInput(
            f"no dask scheduler answers at {address!r} ({error}); check --dask_address or HYBRID_ML_DASK_ADDRESS, or "
            "leave both out for a cluster on this machine"
        ) from None
    return runner
