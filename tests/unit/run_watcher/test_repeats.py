"""Which crashed runs are worth repeating: slots with minutes left, never runs by hand."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.states import AwaitingRetry

from deployments.run_watcher.repeats import REPEATED, is_stale_repeat, is_worth_repeating

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def run_of(tag: str, minutes_ago: float, *, by_schedule: bool = True) -> FlowRun:
    due = NOW - timedelta(minutes=minutes_ago)
    return FlowRun(flow_id=uuid4(), tags=["hybrid-ml", tag], auto_scheduled=by_schedule, expected_start_time=due)


@pytest.mark.parametrize(
    "tag, minutes_ago, worth",
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
def test_a_slot_is_repeated_while_it_is_worth_something(tag: str, minutes_ago: float, worth: bool) -> None:
    assert is_worth_repeating(run_of(tag, minutes_ago), NOW) is worth
    assert not is_worth_repeating(run_of(tag, minutes_ago, by_schedule=False), NOW)


@pytest.mark.parametrize("message, stale", [(REPEATED, True), ("Retried via CLI", False)])
def test_a_repeat_that_nobody_took_in_time_is_set_aside_and_one_that_a_person_wants_is_not(
    message: str, stale: bool
) -> None:
    again = AwaitingRetry(scheduled_time=NOW, message=message)
    in_time, too_late = (run_of("analysis", ago).model_copy(update={"state": again}) for ago in (9.5, 10.5))
    assert not is_stale_repeat(in_time, NOW)
    assert is_stale_repeat(too_late, NOW) is stale
