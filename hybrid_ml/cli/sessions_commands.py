"""The commands `hybrid-ml sessions …`. They use only the database and need no Prefect."""

from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from hybrid_ml.cli.registry_commands import show_report
from hybrid_ml.cli.settings import DATABASE, settings_for
from hybrid_ml.console import session_tables
from hybrid_ml.errors import BadInput, CalendarEnded
from hybrid_ml.market.calendars import LIBRARY, read_library
from hybrid_ml.market.session_files import read_own_days
from hybrid_ml.market.sessions import ALWAYS
from hybrid_ml.schemas.session_reports import CalendarsSet, SessionLine, SessionsListing, SessionsLoaded
from hybrid_ml.store import bars as stored_bars
from hybrid_ml.store import sessions as store
from hybrid_ml.store.engine import open_engine
from hybrid_ml.store.symbol_tables import known_symbols
from hybrid_ml.symbols.naming import refuse_unknown


def load_library(calendar: str, first: date, last: date | None, *, json_output: bool) -> None:
    """`hybrid-ml sessions load` without a file."""
    _refuse_always(calendar)
    found = read_library(calendar, first, last, datetime.now(UTC).date())
    with open_engine(settings_for(DATABASE)).begin() as connection:
        stored = store.store_library_days(connection, calendar, found.days, found.first, found.last)
        own = [day for day in store.own_days(connection, calendar) if found.first <= day <= found.last]
        loaded = SessionsLoaded(
            calendar=calendar,
            source=LIBRARY,
            days=len(stored),
            sessions=sum(map(len, stored.values())),
            kept_own_days=len(own),
            known_until=store.read_calendar(connection, calendar).known_until,
        )
    show_report(loaded, json_output, session_tables.show_loaded)


def load_file(calendar: str, path: Path, timezone: str | None, *, json_output: bool) -> None:
    """`hybrid-ml sessions load` with a file."""
    _refuse_always(calendar)
    days = read_own_days(path, calendar, ZoneInfo(timezone) if timezone else None)
    with open_engine(settings_for(DATABASE)).begin() as connection:
        store.store_own_days(connection, calendar, days)
        loaded = SessionsLoaded(
            calendar=calendar,
            source=str(path),
            days=len(days),
            sessions=sum(map(len, days.values())),
            closed_days=sum(not times for times in days.values()),
            known_until=store.read_calendar(connection, calendar).known_until,
        )
    show_report(loaded, json_output, session_tables.show_loaded)


def list_sessions(calendar: str, count: int, *, json_output: bool) -> None:
    """`hybrid-ml sessions list`."""
    _refuse_always(calendar)
    now = datetime.now(UTC)
    with open_engine(settings_for(DATABASE)).connect() as connection:
        sessions = store.read_calendar(connection, calendar)
        known = store.known_calendars(connection)
        if calendar not in known:
            raise BadInput(
                f"--calendar {calendar} has no sessions (there are those of: {', '.join(known) or 'none'}); load them "
                f"with `hybrid-ml sessions load --calendar {calendar}`"
            )
        coming = store.coming_sessions(connection, calendar, now, count)
        symbols = store.symbols_of(connection, calendar)
    closed_until, problem = None, ""
    try:
        closed_until = sessions.closed_until(now)
    except CalendarEnded as error:
        problem = str(error)
    listing = SessionsListing(
        calendar=calendar,
        symbols=symbols,
        known_until=sessions.known_until,
        closed_until=closed_until,
        problem=problem,
        coming=[SessionLine(**vars(session)) for session in coming],
    )
    show_report(listing, json_output, session_tables.show_listing)


def set_calendar(symbols: list[str], calendar: str, *, json_output: bool) -> None:
    """`hybrid-ml sessions set`."""
    if not symbols:
        raise BadInput("--symbols is empty; name at least one, such as NIFTY")
    with open_engine(settings_for(DATABASE)).begin() as connection:
        refuse_unknown(symbols, known_symbols(connection), "symbols")
        store.set_calendar(connection, symbols, calendar)
        with_bars = set(stored_bars.symbols(connection))
    result = CalendarsSet(
        calendar=calendar, symbols=symbols, without_bars=[name for name in symbols if name not in with_bars]
    )
    show_report(result, json_output, session_tables.show_set)


def _refuse_always(calendar: str) -> None:
    if calendar == ALWAYS:
        raise BadInput(f"--calendar {ALWAYS} never closes and has no sessions; it is the calendar of every new symbol")
