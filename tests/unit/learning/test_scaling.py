"""Progressive scaling: 23,000 rows, then 10,000 more a week, 80,000 from week six."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybrid_ml.learning.scaling import hold_out_rows, row_limit, week_number

FIRST = datetime(2024, 3, 5, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("week", "rows"),
    [(0, 23_000), (1, 33_000), (2, 43_000), (3, 53_000), (4, 63_000), (5, 73_000), (6, 80_000), (7, 80_000)],
)
def test_row_limit_grows_by_10000_a_week_up_to_80000(week: int, rows: int) -> None:
    assert row_limit(week) == rows


@given(week=st.integers(0, 10_000))
def test_row_limit_is_monotonic_and_bounded(week: int) -> None:
    assert row_limit(week) <= row_limit(week + 1) <= 80_000
    assert row_limit(week) == min(80_000, 23_000 + 10_000 * week)


def test_negative_week_is_refused() -> None:
    with pytest.raises(ValueError, match="count from 0, not -1"):
        row_limit(-1)


@pytest.mark.parametrize(
    ("after", "week"),
    [
        (timedelta(0), 0),
        (timedelta(days=7) - timedelta(microseconds=1), 0),
        (timedelta(days=7), 1),
        (timedelta(days=13, hours=23), 1),
        (timedelta(days=42), 6),
        (timedelta(days=-1), 0),
        (timedelta(days=-400), 0),
    ],
)
def test_weeks_are_counted_from_the_first_base(after: timedelta, week: int) -> None:
    assert week_number(FIRST, FIRST + after) == week


def test_week_is_0_without_a_base() -> None:
    assert week_number(None, FIRST) == 0


@pytest.mark.parametrize(
    ("training", "hold_out"),
    [(0, 300), (2_000, 300), (3_000, 300), (3_010, 301), (6_000, 600), (20_000, 2_000), (80_000, 2_000)],
)
def test_hold_out_is_a_tenth_within_bounds(training: int, hold_out: int) -> None:
    assert hold_out_rows(training) == hold_out
