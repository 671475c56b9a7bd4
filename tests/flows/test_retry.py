"""A failed run that a person retries: it completes the missing symbols, for the same time."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pandas as pd
import pytest
from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter
from prefect.flow_engine import run_flow
from prefect.states import AwaitingRetry
from sqlalchemy import Engine, text

from flows.analysis import analysis
from flows.review import review
from flows.weekly_training import weekly_training
from hybrid_ml.learning.fallback import RecentRecord
from hybrid_ml.schemas.requests import AnalysisRequest, ReviewRequest, TrainingRequest
from hybrid_ml.signals.gates import Answer
from hybrid_ml.store.bars import store_bars
from tests.flows.running import SURE, rows, run
from tests.simulated import bars_until
from tests.telegram_api import BotApi

ANSWERS = "SELECT symbol, as_of FROM predictions ORDER BY symbol"
BASES = "SELECT symbol, as_of FROM model_versions WHERE kind = 'base' ORDER BY symbol, created_at"


@pytest.fixture
def live(engine: Engine, prefect_api: str) -> Iterator[Engine]:
    """An installation with simulated bars of one symbol, ABC, until now."""
    store_bars(engine, "ABC", live_bars())
    yield engine


def live_bars() -> pd.DataFrame:
    return bars_until(datetime.now(UTC).replace(second=0, microsecond=0), 4_500, missing_share=0.0)


def attempt(flow: Flow, request: Any, run_id: UUID | None = None) -> tuple[UUID, Any]:
    """Run a flow, or retry a flow run as `prefect flow-run retry` does; returns its id and its flow run."""
    with get_client(sync_client=True) as client:
        if run_id is None:
            run_id = client.create_flow_run(flow, parameters={"request": request.model_dump(mode="json")}).id
        else:
            client.set_flow_run_state(run_id, AwaitingRetry(scheduled_time=datetime.now(UTC)), force=True)
        again = client.read_flow_run(run_id)
        run_flow(flow, flow_run=again, parameters={"request": request}, return_type="state")
        return run_id, client.read_flow_run(run_id)


def test_retried_training_trains_only_missing_symbols(live: Engine) -> None:
    request = TrainingRequest(symbols=["ABC", "XYZ"], limit=2_000)
    run_id, first = attempt(weekly_training, request)
    assert first.state.is_failed()
    store_bars(live, "XYZ", live_bars())
    _, second = attempt(weekly_training, request, run_id)
    assert (second.state.is_completed(), second.run_count) == (True, 2)
    assert "finished by an earlier attempt: ABC" in second.state.message
    bases = rows(live, BASES)
    assert [symbol for symbol, _ in bases] == ["ABC", "XYZ"]
    assert len({as_of for _, as_of in bases}) == 1


@pytest.fixture
def always_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every model predicts UP and has high recent accuracy, independent of the simulated bars at this minute."""
    monkeypatch.setattr("tasks.predict.Answer.of", lambda _: Answer(0.05, 0.1, 0.85))
    monkeypatch.setattr("tasks.validate.recent_record", lambda *_, **__: RecentRecord(200, 0.9, 0.4))


def messages_about(telegram: BotApi, symbol: str) -> int:
    """Number of messages about `symbol`."""
    return sum(f" {symbol} " in str(message) for message in telegram.messages)


def test_retried_analysis_answers_only_missing_symbols_and_alerts_once(
    live: Engine, telegram: BotApi, always_up: None
) -> None:
    run(weekly_training, TrainingRequest(limit=2_000))
    request = AnalysisRequest(symbols=["ABC", "XYZ"], disable_sleep_window=True, fast_mode=True, **SURE)
    run_id, first = attempt(analysis, request)
    assert first.state.is_failed()
    assert (messages_about(telegram, "ABC"), messages_about(telegram, "XYZ")) == (1, 0)
    store_bars(live, "XYZ", live_bars())
    _, second = attempt(analysis, request, run_id)
    assert (second.state.is_completed(), second.run_count) == (True, 2)
    assert "finished by an earlier attempt: ABC" in second.state.message
    answers = rows(live, ANSWERS)
    assert [symbol for symbol, _ in answers] == ["ABC", "XYZ"]
    assert len({as_of for _, as_of in answers}) == 1
    assert (messages_about(telegram, "ABC"), messages_about(telegram, "XYZ")) == (1, 1)
    assert rows(live, "SELECT count(*) FROM answers_not_counted") == [(0,)]


def test_time_of_a_run_is_kept_thirty_days(engine: Engine, prefect_api: str) -> None:
    attempt(analysis, AnalysisRequest(symbols=["NONE"], disable_sleep_window=True))
    with engine.begin() as connection:
        connection.execute(text("UPDATE run_moments SET created_at = now() - :age"), {"age": timedelta(days=31)})
    attempt(analysis, AnalysisRequest(symbols=["NONE"], disable_sleep_window=True))
    assert rows(engine, "SELECT count(*) FROM run_moments") == [(1,)]


def test_retry_after_ten_minutes_sends_no_alert(live: Engine, telegram: BotApi, always_up: None) -> None:
    run(weekly_training, TrainingRequest(limit=2_000))
    request = AnalysisRequest(symbols=["ABC", "XYZ"], disable_sleep_window=True, fast_mode=True, **SURE)
    run_id, _ = attempt(analysis, request)
    store_bars(live, "XYZ", live_bars())
    with live.begin() as connection:
        connection.execute(text("UPDATE run_moments SET as_of = as_of - interval '1 hour'"))
        connection.execute(text("UPDATE predictions SET as_of = as_of - interval '1 hour'"))
    _, second = attempt(analysis, request, run_id)
    assert messages_about(telegram, "XYZ") == 0
    assert [symbol for symbol, _ in rows(live, ANSWERS)] == ["ABC", "XYZ"]
    assert second.state.is_failed()
    assert "XYZ" in second.state.message
    assert "expired" in second.state.message


def test_retried_review_uses_the_time_of_its_first_attempt(live: Engine) -> None:
    request = ReviewRequest(symbols=["XYZ"])
    run_id, first = attempt(review, request)
    assert first.state.is_failed()
    store_bars(live, "XYZ", live_bars())
    with live.begin() as connection:
        connection.execute(text("UPDATE run_moments SET as_of = as_of - interval '2 hours'"))
        [(as_of,)] = connection.execute(text("SELECT as_of FROM run_moments")).all()
    _, second = attempt(review, request, run_id)
    assert second.state.is_completed()
    with get_client(sync_client=True) as client:
        [artifact] = client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id={"any_": [run_id]}, key={"any_": ["review"]})
        )
    assert f"{as_of:%Y-%m-%d %H:%M}" in artifact.data
