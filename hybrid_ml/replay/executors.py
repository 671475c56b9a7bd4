"""Work spread over processes or machines: the same functions everywhere, results in the order they were asked."""

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

from hybrid_ml.errors import BadInput, HybridMLError

Runner = Literal["processes", "dask"]
Result = TypeVar("Result")


class InTurn(Executor):
    """Does what it is given at once, in this process."""

    def submit(self, function: Callable[..., Any], /, *given: Any, **named: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(function(*given, **named))
        return done


@dataclass(frozen=True)
class Spread:
    """Where work goes, and how many pieces may be under way at a time."""

    executor: Executor
    in_flight: int

    def in_order(self, function: Callable[..., Result], pieces: Iterable[tuple[Any, ...]]) -> Generator[Result]:
        """`function(*piece)` of each piece, in their order; pieces are made only when there is room for them.

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
    """What came of it. Raises HybridMLError when the worker died, and whatever the work raised."""
    try:
        return future.result()
    except BrokenExecutor:
        raise HybridMLError(
            "a worker process died, probably for want of memory; ask for fewer --workers (finished weeks are kept)"
        ) from None


IN_TURN = Spread(InTurn(), 1)


@contextmanager
def spread_over(runner: Runner, workers: int, dask_address: str = "") -> Iterator[Spread]:
    """Spread over `workers` processes of this machine, or over a dask cluster; one process works in turn.

    `dask_address`: the cluster's scheduler, empty for a cluster of `workers` processes on this machine.
    Raises BadInput when dask is not installed or its scheduler does not answer.
    """
    if runner == "dask":
        with _dask(workers, dask_address) as spread:
            yield spread
    elif workers == 1:
        yield IN_TURN
    else:
        # Forking a process with threads (LightGBM's, the orchestrator's) may deadlock; spawned ones begin anew.
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_begin) as pool:
            try:
                # One more than there are workers, so that none waits while a result is looked at.
                yield Spread(pool, workers + 1)
            finally:
                pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """Prepare a process of the pool. Ctrl-C reaches every process of a terminal; the one that started them answers it.

    One that is killed does not end its pool, whose processes would wait for work for ever.
    """
    signal(SIGINT, SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent:
        parent.join()
    os._exit(1)


@contextmanager
def _dask(workers: int, address: str) -> Iterator[Spread]:
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        raise BadInput(
            "--runner dask needs dask, which is not installed; install it with `pip install '.[dask]'`, "
            "or leave the flag out"
        ) from None
    if not address:
        with (
            # A scheduler runs whatever it is sent: certificates of the moment keep other accounts of this machine out.
            LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None, security=True) as cluster,
            Client(cluster) as client,
            catch_warnings(),
        ):
            _expect_large_pieces()
            yield Spread(client.get_executor(pure=False), workers + 1)
        return
    try:
        client = Client(address)
    except (OSError, ValueError) as error:
        raise BadInput(
            f"no dask scheduler answers at {address!r} ({error}); check --dask_address or HYBRID_ML_DASK_ADDRESS, or "
            "leave both out for a cluster on this machine"
        ) from None
    with client, catch_warnings():
        _expect_large_pieces()
        yield Spread(client.get_executor(pure=False), sum(client.nthreads().values()) + 1)


def _expect_large_pieces() -> None:
    """Training rows are 17 MB, each sent once; dask warns from 10 MB on that they might be sent often."""
    filterwarnings("ignore", message="Sending large graph")
