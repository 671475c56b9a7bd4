"""How late a slot may begin, to the minute."""

from datetime import UTC, datetime, timedelta

import pytest

from hybrid_ml.pipeline.schedule import ANALYSIS_MINUTES, REVIEW_MINUTES, TRAINING_MINUTES, format_lateness, too_late

DUE = datetime(2024, 2, 4, tzinfo=UTC)


@pytest.mark.parametrize("worth", [ANALYSIS_MINUTES, REVIEW_MINUTES, TRAINING_MINUTES])
def test_a_slot_is_worth_beginning_until_its_time_is_over(worth: int) -> None:
    assert not too_late(DUE, DUE - timedelta(seconds=5), worth)
    assert not too_late(DUE, DUE + timedelta(minutes=worth, seconds=-1), worth)
    assert too_late(DUE, DUE + timedelta(minutes=worth), worth)


@pytest.mark.parametrize(
    ("late", "words"),
    [(timedelta(minutes=61), "61 minutes late"), (timedelta(hours=5), "5 hours late"), (timedelta(days=7), "7 days 0")],
)
def test_the_message_says_when_it_was_and_how_late(late: timedelta, words: str) -> None:
    text = format_lateness(DUE, DUE + late)
    assert "2024-02-04 00:00 UTC" in text
    assert words in text
