"""One run at a time works on a symbol, whichever machine it runs on."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from hybrid_ml.errors import SymbolBusy

POLL_SECONDS = 0.2


class SymbolLocks:
    """Advisory locks held by one transaction, and let go when it or its connection ends.

    A lock of a transaction works through the connection poolers of Neon and Supabase, which hand
    the connection of a session to others. A lock that dies with its connection does no harm: saving
    compares and swaps, and keys are unique; the lock spares the work of doing it twice.
    """

    def __init__(self, engine: Engine, wait_seconds: float) -> None:
        self._engine, self._wait_seconds = engine, wait_seconds
        self._connection: Connection | None = None

    def take(self, symbol: str, sleep: Callable[[float], None] = time.sleep) -> float:
        """Hold the lock of `symbol`; returns the seconds waited, raises SymbolBusy when they are over."""
        started = time.monotonic()
        while not self._try(symbol):
            waited = time.monotonic() - started
            if waited >= self._wait_seconds:
                raise SymbolBusy(
                    f"another run is working on {symbol} (waited {waited:.0f} s); this one leaves it alone. "
                    "HYBRID_ML_LOCK_WAIT_SECONDS says how long to wait"
                )
            sleep(POLL_SECONDS)
        return time.monotonic() - started

    def _try(self, symbol: str) -> bool:
        try:
            if self._connection is None:
                self._connection = self._engine.connect()
                # Training keeps the transaction idle for longer than some servers allow.
                self._connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
            statement = text("SELECT pg_try_advisory_xact_lock(hashtext('hybrid-ml symbol'), hashtext(:symbol))")
            return bool(self._connection.execute(statement, {"symbol": symbol}).scalar_one())
        except SQLAlchemyError:
            self.release()  # so that the next try begins on a new connection
            raise

    def release(self) -> None:
        """Let go of every lock; a connection that died has let go already."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(SQLAlchemyError):
                connection.close()


@contextmanager
def symbol_locks(engine: Engine, wait_seconds: float) -> Iterator[SymbolLocks]:
    """Locks that are let go at the end of the block."""
    locks = SymbolLocks(engine, wait_seconds)
    try:
        yield locks
    finally:
        locks.release()
