"""Runs that begin too late, and the names of runs."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import State
from prefect.flow_engine import run_flow
from prefect.states import Scheduled
from sqlalchemy import Engine

from flows.analysis import analysis
from flows.review import review
from flows.scheduling import run_name
from flows.weekly_training import weekly_training
from hybrid_ml.pipeline.schedule import ANALYSIS_MINUTES, TRAINING_MINUTES, format_lateness, too_late
from hybrid_ml.schemas.backfill_request import BackfillRequest
from hybrid_ml.schemas.requests import AnalysisRequest, ReplayRequest, ReviewRequest, TrainingRequest
from tests.flows.running import run

SLOT = datetime(2024, 2, 2, 10, 20, tzinfo=UTC)
MANY_SYMBOLS = [f"S{number}" for number in range(200)]


@pytest.mark.parametrize("flow, requested", [(analysis, AnalysisRequest), (review, ReviewRequest)])
def test_scheduled_run_that_begins_too_late_ends_as_skipped(
    prefect_api: str, monkeypatch: pytest.MonkeyPatch, flow: Flow, requested: Any
) -> None:
    late = datetime.now(UTC) - timedelta(days=2)
    state = end_of_scheduled(flow, late, monkeypatch, request=requested())
    assert (state.name, state.is_completed()) == ("Skipped", True)
    assert f"scheduled for {late:%Y-%m-%d %H:%M} UTC, 2 days 0 hours late" in str(state.message)


@pytest.mark.parametrize("flow, requested", [(analysis, AnalysisRequest), (weekly_training, TrainingRequest)])
def test_scheduled_run_before_the_first_bars_is_no_failure(
    engine: Engine, prefect_api: str, monkeypatch: pytest.MonkeyPatch, flow: Flow, requested: Any
) -> None:
    state = end_of_scheduled(flow, datetime.now(UTC), monkeypatch, request=requested())
    assert (state.name, state.is_completed()) == ("No symbols", True)
    assert "hybrid-ml symbols add" in str(state.message)
    by_hand, _ = run(flow, requested())
    assert by_hand.is_failed()
    assert "hybrid-ml symbols add" in str(by_hand.message)


def end_of_scheduled(flow: Flow, due: datetime, monkeypatch: pytest.MonkeyPatch, **parameters: Any) -> State:
    """The final state of a run of `flow` that a schedule made for `due`."""
    read = SyncPrefectClient.read_flow_run

    def read_as_scheduled(client: SyncPrefectClient, run_id: Any) -> Any:
        return read(client, run_id).model_copy(update={"auto_scheduled": True})

    with monkeypatch.context() as patch, get_client(sync_client=True) as client:
        patch.setattr(SyncPrefectClient, "read_flow_run", read_as_scheduled)
        made = client.create_flow_run(flow, state=Scheduled(scheduled_time=due))
        run_flow(flow, flow_run=made, parameters=parameters, return_type="state")
        state = client.read_flow_run(made.id).state
    assert state is not None
    return state


def test_slot_is_too_late_after_its_limit() -> None:
    assert not too_late(SLOT, SLOT + timedelta(minutes=9), ANALYSIS_MINUTES)
    assert too_late(SLOT, SLOT + timedelta(minutes=10), ANALYSIS_MINUTES)
    assert not too_late(SLOT, SLOT + timedelta(days=5), TRAINING_MINUTES)
    assert "10 minutes late" in format_lateness(SLOT, SLOT + timedelta(minutes=10))


@pytest.mark.parametrize(
    "flow, request_, name",
    [
        (analysis, AnalysisRequest(symbols=["BTCUSD"], as_of=SLOT), "analysis BTCUSD 2024-02-02 10:20"),
        (analysis, AnalysisRequest(symbols=MANY_SYMBOLS, as_of=SLOT), "analysis 200 symbols 2024-02-02 10:20"),
        (weekly_training, TrainingRequest(as_of=SLOT), "weekly training all symbols 2024-02-02 10:20"),
        (review, ReviewRequest(), "review all symbols 2024-01-01 00:00"),
        ("backfill", BackfillRequest(source="demo"), "backfill DEMO 2024-01-01 00:00"),
        ("replay", ReplayRequest(symbols=["ABC"], start=SLOT, weeks=3), "replay ABC 2024-02-02 10:20, 3 weeks"),
        ("analysis", None, "analysis all symbols 2024-01-01 00:00"),
    ],
)  # fmt: skip
def test_run_name_has_flow_symbols_and_time(
    monkeypatch: pytest.MonkeyPatch, flow: Any, request_: Any, name: str
) -> None:
    fake_run = type("Run", (), {})()
    fake_run.parameters = {"request": request_} if request_ else {}
    fake_run.flow_name = getattr(flow, "name", flow)
    fake_run.scheduled_start_time = datetime(2024, 1, 1, tzinfo=UTC)
    monkeypatch.setattr("flows.scheduling.flow_run", fake_run)
    assert run_name() == name
