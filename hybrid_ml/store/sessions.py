"""The sessions of calendars, and which calendar the market of a symbol has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time

from sqlalchemy import Connection, text

from hybrid_ml.errors import BadInput
from hybrid_ml.market.sessions import ALWAYS, ALWAYS_OPEN, Sessions, make_sessions

Days = Mapping[date, Sequence[tuple[datetime, datetime]]]
"""Opening and closing times by the date at the exchange; none for a day on which it stays closed."""
READ = text("""
    SELECT opens_at, closes_at FROM sessions WHERE calendar = :calendar AND opens_at < closes_at ORDER BY opens_at
""")
CALENDARS = text("""
    SELECT symbol, calendar FROM instruments WHERE symbol = ANY(:symbols) AND calendar <> :always ORDER BY symbol
""")
OWN_DAYS = text("SELECT DISTINCT day FROM sessions WHERE calendar = :calendar AND origin = 'own'")
FORGET_LIBRARY = text("""
    DELETE FROM sessions WHERE calendar = :calendar AND origin = 'library' AND day BETWEEN :first AND :last
""")
FORGET_DAYS = text("DELETE FROM sessions WHERE calendar = :calendar AND day = ANY(:days)")
INSERT = text("""
    INSERT INTO sessions (calendar, day, opens_at, closes_at, origin)
    VALUES (:calendar, :day, :opens_at, :closes_at, :origin)
""")
LOCK = text("SELECT pg_advisory_xact_lock(hashtext('sessions'), hashtext(:calendar))")
SET_CALENDAR = text("""
    INSERT INTO instruments AS known (symbol, calendar) VALUES (:symbol, :calendar)
    ON CONFLICT (symbol) DO UPDATE SET calendar = excluded.calendar
""")


@dataclass(frozen=True)
class StatedSession:
    """A row of the table."""

    day: date
    opens_at: datetime
    closes_at: datetime
    origin: str


def read_calendar(connection: Connection, calendar: str) -> Sessions:
    """The sessions of `calendar`; none where nothing of it is loaded."""
    if calendar == ALWAYS:
        return ALWAYS_OPEN
    rows = connection.execute(READ, {"calendar": calendar})
    return make_sessions(calendar, [(row.opens_at, row.closes_at) for row in rows])


def read_sessions(connection: Connection, symbols: list[str]) -> dict[str, Sessions]:
    """The sessions of those of `symbols` whose market closes; symbols of one calendar share theirs."""
    rows = connection.execute(CALENDARS, {"symbols": symbols, "always": ALWAYS})
    calendars = {row.symbol: row.calendar for row in rows}
    sessions = {calendar: read_calendar(connection, calendar) for calendar in set(calendars.values())}
    return {symbol: sessions[calendar] for symbol, calendar in calendars.items()}


def store_library_days(connection: Connection, calendar: str, days: Days, first: date, last: date) -> Days:
    """Replace what the library said of `first` to `last` by `days`, except on days that an own row states.

    Returns the days stored, in the caller's transaction. Raises BadInput where sessions would overlap.
    """
    connection.execute(LOCK, {"calendar": calendar})
    own = set(connection.execute(OWN_DAYS, {"calendar": calendar}).scalars())
    kept = {day: times for day, times in days.items() if day not in own}
    connection.execute(FORGET_LIBRARY, {"calendar": calendar, "first": first, "last": last})
    _insert(connection, calendar, kept, "library")
    return kept


def store_own_days(connection: Connection, calendar: str, days: Days) -> None:
    """Replace everything that is known of `days`, in the caller's transaction.

    Raises BadInput where sessions would overlap.
    """
    connection.execute(LOCK, {"calendar": calendar})
    connection.execute(FORGET_DAYS, {"calendar": calendar, "days": list(days)})
    _insert(connection, calendar, days, "own")


def _insert(connection: Connection, calendar: str, days: Days, origin: str) -> None:
    rows = [
        {"calendar": calendar, "day": day, "opens_at": opens_at, "closes_at": closes_at, "origin": origin}
        for day, times in days.items()
        for opens_at, closes_at in times or [_closed(day)]
    ]
    if rows:
        connection.execute(INSERT, rows)
    read_calendar(connection, calendar)


def _closed(day: date) -> tuple[datetime, datetime]:
    """The times of the row of a day without a session."""
    midnight = datetime.combine(day, time(), UTC)
    return midnight, midnight


def own_days(connection: Connection, calendar: str) -> list[date]:
    """The days that own rows state, in order."""
    return sorted(connection.execute(OWN_DAYS, {"calendar": calendar}).scalars())


def coming_sessions(connection: Connection, calendar: str, now: datetime, count: int) -> list[StatedSession]:
    """The session at `now` and those after it, at most `count`."""
    statement = text("""
        SELECT day, opens_at, closes_at, origin FROM sessions
        WHERE calendar = :calendar AND closes_at > :now AND opens_at < closes_at ORDER BY opens_at LIMIT :count
    """)
    rows = connection.execute(statement, {"calendar": calendar, "now": now, "count": count})
    return [StatedSession(**row._mapping) for row in rows]


def known_calendars(connection: Connection) -> list[str]:
    """Every calendar with at least one row."""
    found = connection.execute(text("SELECT DISTINCT calendar FROM sessions ORDER BY calendar"))
    return [str(name) for name in found.scalars()]


def symbols_of(connection: Connection, calendar: str) -> list[str]:
    """Every symbol with this calendar."""
    statement = text("SELECT symbol FROM instruments WHERE calendar = :calendar ORDER BY symbol")
    return [str(name) for name in connection.execute(statement, {"calendar": calendar}).scalars()]


def set_calendar(connection: Connection, symbols: list[str], calendar: str) -> None:
    """Give `symbols` a calendar. Raises BadInput for one without sessions."""
    known = [ALWAYS, *known_calendars(connection)]
    if calendar not in known:
        raise BadInput(
            f"--calendar {calendar} has no sessions (there are those of: {', '.join(known)}); load them first with "
            f"`hybrid-ml sessions load --calendar {calendar}`"
        )
    connection.execute(SET_CALENDAR, [{"symbol": symbol, "calendar": calendar} for symbol in symbols])
