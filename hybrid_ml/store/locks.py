"""One run at a time works on a symbol, whichever machine it runs on."""

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
    """Advisory locks held by one transaction, and let go when it or its connection ends.

    A lock of a transaction works through the connection poolers of Neon and Supabase, which hand
    the connection of a session to others. A lock that dies with its connection does no harm: saving
    compares and swaps, and keys are unique; the lock spares the work of doing it twice.
    """

    def __init__(self, engine: Engine, wait_seconds: float) -> None:
        self._engine, self._wait_seconds = engine, wait_seconds
        self._connection: Connection | None = None

    def take(self, symbol: str) -> float:
        """Hold the lock of `symbol`; returns the seconds waited, raises SymbolBusy when they are over."""
        started = time.monotonic()
        if not self.take_free([symbol]):
            raise self.busy(symbol)
        return time.monotonic() - started

    def take_free(self, symbols: list[str]) -> list[str]:
        """Hold the locks of those of `symbols` that are free, and return them; where none is, wait until one is.

        Returns none when the wait is over.
        """
        until = time.monotonic() + self._wait_seconds
        while not (taken := self._try(symbols)) and time.monotonic() < until:
            time.sleep(POLL_SECONDS)
        return taken

    def busy(self, symbol: str) -> SymbolBusy:
        """What to say of a symbol that `take_free` did not return."""
        return SymbolBusy(
            f"another run is working on {symbol} (waited {self._wait_seconds:.0f} s); this one leaves it alone. "
            "HYBRID_ML_LOCK_WAIT_SECONDS says how long to wait"
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
        """Let go of every lock; a connection that died has let go already."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(SQLAlchemyError, StoreUnavailable):
                connection.close()


@contextmanager
def symbol_locks(engine: Engine, wait_seconds: float) -> Iterator[SymbolLocks]:
    """Locks that are let go at the end of the block."""
    locks = SymbolLocks(engine, wait_seconds)
    try:
        yield locks
    finally:
        locks.release()
