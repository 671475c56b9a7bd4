"""A replay on several processes, or divided into other batches, gives bit-identical answers."""

import gc
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import psutil
import pytest
from distributed import Client

from hybrid_ml.errors import BadInput, HybridMLError
from hybrid_ml.learning.model import HybridModel
from hybrid_ml.learning.promotion import Promotion
from hybrid_ml.market.bars import MAX_GAP_MINUTES, clean_bars
from hybrid_ml.market.simulation import simulate_bars
from hybrid_ml.replay import lookahead, memory_store
from hybrid_ml.replay.engine import ReplayedService, train
from hybrid_ml.replay.executors import SEQUENTIAL, WorkerPool, open_pool
from hybrid_ml.replay.history import Past
from hybrid_ml.replay.memory_store import Trained
from hybrid_ml.schemas.requests import AnalysisRequest
from tests.conftest import ROOT
from tests.up import wait_for

START = datetime(2024, 2, 4, 18, tzinfo=UTC)
"""An hour and a half before quiet hours."""
CYCLES = 80
MOMENTS = [START + cycle * timedelta(minutes=10) for cycle in range(CYCLES)]


@pytest.fixture(scope="module")
def past() -> Past:
    """A hole of forty minutes, a session break, lies in the evening's cycles."""
    bars = clean_bars(simulate_bars(MOMENTS[-1] + timedelta(hours=1), bars=5_500)).bars
    hole = (bars["time"] >= START + timedelta(minutes=35)) & (bars["time"] < START + timedelta(minutes=75))
    return Past(bars[~hole].reset_index(drop=True), MAX_GAP_MINUTES)


@pytest.fixture(scope="module")
def trained(past: Past) -> Trained:
    """A base of a fifth of the usual trees; those of trainings in other processes cannot be changed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hybrid_ml.learning.training.BOOSTING_ROUNDS", 60)
        return train(past, "ABC", "base", START, 0, 23_000, 1)


@pytest.fixture
def often_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recent accuracy is often too low, and every third training from scratch is promoted."""
    monkeypatch.setattr("hybrid_ml.learning.fallback.MINIMUM_RECENT_ACCURACY", 0.62)
    monkeypatch.setattr("hybrid_ml.learning.fallback.LONGEST_SCRATCH_PERIOD", timedelta(hours=1))
    monkeypatch.setattr(lookahead, "BATCH_CYCLES", 16)

    def decide(challenger: HybridModel, champion: HybridModel | None, *_: Any, **__: Any) -> Promotion:
        hours = (challenger.base.as_of - START) // timedelta(hours=1)
        return Promotion(champion is None or hours % 3 == 2, "for the test")

    monkeypatch.setattr(memory_store, "decide", decide)


def replayed(
    past: Past, trained: Trained, pool: WorkerPool, cycles: int = CYCLES, **options: Any
) -> tuple[pd.DataFrame, ReplayedService]:
    service = ReplayedService("ABC", AnalysisRequest(symbols=["ABC"], **options), lambda _: (0, 2_000), 1)
    service.weekly(trained)
    rows = [row for row in service.cycles(past, MOMENTS[:cycles], pool) if row is not None]
    return pd.DataFrame(rows), service


@pytest.fixture(scope="module")
def two_processes() -> Iterator[WorkerPool]:
    with open_pool("processes", 2) as pool:
        yield pool


def test_two_processes_answer_as_one_although_the_champion_changes_within_a_batch(
    past: Past, trained: Trained, two_processes: WorkerPool, often_trained: None
) -> None:
    requested = {"disable_sleep_window": True, "enable_recent_penalty": True}
    alone, before = replayed(past, trained, SEQUENTIAL, **requested)
    parallel, after = replayed(past, trained, two_processes, **requested)
    pd.testing.assert_frame_equal(alone, parallel, check_exact=True)
    assert before.champion.version == after.champion.version
    assert before.ledger == after.ledger
    assert replace(before.registry, champion=None) == replace(after.registry, champion=None)
    changed = alone.index[alone["fell_back"]].to_numpy()
    assert (changed % lookahead.BATCH_CYCLES > 0).any()
    assert before.registry.replaced > 1
    assert before.registry.kept > 1


