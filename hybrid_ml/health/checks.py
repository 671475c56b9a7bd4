"""The monitor's checks without a Prefect server: disk, database, bars, deliveries. `now` is an argument."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from hybrid_ml.config.settings import Settings
from hybrid_ml.errors import CalendarEnded
from hybrid_ml.health.disk import free_disks
from hybrid_ml.health.problems import Problem
from hybrid_ml.market.bars import BAR_LENGTH, FUTURE_REMEDY, age_minutes, future_problem
from hybrid_ml.market.sessions import Sessions
from hybrid_ml.market.simulation import SIMULATED_SYMBOL
from hybrid_ml.store import bars as stored_bars
from hybrid_ml.store import health as store
from hybrid_ml.store.engine import limit_time, shown
from hybrid_ml.store.sessions import read_sessions
from hybrid_ml.text.counts import counted

CALENDAR_NOTICE = timedelta(days=7)
"""So long before its end a calendar is reported, because after it the symbol fails."""
LATE_REMEDY = "check what loads its bars; if its market is closed today, nothing need be done"
HYSTERESIS = 1.1
"""Hysteresis: a disk whose free space varies around its bound is one problem, not many."""


def check_disks(settings: Settings, opened: set[str]) -> dict[str, Problem | None]:
    """Whether the disks that the program writes to have space. `opened`: keys of open problems. Raises OSError."""
    problems: dict[str, Problem | None] = {}
    for disk in free_disks(settings):
        key = f"disk of {disk.folder}"
        is_low = disk.free_mb < disk.wanted_mb * (HYSTERESIS if key in opened else 1)
        text = f"the disk of {disk.folder} has {disk.free_mb:,} MB free, less than {disk.wanted_mb:,} MB"
        remedy = "free some space: on a full disk nothing is recorded and databases stop (HYBRID_ML_MIN_FREE_MB)"
        problems[key] = Problem(text, remedy) if is_low else None
    return problems


def check_database(engine: Engine, settings: Settings, now: datetime) -> dict[str, Problem | None]:
    """Whether the database answers, whose bars are late, and whose alerts do not arrive."""
    try:
        with engine.connect() as connection:
            limit_time(connection)
            problems = _bars(connection, settings, now) | _deliveries(connection, settings)
    except SQLAlchemyError as error:
        return {"database": database_problem(shown(engine), _first_line(error), settings)}
    return {"database": None} | problems


def database_problem(address: str, why: str, settings: Settings) -> Problem:
    """The problem that the database at `address` (without secrets) cannot be used, and `why`."""
    remedy = f"start it, or check {settings.setting_source('neon_conn_str')}; see `hybrid-ml check`"
    return Problem(
        f"the database at {address} cannot be used ({why})", remedy, settings.hybrid_ml_health_patience_seconds
    )


def _first_line(error: SQLAlchemyError) -> str:
    text = str(error.orig if isinstance(error, DBAPIError) else error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__


def _bars(connection: Connection, settings: Settings, now: datetime) -> dict[str, Problem | None]:
    """Symbols whose market is open and whose bars are late; a closed market's problem does not change."""
    symbols = settings.symbols or [name for name in stored_bars.symbols(connection) if name != SIMULATED_SYMBOL]
    limit, problems = settings.hybrid_ml_stale_bars_minutes, dict[str, Problem | None]()
    calendars = read_sessions(connection, symbols)
    for bar_age in store.bar_ages(connection, symbols, timedelta(minutes=limit), now):
        key, patience = f"bars of {bar_age.symbol}", settings.hybrid_ml_health_patience_seconds
        sessions, is_expected = calendars.get(bar_age.symbol), bar_age.is_open
        if sessions is not None:
            problems[f"calendar of {bar_age.symbol}"] = _calendar(bar_age.symbol, sessions, now)
            is_expected = _is_expected(bar_age, sessions, limit, now)
        future = future_problem(bar_age.newest_bar.astimezone(UTC), now) if bar_age.newest_bar else ""
        if future:
            problems[key] = Problem(f"{bar_age.symbol}: {future}", FUTURE_REMEDY, patience)
        elif bar_age.newest_bar and age_minutes(bar_age.newest_bar.astimezone(UTC), now) <= limit:
            problems[key] = None
        elif is_expected:
            problems[key] = Problem(_late_text(bar_age, limit), LATE_REMEDY, patience)
    return problems


def _late_text(bar_age: store.BarAge, limit: float) -> str:
    newest = "there is none"
    if bar_age.newest_bar:
        newest = f"the newest is of {bar_age.newest_bar.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    return f"no new bars of {bar_age.symbol} for {counted(limit, 'minute')} ({newest})"


def _is_expected(bar_age: store.BarAge, sessions: Sessions, limit: float, now: datetime) -> bool:
    """Whether the market is open, and was so for longer than `limit` minutes since the newest bar closed."""
    try:
        if sessions.closed_until(now):
            return False
        newest = bar_age.newest_bar
        return newest is None or sessions.open_minutes(newest.astimezone(UTC) + BAR_LENGTH, now) > limit
    except CalendarEnded:
        return False


def _calendar(symbol: str, sessions: Sessions, now: datetime) -> Problem | None:
    """That the calendar of `symbol` has ended, or ends soon."""
    try:
        sessions.is_open(now + CALENDAR_NOTICE)
    except CalendarEnded as error:
        what, _, remedy = str(error).partition("; ")
        return Problem(f"{symbol}: {what}; it is not answered after that", remedy, is_ahead=True)
    return None


def _deliveries(connection: Connection, settings: Settings) -> dict[str, Problem | None]:
    """Chats whose newest alert was lost; without an alert within a day the problem does not change."""
    problems: dict[str, Problem | None] = {}
    for end in store.newest_delivery_ends(connection, settings.chat_ids):
        lost = (
            f"alerts to chat {end.chat_id} do not arrive ({end.lost_within_a_day} in a day, {end.detail or end.state})"
        )
        remedy = "see `hybrid-ml check` and the table deliveries"
        problems[f"alerts to {end.chat_id}"] = None if end.state == "sent" else Problem(lost, remedy)
    return problems
