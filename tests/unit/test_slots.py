"""The maximum lateness of slots."""

from datetime import UTC, datetime, timedelta

import pytest

from hybrid_ml.pipeline.schedule import (
    ANALYSIS_MINUTES,
    REVIEW_MINUTES,
    TRAINING_MINUTES,
    format_lateness,
    slot_of,
    too_late,
)

DUE = datetime(2024, 2, 4, tzinfo=UTC)


@pytest.mark.parametrize("limit_minutes", [ANALYSIS_MINUTES, REVIEW_MINUTES, TRAINING_MINUTES])
def test_slot_is_too_late_after_its_limit(limit_minutes: int) -> None:
    assert not too_late(DUE, DUE - timedelta(seconds=5), limit_minutes)
    assert not too_late(DUE, DUE + timedelta(minutes=limit_minutes, seconds=-1), limit_minutes)
    assert too_late(DUE, DUE + timedelta(minutes=limit_minutes), limit_minutes)


@pytest.mark.parametrize(
    ("late", "words"),
    [(timedelta(minutes=61), "61 minutes late"), (timedelta(hours=5), "5 hours late"), (timedelta(days=7), "7 days 0")],
)
def test_lateness_message_has_due_time_and_lateness(late: timedelta, words: str) -> None:
    text = format_lateness(DUE, DUE + late)
    assert "2024-02-04 00:00 UTC" in text
    assert words in text


@pytest.mark.parametrize("scheduled", [-15, -10, -0.5, 0])
@pytest.mark.parametrize("begun", [-10, 0, 3, 59])
def test_slot_is_the_whole_minute_that_the_schedule_is_ahead_of(scheduled: float, begun: int) -> None:
    assert slot_of(DUE + timedelta(seconds=scheduled), DUE + timedelta(seconds=begun)) == DUE


@pytest.mark.parametrize("scheduled", [-16, 5, 30])
def test_run_of_another_schedule_is_about_the_present(scheduled: int) -> None:
    now = DUE + timedelta(seconds=scheduled + 1)
    assert slot_of(DUE + timedelta(seconds=scheduled), now) == now


def test_run_that_begins_a_minute_after_its_slot_is_about_the_present() -> None:
    now = DUE + timedelta(seconds=60)
    assert slot_of(DUE - timedelta(seconds=10), now) == now
