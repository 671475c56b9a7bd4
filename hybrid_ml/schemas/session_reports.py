"""The reports of the commands `hybrid-ml sessions …`."""

from datetime import date, datetime

from pydantic import BaseModel


class SessionsLoaded(BaseModel):
    """What a load has stored. `closed_days`: days that a file states to be closed.

    `kept_own_days`: days in the period that a file had stated, which the library does not replace.
    """

    calendar: str
    source: str
    days: int
    sessions: int
    closed_days: int = 0
    kept_own_days: int = 0
    known_until: datetime | None


class SessionLine(BaseModel):
    """A session. `day`: its date at the exchange; `origin`: library or own."""

    day: date
    opens_at: datetime
    closes_at: datetime
    origin: str


class SessionsListing(BaseModel):
    """A calendar now. `closed_until`: None where its market is open, or `problem` says why it is not known."""

    calendar: str
    symbols: list[str]
    known_until: datetime | None
    closed_until: datetime | None = None
    problem: str = ""
    coming: list[SessionLine]


class CalendarsSet(BaseModel):
    """Symbols and their calendar now. `without_bars`: those of which no bar is loaded yet."""

    calendar: str
    symbols: list[str]
    without_bars: list[str]
