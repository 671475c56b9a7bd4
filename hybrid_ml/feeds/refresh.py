"""The bars up to a run's slot: what is missing before it, and the newest ones as soon as they are final."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Engine

from hybrid_ml.errors import BadInput, ClockWrong, ExchangeRefused, ExchangeUnavailable, HybridMLError
from hybrid_ml.feeds.feed import PAGE_MINUTES, Answer, Clock, Feed, Wait
from hybrid_ml.feeds.history import LATE_MINUTES, Loaded, recheck_time, store_answer
from hybrid_ml.market.bars import BAR_LENGTH
from hybrid_ml.market.coverage import newest_first, unanswered, united
from hybrid_ml.market.sessions import ALWAYS_OPEN, Sessions
from hybrid_ml.store.coverage import Instrument, first_covered, read_coverage

AGAIN_MINUTES = 5
"""The newest bars are asked for again each time: an exchange may still correct them."""
MOST_PAGES = 3
"""After a longer outage the rest is left to the hourly repair, so that the slot is not missed."""
ONE_REQUEST_MINUTES = 100
"""Missing ranges that are no further apart are one request."""
POLL_SECONDS, LATE_SECONDS, PERHAPS_EMPTY_SECONDS = 0.5, 8.0, 2.0
"""A bar that is late is asked for again at this interval, for so long; then the run goes on without it. The shorter
time is for feeds that leave minutes without trades out, so that nobody knows whether there will be a bar."""
DEADLINE_SECONDS = 30.0
"""How long after its slot a run goes on trying to reach an exchange."""
MOST_CLOCK_SECONDS = 60.0
MOST_THREADS = 8
"""Requests at once; each thread holds a connection of the database's pool for a moment."""


@dataclass(frozen=True)
class Refreshed:
    """The result for one symbol. `problem`: why its newest bar is missing, else empty.

    `is_refused`: the problem lasts until a person does something about it.
    """

    symbol: str
    loaded: Loaded
    problem: str = ""
    is_refused: bool = False

    @classmethod
    def failed(cls, symbol: str, error: HybridMLError) -> "Refreshed":
        """Of a symbol whose feed raised `error`."""
        return cls(
            symbol, Loaded(), str(error).removeprefix(f"{symbol}: "), isinstance(error, BadInput | ExchangeRefused)
        )


class SlotWait:
    """Waits that end with ExchangeUnavailable where they would last until after `deadline`."""

    def __init__(self, clock: Clock, wait: Wait, deadline: datetime) -> None:
        self._clock, self._wait, self._deadline = clock, wait, deadline

    def __call__(self, seconds: float) -> None:
        """Wait so long."""
        if self._clock() + timedelta(seconds=seconds) > self._deadline:
            raise ExchangeUnavailable("no usable answer in time for this slot; the next run asks again")
        self._wait(seconds)


def wait_until_final(feed: Feed, until: datetime, settling_seconds: float, clock: Clock, wait: Wait) -> None:
    """Wait until the bar before `until` is final by the feed's own clock. Raises ClockWrong."""
    seconds = (until - compare_clocks(feed, clock)).total_seconds() + settling_seconds
    if seconds > 0:
        wait(seconds)


def compare_clocks(feed: Feed, clock: Clock) -> datetime:
    """The feed's own clock.

    Raises ClockWrong where this machine's clock differs by more than MOST_CLOCK_SECONDS: answers would be about other
    minutes than they say, or bars stored that are not over.
    """
    there, here = feed.read_clock(), clock()
    ahead = (here - there).total_seconds()
    if abs(ahead) > MOST_CLOCK_SECONDS:
        raise ClockWrong(
            f"this machine's clock is {abs(ahead):,.0f} s {'ahead of' if ahead > 0 else 'behind'} that of {feed.name}; "
            "set it, for example by `timedatectl set-ntp true`, and run again"
        )
    return there


def refresh_bars(
    engine: Engine,
    feed: Feed,
    instrument: Instrument,
    until: datetime,
    wait: Wait,
    sessions: Sessions = ALWAYS_OPEN,
) -> Loaded:
    """Store what is missing in the MOST_PAGES newest pages before `until`, and the last AGAIN_MINUTES again.

    `until`: a whole minute; only minutes in `sessions` are asked for. The newest bar is waited for where it is late, at
    most LATE_SECONDS. Raises ExchangeRefused, ExchangeUnavailable or CalendarEnded; what was stored before stays.
    """
    end = min(until, instrument.delisted_at or until)
    since = end - timedelta(minutes=MOST_PAGES * PAGE_MINUTES)
    since = max(since, instrument.listed_at or since)
    since = max(since, feed.limit.oldest(until)) if feed.limit is not None else since
    with engine.connect() as connection:
        since = max(since, first_covered(connection, instrument.symbol) or since)  # history before it is not wanted
        missing = unanswered(read_coverage(connection, instrument.symbol, since, end), since, end)
    if end == until and since < end:
        missing.append((max(since, end - AGAIN_MINUTES * BAR_LENGTH), end))
    loaded, wanted = Loaded(), sessions.open_ranges_of(united(missing, ONE_REQUEST_MINUTES))
    for begin, page_end in newest_first(wanted, PAGE_MINUTES):
        if page_end == until:
            answer = _newest(feed, instrument, begin, page_end, wait)
        else:
            answer = feed.fetch(instrument, begin, page_end)
        known_end = min(page_end, answer.final_through)
        store_answer(engine, instrument, begin, known_end, answer, loaded, recheck_time(answer.final_through))
    return loaded


def _newest(feed: Feed, instrument: Instrument, begin: datetime, until: datetime, wait: Wait) -> Answer:
    """The answer about the minutes up to the slot; asked again while its newest bar is not final, or late."""
    seconds = LATE_SECONDS if feed.states_empty_minutes else PERHAPS_EMPTY_SECONDS
    for _ in range(round(seconds / POLL_SECONDS)):
        answer = feed.fetch(instrument, begin, until)
        if not answer.rows.empty and answer.rows["time"].iloc[-1] == until - BAR_LENGTH:
            return answer
        wait(POLL_SECONDS)
    return feed.fetch(instrument, begin, until)


def refresh_all(
    feed: Feed, instruments: Iterable[Instrument], until: datetime, work: Callable[[Instrument], Loaded]
) -> list[Refreshed]:
    """`work` for each instrument of `feed`, side by side; one that fails does not stop the others.

    Of a feed that leaves minutes without trades out, a symbol is late only after LATE_MINUTES of them.
    """
    expected = until - (1 if feed.states_empty_minutes else LATE_MINUTES) * BAR_LENGTH

    def one(instrument: Instrument) -> Refreshed:
        try:
            loaded = work(instrument)
        except HybridMLError as error:
            return Refreshed.failed(instrument.symbol, error)
        is_there = instrument.delisted_at is not None or (loaded.newest is not None and loaded.newest >= expected)
        problem = "" if is_there else f"the bar of {until - BAR_LENGTH:%H:%M} UTC is late at {instrument.feed}"
        return Refreshed(instrument.symbol, loaded, problem)

    with ThreadPoolExecutor(MOST_THREADS, "refresh") as pool:
        return list(pool.map(one, instruments))
