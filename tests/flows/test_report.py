"""Artifacts of runs in the Prefect UI, on a real server."""

from typing import Any

import pandas as pd
import pytest
from sqlalchemy import Engine, text

from flows.analysis import analysis
from flows.backfill import backfill
from hybrid_ml.reporting.artifact_keys import page_key
from hybrid_ml.schemas.backfill_request import BackfillRequest
from hybrid_ml.schemas.requests import AnalysisRequest
from hybrid_ml.store.bars import store_bars
from tests.flows.running import AS_OF, SURE, page, run, train

PICTURE = "](data:image/png;base64,"


def test_training_and_analysis_write_a_page_per_symbol(market: Engine) -> None:
    trained = train()
    message = page("training-abc")
    assert message.count(PICTURE) == 3
    assert trained.version in message
    assert "there was no champion." in message
    assert "# Bars of ABC" in page("data-quality-abc")
    state, report = run(analysis, AnalysisRequest(as_of=AS_OF, symbols="ABC", **SURE))
    assert state.is_completed()
    message = page("analysis-abc")
    assert message.count(PICTURE) == 1
    assert f"{report.analyses[0].confidence:.3f}" in message


def test_failing_chart_does_not_fail_the_run_and_a_failed_symbol_has_its_reason_on_the_page(
    trained: Engine, bars: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> bytes:
        raise OSError("no fonts here")

    monkeypatch.setattr("tasks.report.answer_picture", fail)
    monkeypatch.setattr("tasks.report.training_pictures", fail)
    train()
    assert PICTURE not in page("training-abc")
    state, _ = run(analysis, AnalysisRequest(as_of=AS_OF, symbols="ABC"))
    assert state.is_completed()
    assert PICTURE not in page("analysis-abc")
    store_bars(trained, "A|B", bars[:50])
    state, _ = run(analysis, AnalysisRequest(as_of=AS_OF))
    assert state.name == "Failed"
    message = page("analysis")
    assert "| ABC |" in message
    assert "**A\\|B**" in message


def test_backfill_page_lists_bars_and_rejected_rows(engine: Engine, prefect_api: str, tmp_path: Any) -> None:
    good = pd.DataFrame({"time": pd.date_range("2024-01-01", periods=200, freq="min", tz="UTC"), "open": 10.0,
                         "high": 11.0, "low": 9.0, "close": 10.0, "volume": 1.0})  # fmt: skip
    bad = good.iloc[:3].assign(time=good["time"].iloc[:3] + pd.Timedelta(days=1), high=1.0)
    pd.concat([good, bad]).to_parquet(tmp_path / "bars.parquet")
    run(backfill, BackfillRequest(csv_path=tmp_path / "bars.parquet", symbol="BTC/USD"))
    with engine.connect() as connection:
        reason = connection.execute(text("SELECT min(reason) FROM bars_set_aside")).scalar_one()
    message = page(page_key("data-quality", "BTC/USD"))
    assert "| minutes measured | 200 |" in message
    assert f"| 3 | {reason}" in message.replace("\\", "")
