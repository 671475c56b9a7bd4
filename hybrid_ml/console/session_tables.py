"""Calendars and their sessions on a terminal."""

from datetime import UTC, datetime

from rich.table import Table

from hybrid_ml.console.terminal import out
from hybrid_ml.reporting.wording import format_closed
from hybrid_ml.schemas.session_reports import CalendarsSet, SessionsListing, SessionsLoaded
from hybrid_ml.text.counts import counted


def show_closed(closed: dict[str, datetime]) -> None:
    """Until when the markets of symbols are closed."""
    for symbol, opens_at in closed.items():
        out.print(f"{symbol}: {format_closed(opens_at)}", markup=False)


def show_loaded(loaded: SessionsLoaded) -> None:
    """What was stored, and until when the calendar is known now."""
    days = f"{counted(loaded.days, 'day')}, {counted(loaded.sessions, 'session')}"
    closed = f", closed on {counted(loaded.closed_days, 'day')}" if loaded.closed_days else ""
    out.print(f"{loaded.calendar}: {days}{closed} from {loaded.source}", markup=False)
    if loaded.kept_own_days:
        out.print(f"  {counted(loaded.kept_own_days, 'day')} of your own file kept as they are")
    out.print(f"  known until {_moment(loaded.known_until)}")


def show_listing(listing: SessionsListing) -> None:
    """The coming sessions, and until when the calendar is known."""
    out.print(f"{listing.calendar}: known until {_moment(listing.known_until)}", markup=False)
    out.print(f"  symbols: {', '.join(listing.symbols) or 'none'}", markup=False)
    if listing.problem:
        out.print(f"  {listing.problem}", markup=False)
    elif listing.closed_until:
        out.print(f"  {format_closed(listing.closed_until)}")
    else:
        out.print("  open now")
    table = Table("day", "opens (UTC)", "closes (UTC)", "from", box=None, padding=(0, 2))
    for session in listing.coming:
        times = (f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}" for moment in (session.opens_at, session.closes_at))
        table.add_row(f"{session.day:%a %Y-%m-%d}", *times, session.origin)
    if listing.coming:
        out.print(table)


def show_set(result: CalendarsSet) -> None:
    """Which symbols have the calendar now."""
    for symbol in result.symbols:
        note = " (no bars yet)" if symbol in result.without_bars else ""
        out.print(f"{symbol}: calendar {result.calendar}{note}", markup=False)


def _moment(moment: datetime | None) -> str:
    return "-" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
