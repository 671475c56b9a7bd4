"""PostgreSQL restarted, or stopped for some seconds, during each stage of both flows."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

import hybrid_ml.store.engine as store_engine
from hybrid_ml.config.settings import load_settings
from hybrid_ml.market.bars import clean_bars
from hybrid_ml.market.simulation import simulate_bars
from hybrid_ml.store.bars import store_bars
from hybrid_ml.store.engine import open_engine
from tests.conftest import WORK
from tests.databases import OwnPostgres
from tests.faults import victim
from tests.faults.conftest import REQUESTS, timed
from tests.faults.sample import sample
from tests.faults.table import FaultRows
from tests.faults.test_kill import STAGES
from tests.flows.running import AS_OF, analyze, rows, train

DOWN_SECONDS = 3.0


@pytest.fixture(scope="module")
def own_server() -> Iterator[OwnPostgres]:
    """A separate server for this module, so that stopping it disturbs no other test.

    Not below pytest's own folder: pytest closes that to other users when a session begins, and if the tests
    run as root, the server runs as another user.
    """
    folder = WORK / "restarted"
    folder.mkdir()
    yield OwnPostgres(folder)


@pytest.fixture
def market(
    own_server: OwnPostgres, prefect_api: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[OwnPostgres]:
    """An installation on that server with bars and a champion only."""
    monkeypatch.setenv("HYBRID_ML_DATA_DIR", str(own_server.folder))
    monkeypatch.setenv("HYBRID_ML_MODELS_DIR", str(tmp_path / "models"))
    own_server.start()
    store_engine._open_embedded.cache_clear()
    monkeypatch.setenv("NEON_CONN_STR", "")
    engine = open_engine(load_settings())
    assert str(own_server.folder / "postgres") == engine.url.query["host"], "not the one to be stopped"
    with engine.begin() as connection:
        for table in ("deliveries", "alerts", "predictions", "model_events", "model_versions"):
            connection.exec_driver_sql(f"DELETE FROM {table}")
    if not rows(engine, "SELECT 1 FROM bars LIMIT 1"):
        store_bars(engine, "ABC", clean_bars(simulate_bars(AS_OF, bars=9_000)).bars)
    train(as_of=REQUESTS["analysis"]["as_of"].replace(hour=0), limit=2_000)
    yield own_server
    own_server.start()


def end_state(server: OwnPostgres) -> list[tuple]:
    engine = open_engine(load_settings())
    return [
        *rows(engine, "SELECT version, status FROM model_versions ORDER BY version"),
        *rows(engine, "SELECT bar_time, p_up, model_version, signal FROM predictions"),
        *rows(engine, "SELECT kind, chat_id, state FROM deliveries JOIN alerts ON alerts.id = alert_id"),
    ]


@pytest.mark.parametrize("flow", sample(["analysis", "weekly training"]))
def test_postgresql_restarted_at_each_stage_gives_the_same_result(
    market: OwnPostgres, faults: FaultRows, flow: str
) -> None:
    """A run with a restart at the beginning of every stage equals a run without restarts."""
    work = analyze if flow == "analysis" else train
    [(first, _)] = end_state(market)
    _, normal_seconds = timed(lambda: work(**REQUESTS[flow]))
    expected = end_state(market)
    with open_engine(load_settings()).begin() as connection:
        for table in ("deliveries", "alerts", "predictions", "model_events"):
            connection.exec_driver_sql(f"DELETE FROM {table}")
        connection.execute(text("DELETE FROM model_versions WHERE version <> :first"), {"first": first})
        connection.exec_driver_sql("UPDATE model_versions SET status = 'champion'")
    restarted: list[str] = []

    def restart(when: str, name: str) -> None:
        if when == "before" and name not in restarted:
            restarted.append(name)
            market.stop()
            market.start()

    with victim.between_stages(restart):
        _, seconds = timed(lambda: work(**REQUESTS[flow]))
    assert restarted == STAGES[flow]
    assert end_state(market) == expected
    fault = f"PostgreSQL restarted at the beginning of each of the {len(restarted)} stages, {flow}"
    faults.add(fault, "each stage tried again; the state of a run without faults", seconds - normal_seconds)


@pytest.mark.parametrize("stage", sample(["load_model", "save_proposal", "save_copy"], "save_proposal"))
def test_stage_is_retried_while_postgresql_is_down(market: OwnPostgres, faults: FaultRows, stage: str) -> None:
    """The server stops during the run and starts again three seconds later."""
    stopped: list[str] = []

    def stop_server(when: str, name: str) -> None:
        if when == "before" and name == stage and not stopped:
            stopped.append(name)
            market.stop()
            threading.Thread(target=lambda: (time.sleep(DOWN_SECONDS), market.start())).start()

    with victim.between_stages(stop_server):
        answer, seconds = timed(lambda: analyze(**REQUESTS["analysis"]))
    assert stopped == [stage]
    assert not answer.problems
    engine = open_engine(load_settings())
    assert rows(engine, "SELECT count(*) FROM predictions") == [(1,)]
    assert rows(engine, "SELECT count(*) FROM model_versions WHERE status = 'champion'") == [(1,)]
    faults.add(f"PostgreSQL away for {DOWN_SECONDS:g} s from {stage} on", "the stage was tried again", seconds)
