"""How complete the bars of symbols are, day by day; few imports, so that commands are fast."""

import datetime
from pathlib import Path

from pydantic import BaseModel


class DayMinutes(BaseModel):
    """The minutes of a day, UTC, by what is known of them.

    `expected`: those in which there may be a bar. `share`: minutes with a bar among those expected in which something
    was traded, None where there are none. `not_asked`: those that the feed was never asked about, or had no bar of yet.
    """

    day: datetime.date
    expected: int
    bars: int
    no_trades: int
    source_gap: int
    not_asked: int
    share: float | None


class SymbolData(BaseModel):
    """A symbol's days, oldest first. `feed`: None where the bars are from files: nothing is known of other minutes.

    `revisions`: bars of these days that were replaced by others; `rejected_rows`: rows of these days that are no bars.
    """

    symbol: str
    feed: str | None
    days: list[DayMinutes]
    revisions: int
    rejected_rows: int

    def total(self, name: str) -> int:
        """The sum over all days of a kind of minutes."""
        return sum(int(getattr(day, name)) for day in self.days)

    @property
    def share(self) -> float | None:
        """As `share` of a day, over all days."""
        wanted = self.total("expected") - self.total("no_trades")
        return min(self.total("bars") / wanted, 1.0) if wanted > 0 else None

    def worst_days(self, count: int) -> list[DayMinutes]:
        """The days that lack most bars, at most `count`, the worst first; none where every day is complete."""
        lacking = [day for day in self.days if day.share is not None and day.share < 1]
        return sorted(lacking, key=lambda day: (day.share, day.day))[:count]


class DataReport(BaseModel):
    """Every symbol from `since`, a midnight, until before `until`. `ended`: symbols left out, and their last bars."""

    since: datetime.datetime
    until: datetime.datetime
    symbols: list[SymbolData]
    ended: dict[str, datetime.datetime]
    picture: Path | None = None
