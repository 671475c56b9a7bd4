"""Executors for work in processes or on machines: the same functions everywhere, results in the order of submission."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from signal import SIG_IGN, SIGINT, signal
from threading import Thread
from typing import Any, Literal, TypeVar
from warnings import catch_warnings, filterwarnings

from hybrid_ml.errors import HybridMLError
from hybrid_ml.pipeline.dask_cluster import dask_client

Runner = Literal["processes", "dask"]
Result = TypeVar("Result")


class SequentialExecutor(Executor):
    """Runs each task at once, in this process."""

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(function(*arguments, **named))
        return done


@dataclass(frozen=True)
class WorkerPool:
    """An executor, and how many pieces of work may be submitted at a time."""

    executor: Executor
    in_flight: int

    def map_in_order(self, function: Callable[..., Result], pieces: Iterable[tuple[Any, ...]]) -> Generator[Result]:
        """`function(*piece)` of each piece, in their order; pieces are made only when one can be submitted.

        Closing the iterator cancels what has not begun.
        """
        pending: deque[Future[Result]] = deque()
        try:
            for piece in pieces:
                pending.append(self.executor.submit(function, *piece))
                if len(pending) == self.in_flight:
                    yield result_of(pending.popleft())
            while pending:
                yield result_of(pending.popleft())
        finally:
            for future in pending:
                future.cancel()


def result_of(future: Future[Result]) -> Result:
    """The result. Raises HybridMLError when the worker died, and what the function raised."""
    try:
        return future.result()
    except BrokenExecutor:
        raise HybridMLError(
            "a worker process died, probably for lack of memory; use fewer --workers (finished weeks are kept)"
        ) from None


SEQUENTIAL = WorkerPool(SequentialExecutor(), 1)


@contextmanager
def open_pool(runner: Runner, workers: int, dask_address: str = "") -> Iterator[WorkerPool]:
    """An executor of `workers` processes on this machine, or of a dask cluster; with one worker, this process.

    `dask_address`: the cluster's scheduler, empty for a cluster of `workers` processes on this machine. One piece
    more than there are workers is submitted, so that none is idle while a result is processed.
    Raises BadInput when dask is not installed or its scheduler does not answer.
    """
    if runner == "dask":
        with dask_client(workers, dask_address) as client, catch_warnings():
            # Training rows are 17 MB, each sent once; dask warns above 10 MB, for repeated sending.
            filterwarnings("ignore", message="Sending large graph")
            yield WorkerPool(client.get_executor(pure=False), sum(client.nthreads().values()) + 1)
    elif workers == 1:
        yield SEQUENTIAL
    else:
        # Forking a process with threads (LightGBM's, Prefect's) may deadlock; spawned processes do not.
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_begin) as pool:
            try:
                yield WorkerPool(pool, workers + 1)
            finally:
                pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """Prepare a process of the pool. Ctrl-C reaches every process of a terminal; only the parent handles it.
    A killed parent does not end its pool, whose processes would wait for work for ever.
    """
    signal(SIGINT, SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent:
        parent.join()
    os._exit(1)
