"""Sessions: the same as counting minute by minute, across changes of the clocks; what is not known is an error."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybrid_ml.errors import BadInput, CalendarEnded
from hybrid_ml.market.sessions import ALWAYS_OPEN, MINUTE, OUTSIDE, Sessions, make_sessions

ZONES = {"America/New_York": date(2026, 10, 30), "Europe/London": date(2026, 3, 27), "Asia/Kolkata": date(2026, 11, 6)}
"""Zones, and a day from which their clocks change within days, where they do."""
Times = list[tuple[datetime, datetime]]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


NSE = make_sessions("NSE", [(at(f"2026-11-{day:02}T03:45"), at(f"2026-11-{day:02}T10:00")) for day in (2, 3, 4, 5, 6)])
LUNCH = make_sessions(
    "XHKG",
    [
        (at("2026-11-02T01:30"), at("2026-11-02T04:00")),
        (at("2026-11-02T04:20"), at("2026-11-02T08:00")),
        (at("2026-11-03T01:30"), at("2026-11-03T04:00")),
    ],
)


@st.composite
def local_days(draw: st.DrawFn) -> Times:
    """Up to two sessions on each of six local days around a change of the clocks, some days closed."""
    zone, first = draw(st.sampled_from([(ZoneInfo(name), day) for name, day in ZONES.items()]))
    sessions: Times = []
    for number in range(6):
        marks = sorted(draw(st.lists(st.integers(0, 95), max_size=4, unique=True)))
        for begin, end in zip(marks[::2], marks[1::2], strict=False):
            midnight = datetime.combine(first + timedelta(days=number), time(), zone)
            opens_at, closes_at = (
                (midnight.replace(tzinfo=None) + timedelta(minutes=15 * quarter)).replace(tzinfo=zone).astimezone(UTC)
                for quarter in (begin, end)
            )
            if opens_at < closes_at and (not sessions or sessions[-1][1] <= opens_at):
                sessions.append((opens_at, closes_at))
    return sessions or [(at("2026-11-02T03:45"), at("2026-11-02T10:00"))]


def is_open_by_definition(times: Times, minute: datetime) -> bool:
    return minute < times[0][0] or any(opens <= minute < closes for opens, closes in times)


@given(times=local_days(), offset=st.integers(-200, 9_000), length=st.integers(0, 3_000))
def test_open_ranges_equal_counting_minute_by_minute(times: Times, offset: int, length: int) -> None:
    sessions = make_sessions("X", times)
    begin = times[0][0] + offset * MINUTE
    end = min(begin + length * MINUTE, times[-1][1])
    minutes = [begin + number * MINUTE for number in range(max(0, (end - begin) // MINUTE))]
    ranges = sessions.open_ranges(begin, end)
    inside = [minute for minute in minutes if any(since <= minute < until for since, until in ranges)]
    assert inside == [minute for minute in minutes if is_open_by_definition(times, minute)]
    assert sessions.open_minutes(begin, end) == len(inside)
    assert all(since < until for since, until in ranges)
    numbers = sessions.numbers(np.array([int(minute.timestamp()) // 60 for minute in minutes], dtype=np.int64))
    assert [minute for minute, number in zip(minutes, numbers, strict=True) if number != OUTSIDE] == inside
    assert [sessions.is_open(minute) for minute in minutes[:50]] == [minute in inside for minute in minutes[:50]]


@given(times=local_days(), offset=st.integers(0, 9_000))
def test_next_opening_equals_the_next_open_minute(times: Times, offset: int) -> None:
    sessions, now = make_sessions("X", times), times[0][0] + offset * MINUTE
    if now >= times[-1][1]:
        with pytest.raises(CalendarEnded):
            sessions.next_open(now)
        return
    following = next(opens for opens, closes in times if now < closes)
    assert sessions.next_open(now) == max(now, following)
    until = sessions.closed_until(now + MINUTE)
    assert until == (None if is_open_by_definition(times, now) else following)


def test_sessions_that_touch_are_one() -> None:
    sessions = make_sessions("FX", [(at("2026-11-02"), at("2026-11-03")), (at("2026-11-03"), at("2026-11-04"))])
    assert sessions.minutes_left(at("2026-11-02T23:58")) == 1 + 24 * 60
    assert sessions.open_ranges(at("2026-11-02T23:00"), at("2026-11-03T01:00")) == [
        (at("2026-11-02T23:00"), at("2026-11-03T01:00"))
    ]


def test_sessions_that_overlap_are_refused() -> None:
    times = [(at("2026-11-02T03:45"), at("2026-11-02T10:00")), (at("2026-11-02T09:59"), at("2026-11-02T11:00"))]
    with pytest.raises(BadInput, match=r"NSE: the sessions 2026-11-02 03:45 to .* 10:00 and .* 09:59 to .* overlap"):
        make_sessions("NSE", times)


@pytest.mark.parametrize(
    ("now", "opens_at"),
    [
        ("2026-11-02T03:45", "2026-11-02T03:45"),
        ("2026-11-03T03:45:07", "2026-11-03T03:45"),
        ("2026-11-03T03:46", None),
        ("2026-11-03T10:00:59", None),
        ("2026-11-03T10:01", "2026-11-04T03:45"),
        ("2026-11-04T00:00", "2026-11-04T03:45"),
    ],
)
def test_slot_is_open_while_the_last_minute_is_in_a_session(now: str, opens_at: str | None) -> None:
    if now.startswith("2026-11-02"):
        assert NSE.closed_until(at(now)) is None, "nothing is stated before the first session"
    else:
        assert NSE.closed_until(at(now)) == (at(opens_at) if opens_at else None)


def test_minutes_left_count_from_the_close_of_the_bar() -> None:
    assert NSE.minutes_left(at("2026-11-03T09:49")) == 10
    assert NSE.minutes_left(at("2026-11-03T09:50")) == 9
    assert NSE.minutes_left(at("2026-11-03T11:00")) is None
    assert ALWAYS_OPEN.minutes_left(at("2026-11-03T11:00")) is None


def test_past_the_known_end_is_an_error_with_a_remedy() -> None:
    end = at("2026-11-06T10:00")
    assert NSE.known_until == end
    assert NSE.is_open(end - MINUTE)
    assert NSE.open_ranges(end - 2 * MINUTE, end) == [(end - 2 * MINUTE, end)]
    match = r"calendar NSE is known until 2026-11-06 10:00 UTC; load more with `hybrid-ml sessions load --calendar NSE`"
    for ask in (NSE.is_open, NSE.session_at, NSE.next_open, NSE.minutes_left):
        with pytest.raises(CalendarEnded, match=match):
            ask(end)
    with pytest.raises(CalendarEnded, match=match):
        NSE.open_ranges(end - 2 * MINUTE, end + MINUTE)
    with pytest.raises(CalendarEnded, match=match):
        NSE.numbers(np.array([int(end.timestamp()) // 60], dtype=np.int64))


def test_gap_of_weeks_is_not_taken_for_a_closed_market() -> None:
    sessions = make_sessions(
        "NSE", [(at("2026-11-02T03:45"), at("2026-11-02T10:00")), (at("2027-01-02"), at("2027-01-03"))]
    )
    with pytest.raises(
        CalendarEnded, match="no session from 2026-11-02 10:00 to 2027-01-02 00:00 UTC, which is too long"
    ):
        sessions.closed_until(at("2026-11-20T12:00"))
    assert sessions.is_open(at("2027-01-02T12:00"))


def test_calendar_without_sessions_is_an_error() -> None:
    empty = make_sessions("NSE", [])
    for ask in (empty.is_open, empty.session_at, empty.closed_until):
        with pytest.raises(CalendarEnded, match="calendar NSE has no sessions; load them with"):
            ask(at("2026-11-02"))
    with pytest.raises(CalendarEnded):
        empty.open_ranges(at("2026-11-02"), at("2026-11-03"))


@pytest.mark.parametrize("sessions", [ALWAYS_OPEN, NSE])
def test_market_without_statements_is_open(sessions: Sessions) -> None:
    early = at("2020-01-01T12:00")
    assert sessions.is_open(early)
    assert sessions.session_at(early) is None
    assert sessions.closed_until(early) is None
    assert sessions.open_ranges(early, early + 5 * MINUTE) == [(early, early + 5 * MINUTE)]
    assert sessions.numbers(np.array([26_297_280], dtype=np.int64)).tolist() == [0]
