"""Weekly training as a Prefect flow."""

import json
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest
from sqlalchemy import Engine

from flows.weekly_training import weekly_training
from hybrid_ml.schemas.requests import TrainingRequest
from hybrid_ml.store.bars import store_bars
from tests.flows.running import AS_OF, BOOSTING_ROUNDS, analyze, page, rows, run, train


def test_first_model_is_evaluated_promoted_copied_and_trained_again_the_same(market: Engine, home: Path) -> None:
    training = train()
    assert training.promoted
    assert (training.rows, training.row_limit, training.week) == (3_000, 3_000, 0)
    metrics = training.metrics
    assert metrics["rows"] == 300
    assert 0 < metrics["accuracy"] < 1
    assert metrics["log_loss"] < metrics["prior_log_loss"]  # the simulated market is predictable by design
    assert sorted(path.name for path in (home / "models").iterdir()) == [
        "lightgbm_model.pkl",
        f"model_metadata_{training.version}.json",
    ]
    metadata = json.loads((home / "models" / f"model_metadata_{training.version}.json").read_text())
    assert metadata["trees"] == 3 * BOOSTING_ROUNDS
    assert metadata["parameters"]["learning_rate"] == 0.05
    assert metadata["parameters"]["max_depth"] == 8
    assert rows(market, "SELECT status, rows, week FROM model_versions") == [("champion", 3_000, 0)]
    assert training.trained_until < AS_OF, "it uses only bars closed at as_of"
    assert rows(market, "SELECT data_until FROM model_versions")[0][0] == AS_OF
    assert analyze().model.kind == "adapter"
    copy = home / "models" / "lightgbm_model.pkl"
    before = copy.read_bytes()
    again = train()
    assert (again.version, again.reason) == (training.version, "it is the champion already")
    assert rows(market, "SELECT count(*) FROM model_versions WHERE kind = 'base'") == [(1,)]
    assert copy.read_bytes() == before, "its adapter stays in the model file"


def test_progressive_scaling_counts_weeks_from_the_first_base_and_uses_all_bars_below_the_limit(
    market: Engine,
) -> None:
    train(as_of=AS_OF - timedelta(days=2), limit=2_000)
    progressive = train(limit=None, progressive=True)
    assert (progressive.week, progressive.row_limit) == (0, 23_000)
    overridden = train(limit=None, week=6)
    assert (overridden.week, overridden.row_limit) == (6, 80_000)
    assert 6_000 < overridden.rows < 9_000


def test_bars_of_a_file_are_trained_on_without_being_stored(
    engine: Engine, prefect_api: str, bars: pd.DataFrame, tmp_path: Path
) -> None:
    bars.to_csv(tmp_path / "bars.csv", index=False)
    requested = {
        "source": "csv",
        "csv_path": tmp_path / "bars.csv",
        "symbols": ["FILED"],
        "limit": 3_000,
        "as_of": AS_OF,
    }
    state, report = run(weekly_training, TrainingRequest(**requested))
    assert state.is_completed(), state.message
    assert [training.symbol for training in report.trainings] == ["FILED"]
    assert f"The training used {report.trainings[0].minutes:,} minutes of bars; this is week 0." in page(
        "training-filed"
    )
    assert rows(engine, "SELECT count(*) FROM bars") == [(0,)]


def test_failing_symbol_is_named_and_does_not_stop_the_others(market: Engine, bars: pd.DataFrame) -> None:
    store_bars(market, "SHORT", bars.head(1_500))
    request = TrainingRequest(symbols=["NONE", "SHORT", "ABC"], limit=3_000, as_of=AS_OF)
    state, report = run(weekly_training, request)
    assert [training.symbol for training in report.trainings] == ["ABC"]
    failures = {failure.symbol: failure.error for failure in report.failures}
    assert "no bars of NONE" in failures["NONE"]
    assert "minimum of 2,000" in failures["SHORT"]
    assert state.is_failed()
    assert "NONE" in state.message


def test_unwritable_models_folder_fails_the_run_but_keeps_the_model_in_the_registry(
    market: Engine, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "occupied").write_text("not a folder")
    for folder in (home / "occupied", home / "occupied" / "models"):
        monkeypatch.setenv("HYBRID_ML_MODELS_DIR", str(folder))
        state, report = run(weekly_training, TrainingRequest(limit=2_000, as_of=AS_OF))
        assert state.is_failed()
        assert "cannot be written" in report.failures[0].error
        assert "in the database" in report.failures[0].error
        assert rows(market, "SELECT status FROM model_versions") == [("champion",)]
