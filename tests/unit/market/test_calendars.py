"""Calendars of the library itself: sessions, breaks, and how far it knows the holidays."""

import sys
from datetime import UTC, date, datetime

import pytest

from hybrid_ml.errors import BadInput
from hybrid_ml.market.calendars import read_library

TODAY = date(2026, 11, 30)


def test_sessions_holidays_and_an_evening_session_of_nse() -> None:
    found = read_library("NSE", date(2025, 10, 20), date(2025, 10, 23), TODAY)
    assert found.days == {
        date(2025, 10, 20): [(datetime(2025, 10, 20, 3, 45, tzinfo=UTC), datetime(2025, 10, 20, 10, tzinfo=UTC))],
        date(2025, 10, 21): [(datetime(2025, 10, 21, 8, 15, tzinfo=UTC), datetime(2025, 10, 21, 9, 15, tzinfo=UTC))],
        date(2025, 10, 23): [(datetime(2025, 10, 23, 3, 45, tzinfo=UTC), datetime(2025, 10, 23, 10, tzinfo=UTC))],
    }


def test_lunch_makes_two_sessions_and_a_break_of_no_length_none() -> None:
    hong_kong = read_library("XHKG", date(2026, 11, 20), date(2026, 11, 20), TODAY).days
    assert [[f"{time:%H:%M}" for time in pair] for pair in hong_kong[date(2026, 11, 20)]] == [
        ["01:30", "04:00"],
        ["05:00", "08:00"],
    ]
    chicago = read_library("CME_Equity", date(2026, 11, 20), date(2026, 11, 20), TODAY).days
    assert len(chicago[date(2026, 11, 20)]) == 1


def test_listed_holidays_end_the_calendar_and_rules_reach_a_year() -> None:
    nse = read_library("NSE", date(2026, 1, 1), None, TODAY)
    assert nse.last == date(2026, 12, 25)
    assert max(nse.days) == date(2026, 12, 24)
    assert read_library("NYSE", date(2026, 1, 1), None, TODAY).last == date(2027, 12, 1)
    assert read_library("XSHG", date(2026, 1, 1), None, TODAY).last == date(2026, 12, 31)


@pytest.mark.parametrize(
    ("name", "first", "last", "message"),
    [
        ("NSEE", date(2026, 1, 1), None, "has no calendar NSEE; did you mean NSE"),
        ("24/7", date(2026, 1, 1), None, "has no calendar 24/7"),
        ("NSE", date(2026, 1, 1), date(2027, 1, 26), "knows the holidays of NSE until 2026-12-25"),
        ("NSE", date(2027, 1, 1), None, "--from 2027-01-01 is after the last day, which is 2026-12-25"),
        ("ASEX", date(2026, 1, 1), None, "cannot compute ASEX"),
    ],
)
def test_what_the_library_does_not_know_is_refused(name: str, first: date, last: date | None, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        read_library(name, first, last, TODAY)


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas_market_calendars", None)
    with pytest.raises(BadInput, match=r"pip install '\.\[calendars\]'"):
        read_library("NSE", date(2026, 1, 1), None, TODAY)
