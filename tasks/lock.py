"""Lock: one run at a time works on a symbol."""

import time
from typing import Any

from prefect.runtime import task_run

from hybrid_ml.store.locks import SymbolLocks
from tasks.pipeline_task import log, pipeline_task


def _name() -> str:
    """`lock BTCUSD`; of many symbols the first and the number of the others."""
    symbols: Any = task_run.parameters["symbols"]
    return f"lock {symbols[0]}" + (f" and {len(symbols) - 1} more" if len(symbols) > 1 else "")


@pipeline_task(_name, timeout_seconds=7_200, uses_io=True)
def lock_symbols(symbols: list[str], locks: SymbolLocks) -> list[str]:
    """Lock those of `symbols` that are free, until this run ends; where none is free, wait for one."""
    started = time.monotonic()
    taken = locks.take_free(symbols)
    waited = time.monotonic() - started
    if waited >= 1:
        log().info("%s: waited %.0f s for another run", ", ".join(taken or symbols), waited)
    return taken
