"""What stands in the Prefect UI after a run, on a real server."""

from typing import Any

import pandas as pd
import pytest
from prefect.artifacts import Artifact
from sqlalchemy import Engine, text

from flows.analysis import analysis
from flows.backfill import backfill
from hybrid_ml.reporting.artifact_keys import page_key
from hybrid_ml.schemas.requests import AnalysisRequest, BackfillRequest
from hybrid_ml.store.bars import store_bars
from tests.flows.running import AS_OF, SURE, run, train

PICTURE = "](data:image/png;base64,"


def page(key: str) -> Artifact:
    found: Any = Artifact.get(key)
    assert found is not None, f"there is no artifact {key}"
    return found


def test_a_training_and_an_analysis_leave_a_page_each(market: Engine) -> None:
    trained = train()
    message = page("training-abc").data
    assert message.count(PICTURE) == 3
    assert trained.version in message
    assert "there was no champion." in message
    assert "# Bars of ABC" in page("data-quality-abc").data
    state, report = run(analysis, AnalysisRequest(as_of=AS_OF, symbols="ABC", **SURE))
    assert state.is_completed()
    message = page("analysis-abc").data
    assert message.count(PICTURE) == 1
    assert f"{report.analyses[0].confidence:.3f}" in message


def test_a_chart_that_cannot_be_drawn_costs_the_run_nothing(trained: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> bytes:
        raise OSError("no fonts here")

    monkeypatch.setattr("tasks.report.answer_picture", refuse)
    monkeypatch.setattr("tasks.report.training_pictures", refuse)
    state, _ = run(analysis, AnalysisRequest(as_of=AS_OF, symbols="ABC"))
    assert state.is_completed()
    assert PICTURE not in page("analysis-abc").data
    train()
    assert PICTURE not in page("training-abc").data


def test_a_symbol_that_fails_has_its_reason_on_the_page_of_the_run(trained: Engine, bars: pd.DataFrame) -> None:
    store_bars(trained, "A|B", bars[:50])
    state, _ = run(analysis, AnalysisRequest(as_of=AS_OF))
    assert state.name == "Failed"
    message = page("analysis").data
    assert "| ABC |" in message
    assert "**A\\|B**" in message


def test_a_backfill_tells_of_its_bars_and_of_every_row_set_aside(
    engine: Engine, prefect_api: str, tmp_path: Any
) -> None:
    good = pd.DataFrame({"time": pd.date_range("2024-01-01", periods=200, freq="min", tz="UTC"), "open": 10.0,
                         "high": 11.0, "low": 9.0, "close": 10.0, "volume": 1.0})  # fmt: skip
    bad = good.iloc[:3].assign(time=good["time"].iloc[:3] + pd.Timedelta(days=1), high=1.0)
    pd.concat([good, bad]).to_parquet(tmp_path / "bars.parquet")
    run(backfill, BackfillRequest(csv_path=tmp_path / "bars.parquet", symbol="BTC/USD"))
    with engine.connect() as connection:
        reason = connection.execute(text("SELECT min(reason) FROM bars_set_aside")).scalar_one()
    message = page(page_key("data-quality", "BTC/USD")).data
    assert "| minutes looked at | 200 |" in message
    assert f"| 3 | {reason}" in message.replace("\\", "")
