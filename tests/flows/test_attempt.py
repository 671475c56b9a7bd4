"""Runs that begin too late, and what runs are called."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.flow_engine import run_flow
from prefect.states import Scheduled

from flows.analysis import analysis
from flows.review import review
from flows.scheduling import run_name
from flows.weekly_training import weekly_training
from hybrid_ml.pipeline.schedule import ANALYSIS_MINUTES, TRAINING_MINUTES, format_lateness, too_late
from hybrid_ml.schemas.requests import AnalysisRequest, BackfillRequest, ReplayRequest, ReviewRequest, TrainingRequest

SLOT = datetime(2024, 2, 2, 10, 20, tzinfo=UTC)
MANY = [f"S{number}" for number in range(200)]


@pytest.mark.parametrize("flow, requested", [(analysis, AnalysisRequest), (review, ReviewRequest)])
def test_a_scheduled_run_that_begins_too_late_ends_as_skipped(
    prefect_api: str, monkeypatch: pytest.MonkeyPatch, flow: Flow, requested: Any
) -> None:
    late = datetime.now(UTC) - timedelta(days=2)
    read = SyncPrefectClient.read_flow_run

    def as_the_scheduler_made_it(client: SyncPrefectClient, run_id: Any) -> Any:
        return read(client, run_id).model_copy(update={"auto_scheduled": True})

    monkeypatch.setattr(SyncPrefectClient, "read_flow_run", as_the_scheduler_made_it)
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(flow, state=Scheduled(scheduled_time=late))
        run_flow(flow, flow_run=run, parameters={"request": requested()})
        state = client.read_flow_run(run.id).state
    assert state is not None
    assert (state.name, state.is_completed()) == ("Skipped", True)
    assert f"scheduled for {late:%Y-%m-%d %H:%M} UTC, 2 days 0 hours late" in str(state.message)


def test_a_slot_is_worth_beginning_for_a_while() -> None:
    assert not too_late(SLOT, SLOT + timedelta(minutes=9), ANALYSIS_MINUTES)
    assert too_late(SLOT, SLOT + timedelta(minutes=10), ANALYSIS_MINUTES)
    assert not too_late(SLOT, SLOT + timedelta(days=5), TRAINING_MINUTES)
    assert "10 minutes late" in format_lateness(SLOT, SLOT + timedelta(minutes=10))


@pytest.mark.parametrize(
    "flow, request_, name",
    [
        (analysis, AnalysisRequest(symbols=["BTCUSD"], as_of=SLOT), "analysis BTCUSD 2024-02-02 10:20"),
        (analysis, AnalysisRequest(symbols=MANY, as_of=SLOT), "analysis 200 symbols 2024-02-02 10:20"),
        (weekly_training, TrainingRequest(as_of=SLOT), "weekly training all symbols 2024-02-02 10:20"),
        (review, ReviewRequest(), "review all symbols 2024-01-01 00:00"),
        ("backfill", BackfillRequest(source="demo"), "backfill DEMO 2024-01-01 00:00"),
        ("replay", ReplayRequest(symbols=["ABC"], start=SLOT, weeks=3), "replay ABC 2024-02-02 10:20, 3 weeks"),
        ("analysis", None, "analysis all symbols 2024-01-01 00:00"),
    ],
)  # fmt: skip
def test_a_run_is_named_after_what_it_is_about(
    monkeypatch: pytest.MonkeyPatch, flow: Any, request_: Any, name: str
) -> None:
    stand_in = type("Run", (), {})()
    stand_in.parameters = {"request": request_} if request_ else {}
    stand_in.flow_name = getattr(flow, "name", flow)
    stand_in.scheduled_start_time = datetime(2024, 1, 1, tzinfo=UTC)
    monkeypatch.setattr("flows.scheduling.flow_run", stand_in)
    assert run_name() == name
