"""Reasons for the fallback: an unusable model, or low recent accuracy."""

from datetime import UTC, datetime, timedelta

import pytest

from hybrid_ml.learning.fallback import (
    RecentRecord,
    fallback_reason,
    is_below_threshold,
    next_scratch,
)


def record(rows: int, accuracy: float | None) -> RecentRecord:
    return RecentRecord(rows=rows, accuracy=accuracy, majority_accuracy=accuracy)


@pytest.mark.parametrize(
    ("rows", "accuracy", "below"),
    [
        (200, 0.30, True),
        (100, 0.4499, True),
        (100, 0.45, False),
        (200, 0.90, False),
        (99, 0.0, False),
        (1, 0.0, False),
        (0, None, False),
    ],
)
def test_accuracy_is_too_low_only_with_enough_rows(rows: int, accuracy: float | None, below: bool) -> None:
    assert is_below_threshold(record(rows, accuracy)) is below
    assert (fallback_reason(None, record(rows, accuracy)) is not None) is below


def test_fallback_reason_names_accuracy_rows_and_threshold() -> None:
    assert fallback_reason(None, record(180, 0.4)) == "accuracy 0.400 on 180 recent rows is below 0.45"


def test_model_problem_precedes_accuracy_as_reason() -> None:
    assert fallback_reason("it is damaged", record(180, 0.9)) == "it is damaged"
    assert fallback_reason("it is damaged", None) == "it is damaged"


def test_no_problem_and_no_accuracy_give_no_reason() -> None:
    assert fallback_reason(None, None) is None


def test_failed_retrainings_are_spaced_exponentially_from_one_hour() -> None:
    newest = datetime(2024, 3, 5, 12, tzinfo=UTC)
    waits = [(next_scratch(newest, failed_attempts) or newest) - newest for failed_attempts in range(9)]
    assert [wait / timedelta(hours=1) for wait in waits] == [1, 1, 2, 4, 8, 16, 24, 24, 24]
    assert next_scratch(None, 0) is None
