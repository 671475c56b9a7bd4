"""Quiet hours in local time: at their bounds, across midnight, and at clock changes."""

from datetime import UTC, datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid_ml.signals.quiet_hours import QuietHours

INDIA = QuietHours.parse("01:00-09:00", "Asia/Kolkata")
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
def test_default_window_covers_the_night_in_india(moment: str, quiet: bool) -> None:
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
def test_window_across_midnight_follows_clock_changes(moment: str, quiet: bool) -> None:
    assert NIGHT.covers(utc(moment)) is quiet


@pytest.mark.parametrize(
    ("moment", "quiet"),
    [
        # In spring there is no time between 02:00 and 03:00.
        ("2024-03-31T00:59:59", False),
        ("2024-03-31T01:00:00", False),
        # In autumn this hour occurs twice.
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
def test_skipped_hour_is_never_quiet_and_repeated_hour_twice(moment: str, quiet: bool) -> None:
    assert CHANGE.covers(utc(moment)) is quiet


@pytest.mark.parametrize("offset", [-12, -5, 0, 5.5, 14])
def test_zone_of_the_given_time_does_not_matter(offset: float) -> None:
    other_zone = timezone(timedelta(hours=offset))
    for minute in range(0, 1440, 30):
        moment = utc("2024-07-01T00:00:00") + timedelta(minutes=minute)
        assert LUNCH.covers(moment.astimezone(other_zone)) is LUNCH.covers(moment)


@given(
    moment=st.datetimes(datetime(2023, 1, 1), datetime(2026, 1, 1)),  # noqa: DTZ001  # the time zone is added below
    start=st.integers(0, 1439),
    end=st.integers(0, 1439),
    zone=st.sampled_from(["Europe/Berlin", "Asia/Kolkata", "America/New_York", "UTC", "Australia/Lord_Howe"]),
)
def test_time_is_quiet_within_the_length_after_the_start(moment: datetime, start: int, end: int, zone: str) -> None:
    quiet = QuietHours(time(*divmod(start, 60)), time(*divmod(end, 60)), zone)
    local_time = pd.Timestamp(moment, tz="UTC").tz_convert(zone)
    since_start = (local_time.hour * 60 + local_time.minute - start) % 1440
    assert quiet.covers(moment.replace(tzinfo=UTC)) is (since_start < (end - start) % 1440)


def test_empty_window_is_never_quiet() -> None:
    empty = QuietHours(time(5), time(5), "UTC")
    assert not any(empty.covers(utc("2024-03-05T00:00:00") + timedelta(minutes=m)) for m in range(0, 1440, 5))


def test_quiet_hours_are_formatted_with_their_zone() -> None:
    assert QuietHours(time(1), time(9), "Asia/Kolkata") == INDIA
    assert str(INDIA) == "01:00-09:00 Asia/Kolkata"
    assert str(LUNCH) == "12:15-12:45 America/New_York"


ZONES = [
    "Europe/Berlin", "Asia/Kolkata", "America/New_York", "America/St_Johns", "America/Havana", "America/Santiago",
    "Australia/Lord_Howe", "Pacific/Apia", "Africa/Casablanca", "Asia/Gaza", "UTC",
]  # fmt: skip
CLOCK_CHANGES = [
    "2024-03-10T06:00", "2024-11-03T05:00",  # New York
    "2024-10-05T14:30", "2024-04-06T14:00",  # Lord Howe, half an hour
    "2011-12-30T09:00",  # Apia leaves out the 30th of December
    "2024-03-10T04:00", "2024-09-08T03:00",  # Havana, Santiago: there is no midnight
]  # fmt: skip
WINDOWS = st.tuples(st.integers(0, 1439), st.integers(0, 1439)).filter(lambda edges: edges[0] != edges[1])
NEAR_A_CHANGE = st.tuples(st.sampled_from(CLOCK_CHANGES), st.integers(-3_000, 3_000)).map(
    lambda near: utc(near[0]) + timedelta(minutes=near[1])
)
ANY_TIME = st.datetimes(datetime(2005, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def window(edges: tuple[int, int], zone: str) -> QuietHours:
    start, end = (time(*divmod(edge, 60)) for edge in edges)
    return QuietHours(start, end, zone)


@given(now=NEAR_A_CHANGE | ANY_TIME, edges=WINDOWS, zone=st.sampled_from(ZONES))
@settings(max_examples=300)
def test_end_after_is_the_first_time_that_is_not_quiet(now: datetime, edges: tuple[int, int], zone: str) -> None:
    quiet = window(edges, zone)
    ends = quiet.end_after(now)
    assert not quiet.covers(ends)
    if not quiet.covers(now):
        assert ends == now
        return
    assert now < ends
    assert ends.second == ends.microsecond == 0
    minutes = pd.date_range(now, ends, freq="min", inclusive="left")
    assert all(quiet.covers(moment.to_pydatetime()) for moment in minutes)
    assert quiet.covers(ends - timedelta(microseconds=1))


@given(now=NEAR_A_CHANGE | ANY_TIME, edges=WINDOWS, zone=st.sampled_from(ZONES), minutes=st.integers(0, 2_000))
@settings(max_examples=300)
def test_begin_after_is_the_first_quiet_time(now: datetime, edges: tuple[int, int], zone: str, minutes: int) -> None:
    quiet, within = window(edges, zone), timedelta(minutes=minutes)
    begins = quiet.begin_after(now, within)
    if quiet.covers(now):
        assert begins == now
        return
    until = now + within if begins is None else begins
    outside = pd.date_range(now, until, freq="min", inclusive="both" if begins is None else "left")
    assert not any(quiet.covers(moment.to_pydatetime()) for moment in outside)
    if begins is not None:
        assert now < begins <= now + within
        assert quiet.covers(begins)
        assert not quiet.covers(begins - timedelta(microseconds=1))


@pytest.mark.parametrize(
    ("edges", "zone", "now", "ends", "local_time"),
    [
        ("22:00-06:00", "America/New_York", "2024-03-10T04:00", "2024-03-10T10:00", "2024-03-10 06:00"),
        ("22:00-06:00", "America/New_York", "2024-11-03T04:00", "2024-11-03T11:00", "2024-11-03 06:00"),
        ("01:45-02:15", "Australia/Lord_Howe", "2024-10-05T15:15", "2024-10-05T15:30", "2024-10-06 02:30"),
        ("01:15-01:45", "Australia/Lord_Howe", "2024-04-06T14:20", "2024-04-06T14:45", "2024-04-07 01:45"),
        ("22:00-06:00", "Pacific/Apia", "2011-12-30T08:30", "2011-12-30T16:00", "2011-12-31 06:00"),
    ],
)
def test_quiet_hours_end_by_local_time(edges: str, zone: str, now: str, ends: str, local_time: str) -> None:
    end = QuietHours.parse(edges, zone).end_after(utc(now))
    assert end == utc(ends)
    assert f"{end.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M}" == local_time


def test_window_without_one_minute_ends_a_day_later_if_that_minute_is_skipped() -> None:
    quiet = QuietHours.parse("00:31-00:30", "America/Havana")  # on 10 March 2024 the clock goes from 00:00 to 01:00
    assert quiet.end_after(utc("2024-03-09T06:00")) == utc("2024-03-11T04:30")


@pytest.mark.parametrize(
    "text",
    ["", "9-17", "1:00-9:00", "24:00-06:00", "12:60-13:00", "01:00", "01:00–09:00", "٠١:٠٠-٠٩:٠٠", "01:00-09:00x"],
)
def test_invalid_window_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"--sleep_window .* is no window; write it HH:MM-HH:MM") as raised:
        QuietHours.parse(text, "UTC")
    assert repr(text) in str(raised.value)


def test_empty_window_is_refused_with_the_flag_to_use() -> None:
    with pytest.raises(ValueError, match=r"--sleep_window '09:00-09:00' is empty; .*--disable_sleep_window"):
        QuietHours.parse("09:00-09:00", "UTC")


@pytest.mark.parametrize(
    ("zone", "remedy"),
    [
        ("asia/kolkata", "did you mean Asia/Kolkata?"),
        ("Kolkata", "did you mean Asia/Kolkata?"),
        ("Europe/Berln", "did you mean Europe/Berlin or"),
        ("", "give an IANA name like Europe/Berlin"),
        ("../../etc/passwd", "give an IANA name like Europe/Berlin"),
        ("/etc/passwd", "give an IANA name like Europe/Berlin"),
        ("America", "did you mean America/"),
        ("tzdata.zi", "give an IANA name like Europe/Berlin"),
        ("UTC\x00", "did you mean"),
        ("x" * 5_000, "give an IANA name like Europe/Berlin"),
    ],
)
def test_unknown_zone_is_refused_with_suggestions(zone: str, remedy: str) -> None:
    with pytest.raises(ValueError, match=r"--sleep_timezone .* is no time zone") as raised:
        QuietHours.parse("01:00-09:00", zone)
    assert remedy in str(raised.value)
