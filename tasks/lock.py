"""Lock: one run at a time works on a symbol."""

from hybrid_ml.store.locks import SymbolLocks
from tasks.stage import log, stage


@stage("lock {symbol}", timeout_seconds=7_200, outside=True)
def lock_symbol(symbol: str, locks: SymbolLocks) -> None:
    """Wait for the run that works on `symbol` now, within bounds, and keep others out until this one ends."""
    waited = locks.take(symbol)
    if waited >= 1:
        log().info("%s: waited %.0f s for another run", symbol, waited)
