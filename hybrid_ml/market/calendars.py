"""The sessions of known exchanges, from pandas_market_calendars, and no further than it knows their holidays."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from difflib import get_close_matches
from typing import Any

import pandas as pd

from hybrid_ml.errors import BadInput
from hybrid_ml.market.sessions import ALWAYS

LIBRARY = "pandas_market_calendars"
NOT_INSTALLED = (
    "the calendars of exchanges need an extra: install it with `pip install '.[calendars]'`, or state the "
    "sessions in a file with --csv_path"
)
HOLIDAYS_AHEAD = timedelta(days=366)
"""Exchanges state their holidays about a year ahead; what rules say of later years is a guess."""
NO_CALENDARS = {ALWAYS, "TradingCalendar"}
DayTimes = Mapping[date, list[tuple[datetime, datetime]]]


@dataclass(frozen=True)
class LibraryDays:
    """The days with sessions from `first` to `last`, and their opening and closing times, UTC."""

    days: DayTimes
    first: date
    last: date


def read_library(name: str, first: date, last: date | None, today: date) -> LibraryDays:
    """The sessions of calendar `name` from `first` to `last`; None: for as long as the library knows its holidays.

    Raises BadInput for a calendar that it does not have, and for days after those it knows.
    """
    calendar = _open(name)
    known = min(_holidays_end(calendar) or date.max, today + HOLIDAYS_AHEAD)
    if last is not None and last > known:
        raise BadInput(
            f"--until {last}: {LIBRARY} knows the holidays of {name} until {known}; leave --until away, and state "
            "later sessions in a file with --csv_path"
        )
    last = last or known
    if first > last:
        raise BadInput(f"--from {first} is after the last day, which is {last}; choose an earlier one")
    try:
        schedule = calendar.schedule(first, last)
    except Exception as error:  # its own errors, of any kind, for a calendar that it cannot compute
        raise BadInput(f"{LIBRARY} cannot compute {name} ({error}); state its sessions with --csv_path") from None
    return LibraryDays({day.date(): _times(row) for day, row in schedule.iterrows()}, first, last)


def _open(name: str) -> Any:
    """The library's calendar. Raises BadInput where the extra or the calendar is missing."""
    try:
        import pandas_market_calendars as library
    except ImportError:
        raise BadInput(NOT_INSTALLED) from None
    names = [known for known in library.get_calendar_names() if known not in NO_CALENDARS]
    if name not in names:
        near = get_close_matches(name.upper(), names, n=3, cutoff=0.5)
        hint = f"; did you mean {', '.join(near)}?" if near else f", only {', '.join(names[:12])} and others;"
        raise BadInput(f"{LIBRARY} has no calendar {name}{hint} One of your own is loaded with --csv_path FILE")
    return library.get_calendar(name)


def _holidays_end(calendar: Any) -> date | None:
    """The last day of which the library knows whether it is a holiday; None where rules say it for ever.

    A calendar that lists its holidays day by day, as that of NSE does, shows every weekday after them as open.
    """
    bound = getattr(getattr(calendar, "_ec", None), "bound_max", None)
    stated = bound() if bound is not None else None
    if stated is not None:
        return pd.Timestamp(stated).date()
    listed = list(calendar.adhoc_holidays)
    has_rules = calendar.regular_holidays is not None and len(calendar.regular_holidays.rules) > 0
    return max(pd.Timestamp(day).date() for day in listed) if listed and not has_rules else None


def _times(row: pd.Series) -> list[tuple[datetime, datetime]]:
    """The sessions of a day: two where it has a break for lunch."""
    opens_at, closes_at = row["market_open"].to_pydatetime(), row["market_close"].to_pydatetime()
    begin, end = row.get("break_start"), row.get("break_end")
    parts = [(opens_at, closes_at)]
    if begin is not None and end is not None and not pd.isna(begin) and not pd.isna(end) and begin < end:
        parts = [(opens_at, begin.to_pydatetime()), (end.to_pydatetime(), closes_at)]
    return [(since, until) for since, until in parts if since < until]
