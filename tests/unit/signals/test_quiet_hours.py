"""Quiet hours in local time: at their edges, across midnight, and on the days the clock changes."""

from datetime import UTC, datetime, time, timedelta, timezone

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybrid_ml.signals.quiet_hours import QuietHours

INDIA = QuietHours()
NIGHT = QuietHours(time(22), time(6), "Europe/Berlin")
CHANGE = QuietHours(time(2), time(3), "Europe/Berlin")
LUNCH = QuietHours(time(12, 15), time(12, 45), "America/New_York")


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("moment", "quiet"),
    [
        ("2024-03-04T19:29:59", False),  # 00:59:59 in India
        ("2024-03-04T19:30:00", True),  # 01:00
        ("2024-03-04T23:00:00", True),  # 04:30
        ("2024-03-05T03:29:59", True),  # 08:59:59
        ("2024-03-05T03:30:00", False),  # 09:00
        ("2024-03-05T12:00:00", False),  # 17:30
    ],
)
def test_by_default_the_night_in_india_is_quiet(moment: str, quiet: bool) -> None:
    assert INDIA.covers(utc(moment)) is quiet


@pytest.mark.parametrize(
    ("moment", "quiet"),
    [
        # The night before summer time begins: from 22:00 at +01:00 to 06:00 at +02:00.
        ("2024-03-30T20:59:59", False),
        ("2024-03-30T21:00:00", True),
        ("2024-03-30T23:00:00", True),  # midnight
        ("2024-03-31T00:59:59", True),
        ("2024-03-31T01:00:00", True),  # the clock jumps from 02:00 to 03:00
        ("2024-03-31T03:59:59", True),
        ("2024-03-31T04:00:00", False),
        # The night before it ends: from 22:00 at +02:00 to 06:00 at +01:00.
        ("2024-10-26T19:59:59", False),
        ("2024-10-26T20:00:00", True),
        ("2024-10-26T22:00:00", True),  # midnight
        ("2024-10-27T01:00:00", True),  # the clock goes back from 03:00 to 02:00
        ("2024-10-27T04:59:59", True),
        ("2024-10-27T05:00:00", False),
        ("2024-10-27T12:00:00", False),
    ],
)
def test_a_night_across_midnight_follows_the_clock_when_it_changes(moment: str, quiet: bool) -> None:
    assert NIGHT.covers(utc(moment)) is quiet


@pytest.mark.parametrize(
    ("moment", "quiet"),
    [
        # In spring there is no time between 02:00 and 03:00.
        ("2024-03-31T00:59:59", False),
        ("2024-03-31T01:00:00", False),
        # In autumn it comes twice.
        ("2024-10-26T23:59:59", False),
        ("2024-10-27T00:00:00", True),
        ("2024-10-27T00:59:59", True),
        ("2024-10-27T01:00:00", True),
        ("2024-10-27T01:59:59", True),
        ("2024-10-27T02:00:00", False),
        # On any other day once.
        ("2024-06-10T00:00:00", True),
        ("2024-06-10T01:00:00", False),
        ("2024-12-10T01:00:00", True),
    ],
)
def test_an_hour_that_is_skipped_or_repeated_is_quiet_never_or_twice(moment: str, quiet: bool) -> None:
    assert CHANGE.covers(utc(moment)) is quiet


@pytest.mark.parametrize("offset", [-12, -5, 0, 5.5, 14])
def test_the_zone_a_moment_is_given_in_does_not_matter(offset: float) -> None:
    elsewhere = timezone(timedelta(hours=offset))
    for minute in range(0, 1440, 30):
        moment = utc("2024-07-01T00:00:00") + timedelta(minutes=minute)
        assert LUNCH.covers(moment.astimezone(elsewhere)) is LUNCH.covers(moment)


@given(
    moment=st.datetimes(datetime(2023, 1, 1), datetime(2026, 1, 1)),  # noqa: DTZ001  # the zone is added below
    start=st.integers(0, 1439),
    end=st.integers(0, 1439),
    zone=st.sampled_from(["Europe/Berlin", "Asia/Kolkata", "America/New_York", "UTC", "Australia/Lord_Howe"]),
)
def test_quiet_is_what_lies_less_than_the_length_after_the_start(
    moment: datetime, start: int, end: int, zone: str
) -> None:
    quiet = QuietHours(time(*divmod(start, 60)), time(*divmod(end, 60)), zone)
    local = pd.Timestamp(moment, tz="UTC").tz_convert(zone)
    since_start = (local.hour * 60 + local.minute - start) % 1440
    assert quiet.covers(moment.replace(tzinfo=UTC)) is (since_start < (end - start) % 1440)


def test_quiet_hours_without_length_are_never() -> None:
    never = QuietHours(time(5), time(5), "UTC")
    assert not any(never.covers(utc("2024-03-05T00:00:00") + timedelta(minutes=m)) for m in range(0, 1440, 5))


def test_quiet_hours_are_told_in_words() -> None:
    assert str(INDIA) == "01:00-09:00 Asia/Kolkata"
    assert str(LUNCH) == "12:15-12:45 America/New_York"
