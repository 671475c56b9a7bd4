"""Locks on symbols: one run at a time works on a symbol, on any machine."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from hybrid_ml.errors import StoreUnavailable, SymbolBusy

POLL_SECONDS = 0.2
TRY = text("""
    SELECT symbol FROM unnest(CAST(:symbols AS text[])) AS symbol
    WHERE pg_try_advisory_xact_lock(hashtext('hybrid-ml symbol'), hashtext(symbol))
""")


class SymbolLocks:
    """Advisory locks held by one transaction, released when it or its connection ends.

    A transaction's lock works through the connection poolers of Neon and Supabase, which give
    a session's connection to others. A lock lost with its connection does no harm: saving
    compares and swaps, and keys are unique; the lock only avoids doing the work twice.
    """

    def __init__(self, engine: Engine, wait_seconds: float) -> None:
        self._engine, self._wait_seconds = engine, wait_seconds
        self._connection: Connection | None = None

    def take(self, symbol: str) -> float:
        """Lock `symbol`; returns the seconds waited, raises SymbolBusy after `wait_seconds`."""
        started = time.monotonic()
        if not self.take_free([symbol]):
            raise self.busy(symbol)
        return time.monotonic() - started

    def take_free(self, symbols: list[str]) -> list[str]:
        """Lock those of `symbols` that are free, and return them; where none is, wait until one is.

        Returns an empty list after `wait_seconds`.
        """
        until = time.monotonic() + self._wait_seconds
        while not (taken := self._try(symbols)) and time.monotonic() < until:
            time.sleep(POLL_SECONDS)
        return taken

    def busy(self, symbol: str) -> SymbolBusy:
        """The error for a symbol that `take_free` did not return."""
        return SymbolBusy(
            f"another run is working on {symbol} (waited {self._wait_seconds:.0f} s); this run skips it. "
            "HYBRID_ML_LOCK_WAIT_SECONDS sets how long to wait"
        )

    def _try(self, symbols: list[str]) -> list[str]:
        try:
            if self._connection is None:
                self._connection = self._engine.connect()
                # Training keeps the transaction idle for longer than some servers allow.
                self._connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
            free = set(self._connection.execute(TRY, {"symbols": symbols}).scalars())
            return [symbol for symbol in symbols if symbol in free]
        except (SQLAlchemyError, StoreUnavailable):
            self.release()  # so that the next try begins on a new connection
            raise

    def release(self) -> None:
        """Release every lock; a connection that died has released its locks already."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(SQLAlchemyError, StoreUnavailable):
                connection.close()


@contextmanager
def symbol_locks(engine: Engine, wait_seconds: float) -> Iterator[SymbolLocks]:
    """Locks that are released at the end of the block."""
    locks = SymbolLocks(engine, wait_seconds)
    try:
        yield locks
    finally:
        locks.release()
