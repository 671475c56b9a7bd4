"""Crashed runs that are repeated: slots with time left, never runs by hand."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect.client.schemas.objects import FlowRun, State
from prefect.states import AwaitingRetry, Crashed

from deployments.run_watcher.repeats import REPEATED, is_stale_repeat, is_worth_repeating, repeat_crashed_slots

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def run_of(tag: str, minutes_ago: float, *, by_schedule: bool = True) -> FlowRun:
    due = NOW - timedelta(minutes=minutes_ago)
    return FlowRun(flow_id=uuid4(), tags=["hybrid-ml", tag], auto_scheduled=by_schedule, expected_start_time=due)


@pytest.mark.parametrize(
    "tag, minutes_ago, repeated",
    [
        ("analysis", 0.5, True),
        ("analysis", 8.9, True),
        ("analysis", 9.0, False),  # less than a minute is left
        ("training", 5 * 24 * 60, True),
        ("training", 6 * 24 * 60, False),
        ("review", 23 * 60, True),
        ("review", 24 * 60, False),
        ("bars", 0.5, False),
    ],
)
def test_slot_is_repeated_only_within_its_time(tag: str, minutes_ago: float, repeated: bool) -> None:
    assert is_worth_repeating(run_of(tag, minutes_ago), NOW) is repeated
    assert not is_worth_repeating(run_of(tag, minutes_ago, by_schedule=False), NOW)


@pytest.mark.parametrize("message, stale", [(REPEATED, True), ("Retried via CLI", False)])
def test_late_automatic_repeat_is_stale_and_manual_retry_is_not(message: str, stale: bool) -> None:
    again = AwaitingRetry(scheduled_time=NOW, message=message)
    in_time, too_late = (run_of("analysis", ago).model_copy(update={"state": again}) for ago in (9.5, 10.5))
    assert not is_stale_repeat(in_time, NOW)
    assert is_stale_repeat(too_late, NOW) is stale


class OneCrashedRun:
    """A fake client of a server with a single crashed run."""

    def __init__(self, run: FlowRun) -> None:
        self.run = run
        self.set_states: list[State] = []

    async def read_flow_runs(self, **_: Any) -> list[FlowRun]:
        return [self.run]

    async def read_flow_run_states(self, _: UUID) -> list[State]:
        return [self.run.state]

    async def read_flow_run(self, _: UUID) -> FlowRun:
        return self.run

    async def set_flow_run_state(self, _: UUID, state: State) -> None:
        self.set_states.append(state)


@pytest.mark.parametrize("minutes_ago, begins_minutes_ago", [(2, 0), (-0.2, -0.2)])
def test_run_crashed_before_its_slot_is_repeated_on_time(minutes_ago: float, begins_minutes_ago: float) -> None:
    client = OneCrashedRun(
        run_of("analysis", minutes_ago).model_copy(update={"state": Crashed(), "deployment_id": uuid4()})
    )
    asyncio.run(repeat_crashed_slots(client, NOW, set()))
    (state,) = client.set_states
    assert state.name == "AwaitingRetry"
    assert state.state_details.scheduled_time == NOW - timedelta(minutes=begins_minutes_ago)
