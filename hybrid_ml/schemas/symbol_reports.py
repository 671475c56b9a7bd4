"""The results of the commands on symbols and their bars; few imports, so that they are fast."""

from datetime import datetime
from pathlib import Path

from pydantic import BaseModel


class SymbolLine(BaseModel):
    """A symbol in short. `feed`: None where its bars come from files or from a program of the user.

    `first`, `last`: open times of its bars, None for none. `bars`: how many its feed gave, None without a feed, since
    counting them would read them all. `ended`: it has no live feed, and no new bar for a week.
    """

    symbol: str
    feed: str | None
    feed_symbol: str | None
    calendar: str | None
    first: datetime | None
    last: datetime | None
    bars: int | None
    listed_at: datetime | None
    delisted_at: datetime | None
    champion: bool
    ended: bool


class SymbolListing(BaseModel):
    """Every symbol with bars or a feed, sorted."""

    now: datetime
    symbols: list[SymbolLine]


class Holdings(BaseModel):
    """What the database holds of a symbol. `covered_minutes`: minutes that its feed has answered."""

    feed: str | None
    bars: int
    first: datetime | None
    last: datetime | None
    covered_minutes: int
    revisions: int
    rejected_rows: int
    models: int
    predictions: int
    alerts: int


class Removal(BaseModel):
    """A symbol whose bars are removed. `named_in`: settings that name it. `done`: False shows what would go."""

    symbol: str
    holdings: Holdings
    files: list[Path]
    named_in: list[str]
    done: bool


class RemovalReport(BaseModel):
    """Every symbol of one command."""

    removals: list[Removal]
    done: bool


class Rename(BaseModel):
    """A symbol under another name. `champion`: its version, with the new name once it is done."""

    symbol: str
    to: str
    holdings: Holdings
    champion: str | None
    named_in: list[str]
    path: Path | None
    done: bool


class BarsRemoval(BaseModel):
    """Bars of a period: `bars` from `first` to `last`, both with a bar.

    `asked_again`: whether the repair will ask the feed for them once more. `for_good`: it is told not to.
    """

    symbol: str
    feed: str | None
    bars: int
    first: datetime
    last: datetime
    revisions: int
    predictions: int
    asked_again: bool
    for_good: bool
    done: bool
