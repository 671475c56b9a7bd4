"""The ten-minute analysis as a Prefect flow."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Engine, text

from flows.analysis import analysis
from hybrid_ml.learning.fallback import RecentRecord
from hybrid_ml.schemas.requests import AnalysisRequest
from hybrid_ml.store.bars import store_bars
from tests.flows.running import AS_OF, SURE, analyze, rows, run


def test_saved_model_is_validated_fine_tuned_used_and_saved(trained: Engine, home: Path) -> None:
    before = (home / "models" / "lightgbm_model.pkl").read_bytes()
    answer = analyze()
    assert answer.bar_time == AS_OF - timedelta(minutes=1)
    assert sum(answer.probabilities.values()) == pytest.approx(1.0)
    assert answer.recent_rows == 200
    assert answer.recent_accuracy is not None
    assert answer.fine_tune_step is not None
    assert not answer.fell_back
    assert set(answer.stage_ms) >= {"load", "validate", "fine_tune", "predict", "save"}
    kinds = rows(trained, "SELECT kind FROM model_versions ORDER BY created_at")
    assert kinds == [("base",), ("adapter",)]
    recorded = rows(trained, "SELECT p_down, p_flat, p_up, model_version, signal FROM predictions")
    assert recorded == [(*answer.probabilities.values(), answer.model.version, answer.signal)]
    after = (home / "models" / "lightgbm_model.pkl").read_bytes()
    assert (after != before) == (answer.model.kind == "adapter")
    assert len(after) <= 1.1 * len(before)
    assert 1 <= len(answer.reasons) <= 3
    assert not answer.reasons_problem
    assert rows(trained, "SELECT reasons FROM predictions") == [([vars(reason) for reason in answer.reasons],)]


def test_second_run_of_the_same_time_changes_nothing_and_later_adapters_are_made_from_the_base(
    trained: Engine,
) -> None:
    first, second = analyze(), analyze()
    assert second.probabilities == first.probabilities
    assert rows(trained, "SELECT count(*) FROM predictions") == [(1,)]
    assert rows(trained, "SELECT count(*) FROM model_versions") == [(2,)]
    later = analyze(fast_mode=True, as_of=AS_OF + timedelta(minutes=10))
    assert later.model.version == first.model.version, "fast mode uses the adapter of the previous run"
    for step in (2, 3):
        analyze(as_of=AS_OF + timedelta(minutes=10 * step))
    assert rows(trained, "SELECT count(*) FROM model_versions WHERE kind = 'adapter'") == [(3,)]
    parents = rows(
        trained, "SELECT DISTINCT p.kind FROM model_versions a JOIN model_versions p ON p.version = a.parent"
    )
    assert parents == [("base",)]
    lengths = rows(trained, "SELECT max(length) FROM model_versions WHERE kind = 'adapter'")
    assert lengths[0][0] < 150_000


def test_answer_is_given_when_nothing_can_be_said_about_it(trained: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("no range")

    monkeypatch.setattr("tasks.predict.explain", broken)
    answer = analyze()
    assert (answer.reasons, answer.reasons_problem) == ([], "ZeroDivisionError: no range")
    assert rows(trained, "SELECT direction, reasons FROM predictions") == [(answer.direction, None)]


def test_changed_future_bars_change_no_prediction(trained: Engine, bars: pd.DataFrame) -> None:
    first = analyze()
    with trained.begin() as connection:
        connection.execute(text("UPDATE bars SET close = close * 3, high = high * 3 WHERE time >= :t"), {"t": AS_OF})
        connection.execute(text("DELETE FROM predictions"))
    assert analyze().probabilities == first.probabilities


def test_missing_model_is_trained_from_scratch(market: Engine, home: Path) -> None:
    answer = analyze()
    assert answer.fell_back
    assert rows(market, "SELECT kind, status FROM model_versions WHERE kind <> 'adapter'") == [("scratch", "champion")]
    assert (home / "models" / "lightgbm_model.pkl").is_file()
    assert not analyze(as_of=AS_OF + timedelta(minutes=10)).fell_back or answer.recent_accuracy < 0.45


def test_model_with_low_recent_accuracy_is_retrained_once_an_hour_and_still_sends_alerts(
    trained: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.validate.recent_record", lambda *_, **__: RecentRecord(200, 0.30, 0.40))
    moments = [AS_OF + timedelta(minutes=minutes) for minutes in (0, 10, 70)]
    found = [analyze(**SURE, as_of=moment) for moment in moments]
    assert [answer.fell_back for answer in found] == [True, False, True]
    assert "accuracy 0.300 on 200 recent rows is below 0.45; trained from scratch" in str(found[0].fallback)
    assert [answer.signal for answer in found] == [answer.direction != "flat" for answer in found]
    assert any(answer.alert == "logged" for answer in found)
    assert all((answer.recent_rows, answer.recent_accuracy) == (200, 0.30) for answer in found)
    kept = "SELECT signal, fell_back, recent_rows, recent_accuracy FROM predictions ORDER BY bar_time"
    assert rows(trained, kept) == [(answer.signal, answer.fell_back, 200, 0.30) for answer in found]


def test_analysis_of_the_past_uses_no_model_trained_on_later_bars(trained: Engine) -> None:
    earlier = AS_OF - timedelta(days=1)
    answer = analyze(as_of=earlier)
    assert answer.fell_back
    assert answer.model.trained_until < earlier
    champions = rows(trained, "SELECT kind FROM model_versions WHERE status = 'champion'")
    assert champions == [("base",)]
    assert not analyze(as_of=earlier + timedelta(minutes=10)).model.trained_until > earlier


def test_old_bars_give_no_signal_and_the_run_completes(trained: Engine) -> None:
    state, report = run(analysis, AnalysisRequest(**SURE, as_of=AS_OF + timedelta(days=3)))
    answer = report.analyses[0]
    assert state.is_completed()
    assert "freshness" in answer.refused_by
    assert not answer.signal
    assert rows(trained, "SELECT count(*) FROM predictions") == [(0,)]


def test_run_in_quiet_hours_ends_asleep(trained: Engine) -> None:
    night = datetime(2024, 1, 31, 22, 0, tzinfo=UTC)  # 03:30 in Kolkata
    state, report = run(analysis, AnalysisRequest(as_of=night))
    assert (state.name, report.asleep, report.analyses) == ("Asleep", True, [])
    _, report_without_quiet_hours = run(analysis, AnalysisRequest(as_of=night, disable_sleep_window=True))
    assert not report_without_quiet_hours.asleep
    assert len(report_without_quiet_hours.analyses) == 1


def test_fast_mode_uses_the_saved_model_unchanged_and_penalty_raises_the_bound_after_wrong_signals(
    trained: Engine,
) -> None:
    with trained.begin() as connection:
        for minutes in range(20, 40):
            connection.execute(
                text(
                    "INSERT INTO predictions (symbol, bar_time, as_of, close, p_down, p_flat, p_up, threshold,"
                    " direction, confidence, model_version, preset, gates, signal, fell_back, outcome,"
                    " resolved_at)"
                    " VALUES ('ABC', :t, :t, 100, 0.1, 0.2, 0.7, 0.001, 'up', 0.7, 'v', 'balanced', '[]', true, false,"
                    " 'down', :t)"
                ),
                {"t": AS_OF - timedelta(minutes=minutes)},
            )
    answer = analyze(fast_mode=True)
    assert answer.fine_tune_step is None
    assert answer.model.kind == "base"
    assert rows(trained, "SELECT kind FROM model_versions") == [("base",)]
    plain = {gate.gate: gate.bound for gate in answer.gates}
    penalised = {gate.gate: gate.bound for gate in analyze(fast_mode=True, enable_recent_penalty=True).gates}
    assert plain["confidence"] == pytest.approx(0.60)
    assert penalised["confidence"] == pytest.approx(0.75)


def test_answer_soon_after_a_session_break_is_finite(market: Engine, bars: pd.DataFrame) -> None:
    gap = bars["time"].between(AS_OF - timedelta(hours=10), AS_OF - timedelta(hours=2))
    store_bars(market, "GAP", bars[~gap].reset_index(drop=True))
    answer = analyze(symbols=["GAP"])
    assert answer.bar_time == AS_OF - timedelta(minutes=1)
    assert np.isfinite(list(answer.probabilities.values())).all()


def test_analysis_of_a_future_time_is_refused(trained: Engine) -> None:
    state: Any = analysis(AnalysisRequest(as_of=datetime(2199, 1, 1, tzinfo=UTC)), return_state=True)
    assert state.is_failed()
    assert "is in the future" in state.message
