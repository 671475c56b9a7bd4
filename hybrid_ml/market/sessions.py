"""When a market is open: the sessions of a calendar, and what follows from them.

A session covers the minutes that open from `opens_at` until before `closes_at`. Before the first session of a calendar
nothing is stated, and the market counts as one without a calendar. After its last session, and in a gap of more than
MOST_CLOSED, nothing is known: that is an error, since closed would be a guess.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from hybrid_ml.errors import BadInput, CalendarEnded

ALWAYS = "24/7"
"""The calendar of a market that never closes; it has no sessions."""
MINUTE = timedelta(minutes=1)
MOST_CLOSED = timedelta(days=14)
"""No market is closed for longer as a rule; a longer gap means that nobody stated the sessions in between."""
OUTSIDE = -1
"""The number of a bar in no session."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Minutes = NDArray[np.int64]
"""Minutes since 1970, UTC."""


@dataclass(frozen=True)
class Session:
    """One session."""

    opens_at: datetime
    closes_at: datetime


@dataclass(frozen=True, eq=False)
class Sessions:
    """The sessions of a calendar in order of time; they do not touch each other. Made by `make_sessions`."""

    calendar: str
    opens: Minutes
    closes: Minutes

    @property
    def is_always_open(self) -> bool:
        return self.calendar == ALWAYS

    @property
    def known_until(self) -> datetime | None:
        """The close of the last session; None where there is none, or the market never closes."""
        return None if self.is_always_open or not len(self.closes) else _time(self.closes[-1])

    def session_at(self, at: datetime) -> Session | None:
        """The session in which the minute `at` is; None where the market is closed or nothing is stated yet.

        Raises CalendarEnded where nothing is known.
        """
        if self.is_always_open:
            return None
        place = self._last_opened(at)
        if place < 0:
            self._refuse_empty()
            return None
        if _minute(at) < self.closes[place]:
            return Session(_time(self.opens[place]), _time(self.closes[place]))
        self._refuse_unknown(place)
        return None

    def is_open(self, at: datetime) -> bool:
        """Whether the market is open in the minute `at`. Raises CalendarEnded."""
        if self.is_always_open or self.session_at(at) is not None:
            return True
        return self._last_opened(at) < 0

    def next_open(self, after: datetime) -> datetime:
        """When the market opens, from the minute `after` on; that minute where it is open. Raises CalendarEnded."""
        if self.is_open(after):
            return after
        return _time(self.opens[self._last_opened(after) + 1])

    def closed_until(self, now: datetime) -> datetime | None:
        """When the market opens next; None where the last minute that is over at `now` is in a session.

        So the first slot of a session is the first that can have a bar of it, and the last is its close. Raises
        CalendarEnded.
        """
        over = now.replace(second=0, microsecond=0) - MINUTE
        return None if self.is_open(over) else self.next_open(over)

    def minutes_left(self, bar_time: datetime) -> float | None:
        """Minutes from the close of the bar of `bar_time` to that of its session; None where none is stated."""
        session = self.session_at(bar_time)
        return None if session is None else (session.closes_at - bar_time - MINUTE) / MINUTE

    def open_minutes(self, begin: datetime, end: datetime) -> float:
        """The minutes between `begin` and `end` in which the market was open. Raises CalendarEnded."""
        return sum((until - since) / MINUTE for since, until in self.open_ranges(begin, end))

    def open_ranges(self, begin: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
        """The parts of `begin` until before `end` in which the market is open, in order of time.

        Raises CalendarEnded where nothing is known of their last minute.
        """
        if begin >= end:
            return []
        if self.is_always_open:
            return [(begin, end)]
        self.is_open(end - MINUTE)
        before = [(begin, min(end, _time(self.opens[0])))]
        first, last = np.searchsorted(self.closes, _minute(begin), "right"), np.searchsorted(self.opens, _minute(end))
        inside = [
            (max(begin, _time(self.opens[place])), min(end, _time(self.closes[place]))) for place in range(first, last)
        ]
        return [(since, until) for since, until in [*before, *inside] if since < until]

    def open_ranges_of(self, ranges: Iterable[tuple[datetime, datetime]]) -> list[tuple[datetime, datetime]]:
        """`open_ranges` of each of `ranges`."""
        return [part for begin, end in ranges for part in self.open_ranges(begin, end)]

    def numbers(self, minutes: Minutes) -> Minutes:
        """For each of `minutes` (n,) the number of its session, 0 before the first one, OUTSIDE where it is closed.

        Raises CalendarEnded for a minute of which nothing is known.
        """
        if self.is_always_open or not len(minutes):
            return np.zeros(len(minutes), dtype=np.int64)
        self._refuse_empty()
        places = np.searchsorted(self.opens, minutes, "right") - 1
        is_closed = (places >= 0) & (minutes >= self.closes[places])
        for place in np.unique(places[is_closed]):
            self._refuse_unknown(int(place))
        return np.where(is_closed, OUTSIDE, places + 1)

    def _last_opened(self, at: datetime) -> int:
        """The place of the last session that opens by the minute `at`; -1 before the first one."""
        return int(np.searchsorted(self.opens, _minute(at), "right")) - 1

    def _refuse_empty(self) -> None:
        if not len(self.opens):
            raise CalendarEnded(f"calendar {self.calendar} has no sessions; load them {_with_command(self.calendar)}")

    def _refuse_unknown(self, place: int) -> None:
        """Raise CalendarEnded where nothing is known after the session of `place`."""
        end = _time(self.closes[place])
        if place == len(self.closes) - 1:
            remedy = f"load more {_with_command(self.calendar)}, or with --csv_path where the library ends too"
            raise CalendarEnded(f"calendar {self.calendar} is known until {end:%Y-%m-%d %H:%M} UTC; {remedy}")
        following = _time(self.opens[place + 1])
        if following - end > MOST_CLOSED:
            raise CalendarEnded(
                f"calendar {self.calendar} states no session from {end:%Y-%m-%d %H:%M} to {following:%Y-%m-%d %H:%M} "
                f"UTC, which is too long for a market that is closed; load them {_with_command(self.calendar)}"
            )


def _with_command(calendar: str) -> str:
    return f"with `hybrid-ml sessions load --calendar {calendar}`"


def _minute(at: datetime) -> int:
    return (at - EPOCH) // MINUTE


def _time(minute: np.int64) -> datetime:
    return EPOCH + int(minute) * MINUTE


def make_sessions(calendar: str, times: Iterable[tuple[datetime, datetime]]) -> Sessions:
    """Sessions from pairs of opening and closing times, whole minutes in any order.

    Those that touch are one: the market does not close in between. Raises BadInput where two overlap.
    """
    opens, closes = list[int](), list[int]()
    for opens_at, closes_at in sorted(times):
        begin, end = _minute(opens_at), _minute(closes_at)
        if closes and begin < closes[-1]:
            known = f"{_time(np.int64(opens[-1])):%Y-%m-%d %H:%M} to {_time(np.int64(closes[-1])):%Y-%m-%d %H:%M}"
            raise BadInput(
                f"calendar {calendar}: the sessions {known} and "
                f"{_time(np.int64(begin)):%Y-%m-%d %H:%M} to {_time(np.int64(end)):%Y-%m-%d %H:%M} UTC overlap; "
                "correct one of them in a file and load it with --csv_path"
            )
        if closes and begin == closes[-1]:
            closes[-1] = end
        else:
            opens.append(begin)
            closes.append(end)
    return Sessions(calendar, np.array(opens, dtype=np.int64), np.array(closes, dtype=np.int64))


ALWAYS_OPEN = Sessions(ALWAYS, np.array([], dtype=np.int64), np.array([], dtype=np.int64))
