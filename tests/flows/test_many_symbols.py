"""Many symbols in one run, in parallel threads or on a dask cluster."""

import sys
from datetime import timedelta
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import Engine, text

from flows.analysis import analysis
from flows.weekly_training import weekly_training
from hybrid_ml.schemas.requests import AnalysisRequest, TrainingRequest
from hybrid_ml.store.bars import store_bars
from hybrid_ml.store.locks import symbol_locks
from tests.flows.running import AS_OF, SURE, rows, run

SYMBOLS = ["ABC", "S1", "S2"]
UNUSED_ADDRESS = "tcp://127.0.0.1:9"


@pytest.fixture
def three_symbols(market: Engine, bars: pd.DataFrame) -> Engine:
    """Three symbols, each with its own model."""
    for symbol in SYMBOLS[1:]:
        store_bars(market, symbol, bars)
    request = TrainingRequest(symbols=SYMBOLS, limit=2_000, as_of=AS_OF - timedelta(hours=12))
    state, report = run(weekly_training, request)
    assert state.is_completed()
    assert [training.symbol for training in report.trainings] == SYMBOLS
    return market


def make_request(**changes: Any) -> AnalysisRequest:
    return AnalysisRequest(**{"symbols": SYMBOLS, "as_of": AS_OF, **SURE, **changes})


def test_symbols_are_answered_in_threads_and_dask_alike_whether_one_is_locked_or_fails(
    three_symbols: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = []
    for execution in ({}, {"runner": "dask"}):
        state, report = run(analysis, make_request(max_signals=1, **execution))
        assert state.is_completed(), state.message
        answers.append([(answer.symbol, answer.probabilities, answer.signal) for answer in report.analyses])
        signals = [answer for answer in report.analyses if answer.signal]
        candidates = [answer for answer in report.analyses if set(answer.refused_by) <= {"max_signals"}]
        assert len(signals) == min(1, len(candidates)), "max_signals keeps the highest confidence"
        assert all(signals[0].confidence >= candidate.confidence for candidate in candidates)
    assert [symbol for symbol, _, _ in answers[0]] == SYMBOLS
    assert answers[0] == answers[1]

    monkeypatch.setenv("HYBRID_ML_LOCK_WAIT_SECONDS", "0.5")
    with symbol_locks(three_symbols, 0) as held:
        held.take("ABC")
        states = [run(analysis, make_request())]
        states.append(run(weekly_training, TrainingRequest(symbols=SYMBOLS, limit=2_000, as_of=AS_OF)))
    for state, report in states:
        assert state.name == "Busy"
        assert [(failure.symbol, failure.busy) for failure in report.failures] == [("ABC", True)]
    assert [answer.symbol for answer in states[0][1].analyses] == ["S1", "S2"]
    assert [training.symbol for training in states[1][1].trainings] == ["S1", "S2"]

    with three_symbols.begin() as connection:
        connection.execute(text("DELETE FROM bars WHERE symbol = 'S1'"))
    later = AS_OF + timedelta(minutes=10)
    state, report = run(analysis, make_request(as_of=later))
    assert state.is_failed()
    assert [failure.symbol for failure in report.failures] == ["S1"]
    recorded = f"SELECT symbol FROM predictions WHERE as_of = '{later}' ORDER BY symbol"
    assert rows(three_symbols, recorded) == [("ABC",), ("S2",)]


def test_unreachable_dask_scheduler_is_named_with_remedy(market: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hybrid_ml.pipeline.dask_cluster.CONNECT_SECONDS", 1)
    state = analysis(make_request(symbols=["ABC"], runner="dask", dask_address=UNUSED_ADDRESS), return_state=True)
    assert state.is_failed()
    assert f"no dask scheduler answers at '{UNUSED_ADDRESS}'" in state.message
    assert "check --dask_address or HYBRID_ML_DASK_ADDRESS" in state.message


def test_missing_dask_error_names_install_command(market: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prefect_dask.task_runners", None)
    state = analysis(make_request(symbols=["ABC"], runner="dask"), return_state=True)
    assert state.is_failed()
    assert "pip install '.[dask]'" in state.message


@pytest.mark.parametrize(
    ("request_type", "values", "reason"),
    [
        (AnalysisRequest, {"dask_address": UNUSED_ADDRESS}, "goes with --runner dask, not --runner threads"),
        (TrainingRequest, {"dask_address": UNUSED_ADDRESS}, "goes with --runner dask, not --runner threads"),
        (AnalysisRequest, {"runner": "dask", "dask_address": "somewhere"}, "should match pattern"),
        (AnalysisRequest, {"runner": "processes"}, "Input should be 'threads' or 'dask'"),
    ],
)
def test_invalid_runner_options_are_refused(request_type: Any, values: dict[str, str], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        request_type(**values)
