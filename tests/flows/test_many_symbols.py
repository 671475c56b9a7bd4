"""Many symbols in one run: side by side in threads or on a dask cluster, each on its own."""

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
NOBODY = "tcp://127.0.0.1:9"


@pytest.fixture
def three(market: Engine, bars: pd.DataFrame) -> Engine:
    """Three symbols, each with a model of its own."""
    for symbol in SYMBOLS[1:]:
        store_bars(market, symbol, bars)
    request = TrainingRequest(symbols=SYMBOLS, limit=3_000, as_of=AS_OF - timedelta(hours=12))
    state, report = run(weekly_training, request)
    assert state.is_completed()
    assert [training.symbol for training in report.trainings] == SYMBOLS
    return market


def asked(**changes: Any) -> AnalysisRequest:
    return AnalysisRequest(**{"symbols": SYMBOLS, "as_of": AS_OF, **SURE, **changes})


def test_what_ails_a_symbol_is_named_and_the_others_are_recorded(three: Engine) -> None:
    with three.begin() as connection:
        connection.execute(text("DELETE FROM bars WHERE symbol = 'S1'"))
    state, report = run(analysis, asked())
    assert state.is_failed()
    assert [failure.symbol for failure in report.failures] == ["S1"]
    assert rows(three, "SELECT symbol FROM predictions ORDER BY symbol") == [("ABC",), ("S2",)]


def test_a_busy_symbol_keeps_no_other_waiting(three: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYBRID_ML_LOCK_WAIT_SECONDS", "0.5")
    with symbol_locks(three, 0) as held:
        held.take("ABC")
        states = [run(analysis, asked())]
        states.append(run(weekly_training, TrainingRequest(symbols=SYMBOLS, limit=2_000, as_of=AS_OF)))
    for state, report in states:
        assert state.name == "Busy"
        assert [(failure.symbol, failure.busy) for failure in report.failures] == [("ABC", True)]
    assert [answer.symbol for answer in states[0][1].analyses] == ["S1", "S2"]
    assert [training.symbol for training in states[1][1].trainings] == ["S1", "S2"]


def test_the_surest_of_all_symbols_leave_and_a_cluster_answers_as_threads_do(three: Engine) -> None:
    answers = []
    for spread in ({}, {"runner": "dask"}):
        state, report = run(analysis, asked(max_signals=1, **spread))
        assert state.is_completed(), state.message
        answers.append([(answer.symbol, answer.probabilities, answer.signal) for answer in report.analyses])
        signals = [answer for answer in report.analyses if answer.signal]
        candidates = [answer for answer in report.analyses if set(answer.refused_by) <= {"max_signals"}]
        assert len(signals) == min(1, len(candidates))
        assert all(signals[0].confidence >= candidate.confidence for candidate in candidates)
    assert [symbol for symbol, _, _ in answers[0]] == SYMBOLS
    assert answers[0] == answers[1]


def test_a_scheduler_that_does_not_answer_is_named_with_its_remedy(
    market: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.task_runners.CONNECT_SECONDS", 1)
    state = analysis(asked(symbols=["ABC"], runner="dask", dask_address=NOBODY), return_state=True)
    assert state.is_failed()
    assert f"no dask scheduler answers at '{NOBODY}'" in state.message
    assert "check --dask_address or HYBRID_ML_DASK_ADDRESS" in state.message


def test_without_dask_the_error_says_how_to_install_it(market: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prefect_dask.task_runners", None)
    state = analysis(asked(symbols=["ABC"], runner="dask"), return_state=True)
    assert state.is_failed()
    assert "pip install '.[dask]'" in state.message


@pytest.mark.parametrize(
    ("request_of", "given", "reason"),
    [
        (AnalysisRequest, {"dask_address": NOBODY}, "goes with --runner dask, not --runner threads"),
        (TrainingRequest, {"dask_address": NOBODY}, "goes with --runner dask, not --runner threads"),
        (AnalysisRequest, {"runner": "dask", "dask_address": "somewhere"}, "should match pattern"),
        (AnalysisRequest, {"runner": "processes"}, "Input should be 'threads' or 'dask'"),
    ],
)
def test_a_cluster_that_cannot_be_meant_is_refused(request_of: Any, given: dict[str, str], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        request_of(**given)
