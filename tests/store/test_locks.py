"""Locks of symbols: one run at a time, also when connections are lost."""

import threading
import time
from types import SimpleNamespace

import pytest
from sqlalchemy import Engine, create_engine

from hybrid_ml.errors import StoreUnreachable, SymbolBusy
from hybrid_ml.store.locks import symbol_locks
from tests.databases import end_other_connections


@pytest.fixture
def other(engine: Engine) -> Engine:
    """The same database from another machine."""
    return create_engine(engine.url)


def test_symbol_lock_is_held_until_the_block_ends(engine: Engine, other: Engine) -> None:
    with symbol_locks(engine, 0) as locks:
        locks.take("ABC")
        locks.take("ABC")  # a held lock may be taken again
        with symbol_locks(other, 0) as other_locks:
            other_locks.take("XYZ")
            with pytest.raises(SymbolBusy, match="another run is working on ABC"):
                other_locks.take("ABC")
            other_locks.take("XYZ")
    with symbol_locks(other, 0) as other_locks:
        other_locks.take("ABC")


def test_waiting_run_gets_the_lock_when_it_is_released(
    engine: Engine, other: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_held, is_waiting = threading.Event(), threading.Event()

    def sleep(seconds: float) -> None:
        """The waiting run has tried once."""
        is_waiting.set()
        time.sleep(seconds)

    def hold() -> None:
        with symbol_locks(other, 0) as other_locks:
            other_locks.take("ABC")
            is_held.set()
            is_waiting.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    assert is_held.wait(30)
    monkeypatch.setattr("hybrid_ml.store.locks.time", SimpleNamespace(monotonic=time.monotonic, sleep=sleep))
    with symbol_locks(engine, 30) as locks:
        assert 0 < locks.take("ABC") < 20
    assert is_waiting.is_set()
    thread.join()


def test_error_in_the_block_releases_the_lock(engine: Engine, other: Engine) -> None:
    with pytest.raises(RuntimeError, match="broken"), symbol_locks(engine, 0) as locks:
        locks.take("ABC")
        raise RuntimeError("broken")
    with symbol_locks(other, 0) as other_locks:
        other_locks.take("ABC")


def test_lost_connection_raises_once_and_is_replaced(engine: Engine, other: Engine) -> None:
    with symbol_locks(engine, 0) as locks:
        locks.take("ABC")
        with other.begin() as connection:
            end_other_connections(connection)
        with pytest.raises(StoreUnreachable, match="cannot reach the database"):
            locks.take("XYZ")
        locks.take("XYZ")
        with symbol_locks(other, 0) as other_locks:
            other_locks.take("ABC")  # the lock was released with its connection
