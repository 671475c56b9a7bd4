"""One run at a time on a symbol, whatever becomes of connections."""

import threading
import time
from types import SimpleNamespace

import pytest
from sqlalchemy import Engine, create_engine

from hybrid_ml.errors import StoreUnreachable, SymbolBusy
from hybrid_ml.store.locks import symbol_locks
from tests.databases import end_others


@pytest.fixture
def other(engine: Engine) -> Engine:
    """The same database from another machine."""
    return create_engine(engine.url)


def test_a_symbol_is_held_until_the_block_ends_and_others_are_free(engine: Engine, other: Engine) -> None:
    with symbol_locks(engine, 0) as mine:
        mine.take("ABC")
        mine.take("ABC")  # what one holds one may take again
        with symbol_locks(other, 0) as theirs:
            theirs.take("XYZ")
            with pytest.raises(SymbolBusy, match="another run is working on ABC"):
                theirs.take("ABC")
            theirs.take("XYZ")
    with symbol_locks(other, 0) as theirs:
        theirs.take("ABC")


def test_who_waits_gets_it_as_soon_as_it_is_free(
    engine: Engine, other: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, requested = threading.Event(), threading.Event()

    def let_go(seconds: float) -> None:
        """Once the one who waits has looked in vain."""
        requested.set()
        time.sleep(seconds)

    def hold() -> None:
        with symbol_locks(other, 0) as theirs:
            theirs.take("ABC")
            taken.set()
            requested.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    assert taken.wait(30)
    monkeypatch.setattr("hybrid_ml.store.locks.time", SimpleNamespace(monotonic=time.monotonic, sleep=let_go))
    with symbol_locks(engine, 30) as mine:
        assert 0 < mine.take("ABC") < 20
    assert requested.is_set()
    thread.join()


def test_an_error_in_the_block_lets_go(engine: Engine, other: Engine) -> None:
    with pytest.raises(RuntimeError, match="broken"), symbol_locks(engine, 0) as mine:
        mine.take("ABC")
        raise RuntimeError("broken")
    with symbol_locks(other, 0) as theirs:
        theirs.take("ABC")


def test_a_connection_that_was_cut_ends_quietly_and_the_next_try_is_on_a_new_one(engine: Engine, other: Engine) -> None:
    with symbol_locks(engine, 0) as mine:
        mine.take("ABC")
        with other.begin() as connection:
            end_others(connection)
        with pytest.raises(StoreUnreachable, match="cannot reach the database"):
            mine.take("XYZ")
        mine.take("XYZ")
        with symbol_locks(other, 0) as theirs:
            theirs.take("ABC")  # the lock went with its connection