@pytest.mark.parametrize("requested", [{}, {"fast_mode": True, "disable_sleep_window": True}], ids=["asleep", "fast"])
def test_division_into_batches_does_not_change_answers(
    past: Past, trained: Trained, monkeypatch: pytest.MonkeyPatch, requested: dict[str, Any]
) -> None:
    frames = []
    for cycles in (1, 7, CYCLES):
        monkeypatch.setattr(lookahead, "BATCH_CYCLES", cycles)
        frames.append(replayed(past, trained, SEQUENTIAL, **requested)[0])
    assert len(frames[0]) > 20
    assert frames[0]["kind"].eq("adapter").any() == (not requested.get("fast_mode"))
    pd.testing.assert_frame_equal(frames[0], frames[2], check_exact=True)
    pd.testing.assert_frame_equal(frames[1], frames[2], check_exact=True)


def test_a_dask_cluster_answers_as_one_process_and_refuses_clients_without_its_certificate(
    past: Past, trained: Trained
) -> None:
    """A scheduler runs whatever it is sent; another account of this machine could reach its port."""
    alone, _ = replayed(past, trained, SEQUENTIAL, cycles=12, disable_sleep_window=True)
    with open_pool("dask", 2) as cluster:
        parallel, _ = replayed(past, trained, cluster, cycles=12, disable_sleep_window=True)
        address = cluster.executor._client.scheduler.address
        assert address.startswith("tls://127.0.0.1:")
        for other_address in (address, address.replace("tls://", "tcp://")):
            with pytest.raises((OSError, TypeError)), Client(other_address, timeout="2s"):
                pass
            # A client that could not connect closes itself when it is collected. If that happens while another one
            # starts, both wait for the same lock for ever.
            gc.collect()
    pd.testing.assert_frame_equal(alone, parallel, check_exact=True)


def test_without_dask_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(BadInput, match=r"pip install '\.\[dask\]'"), open_pool("dask", 1):
        pass


def test_results_keep_their_order_and_errors_are_raised(two_processes: WorkerPool) -> None:
    assert list(two_processes.map_in_order(divmod, [(number, 7) for number in range(20)])) == [
        divmod(number, 7) for number in range(20)
    ]
    with pytest.raises(ZeroDivisionError):
        list(two_processes.map_in_order(divmod, [(1, 1), (1, 0)]))


def test_dead_worker_process_is_reported() -> None:
    with pytest.raises(HybridMLError, match="a worker process died"), open_pool("processes", 2) as pool:
        list(pool.map_in_order(os._exit, [(1,)]))


def test_pool_processes_end_when_their_parent_is_killed() -> None:
    program = """
import os, signal
from hybrid_ml.replay.executors import open_pool

with open_pool("processes", 2) as pool:
    print(*pool.map_in_order(os.getpid, [()] * 4), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    pids = [int(word) for word in done.stdout.split()]
    assert len(pids) == 4
    wait_for("the end of the pool", lambda: not any(psutil.pid_exists(pid) for pid in pids))


def test_pieces_are_made_only_when_a_worker_is_free() -> None:
    made: list[int] = []

    def pieces() -> Iterator[tuple[int, int]]:
        for number in range(5):
            made.append(number)
            yield number, 7

    results = SEQUENTIAL.map_in_order(divmod, pieces())
    next(results)
    assert made == [0]
    results.close()
    assert made == [0]


def test_penalty_ends_when_the_suppressed_answers_are_right(past: Past, trained: Trained) -> None:
    requested = {"min_confidence": 0.65, "min_prob_margin": 0.0, "max_entropy": 1.1, "fast_mode": True}
    request = AnalysisRequest(symbols=["ABC"], disable_sleep_window=True, enable_recent_penalty=True, **requested)
    service = ReplayedService("ABC", request, lambda _: (0, 3_000), 1)
    service.weekly(trained)
    yesterday = START - timedelta(hours=10)
    poor = [(yesterday + timedelta(minutes=10 * place), "up", 0.75, "down") for place in range(30)]
    service.ledger.signals = list(poor)
    rows = pd.DataFrame([row for row in service.cycles(past, MOMENTS) if row is not None])
    silenced, signal = rows["silenced_by_penalty"], rows["signal"]
    first = int(signal.to_numpy().argmax())
    assert silenced[:first].sum() > 10  # silent for hours, and every answer it would have sent is noted
    assert signal[first:].sum() > 5
    assert not silenced[-10:].any()
    assert not (silenced & signal).any()
    assert set(rows["refused_by"][silenced]) == {"confidence"}
    assert (rows[["p_down", "p_up"]].max(axis=1)[silenced] >= 0.65).all()
    assert [item[0] for item in service.ledger.signals] == [
        *(answer[0] for answer in poor), *rows["bar_time"][silenced | signal],
    ]  # fmt: skip
