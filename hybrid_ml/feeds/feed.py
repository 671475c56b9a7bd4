"""What every feed offers: the bars of a range of minutes, and until when they are final."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import pandas as pd

from hybrid_ml.store.coverage import Instrument

Clock = Callable[[], datetime]
Wait = Callable[[float], None]
"""Waits for so many seconds; raises whatever is to end the waiting process."""
PLAN_MINUTES = 5
"""The time that a plan and its waits for a budget take."""
PAGE_MINUTES = 1_000
"""The most minutes that `Feed.fetch` is asked for at once."""


@dataclass(frozen=True)
class Answer:
    """What a feed knows about the minutes asked for.

    `rows`: BAR_COLUMNS and those of FEED_COLUMNS that it states, `time` datetime64[us, UTC] ascending and unique on
    the minute grid, values finite; only final bars. A row of no trades is the feed's own filling.
    `final_through`: bars that open before it are final; a minute before it that has no row will hardly get one.
    """

    rows: pd.DataFrame
    final_through: datetime


@dataclass(frozen=True)
class HistoryLimit:
    """A feed that serves only the newest `minutes`. `archive`: where older bars are to be had."""

    minutes: int
    archive: str

    def oldest(self, now: datetime) -> datetime:
        """The oldest minute to ask for in a plan made at `now`: the request comes a little later."""
        return now.replace(second=0, microsecond=0) - timedelta(minutes=self.minutes - PLAN_MINUTES)


class Feed(Protocol):
    """A source of bars; any number of threads may use it at once."""

    @property
    def name(self) -> str:
        """The name in `--exchange`, and in the tables instruments and exchange_budgets."""

    @property
    def limit(self) -> HistoryLimit | None:
        """How far back it answers; None: to the listing of a symbol."""

    @property
    def states_empty_minutes(self) -> bool:
        """Whether it has a row for a minute without trades; else a missing minute may be late or empty."""

    def describe(self, symbol: str) -> tuple[Instrument, datetime]:
        """The instrument, and `final_through` as in Answer. Raises ExchangeRefused where there is no such symbol."""

    def read_clock(self) -> datetime:
        """The time on the feed's own clock, asked of it now."""

    def fetch(self, instrument: Instrument, since: datetime, until: datetime) -> Answer:
        """The final bars that open from `since` until before `until`, at most PAGE_MINUTES apart.

        Raises ExchangeRefused or ExchangeUnavailable; an answer that is not one of bars is never returned.
        """


def final_through(server_now: datetime, settling_seconds: float) -> datetime:
    """The open time before which every bar was over for `settling_seconds` at `server_now`, the exchange's clock."""
    settled = server_now - timedelta(seconds=settling_seconds)
    return settled.replace(second=0, microsecond=0)
