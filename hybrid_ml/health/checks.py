"""What the monitor looks at without a Prefect server: disk, database, bars, deliveries. `now` is an argument."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from hybrid_ml.config.settings import Settings
from hybrid_ml.health.disk import free_disks
from hybrid_ml.health.problems import Problem
from hybrid_ml.market.bars import age_minutes
from hybrid_ml.market.simulation import SIMULATED_SYMBOL
from hybrid_ml.store import bars as stored_bars
from hybrid_ml.store import health as store
from hybrid_ml.store.engine import limit_time, shown
from hybrid_ml.text.counts import counted

ROOM_AGAIN = 1.1
"""A disk that goes to and fro around its bound is one problem, not many."""


def look_at_disks(settings: Settings, opened: set[str]) -> dict[str, Problem | None]:
    """Whether there is room where the program writes. `opened`: the problems that are open. Raises OSError."""
    found: dict[str, Problem | None] = {}
    for disk in free_disks(settings):
        key = f"disk of {disk.folder}"
        is_low = disk.free_mb < disk.wanted_mb * (ROOM_AGAIN if key in opened else 1)
        text = f"the disk of {disk.folder} has {disk.free_mb:,} MB free, less than {disk.wanted_mb:,} MB"
        remedy = "make room: on a full disk nothing is recorded and databases stop; HYBRID_ML_MIN_FREE_MB is the bound"
        found[key] = Problem(text, remedy) if is_low else None
    return found


def look_at_database(engine: Engine, settings: Settings, now: datetime) -> dict[str, Problem | None]:
    """Whether the database answers, and what its rows say: whose bars are late, whose alerts do not arrive."""
    try:
        with engine.connect() as connection:
            limit_time(connection)
            found = _bars(connection, settings, now) | _deliveries(connection, settings)
    except SQLAlchemyError as error:
        return {"database": database_problem(shown(engine), _first_line(error), settings)}
    return {"database": None} | found


def database_problem(address: str, why: str, settings: Settings) -> Problem:
    """The database at `address` (fit for a person's eyes) cannot be used, and `why`."""
    remedy = f"start it, or check {settings.setting_source('neon_conn_str')}; `hybrid-ml check` says more"
    return Problem(
        f"the database at {address} cannot be used ({why})", remedy, settings.hybrid_ml_health_patience_seconds
    )


def _first_line(error: SQLAlchemyError) -> str:
    text = str(error.orig if isinstance(error, DBAPIError) else error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__


def _bars(connection: Connection, settings: Settings, now: datetime) -> dict[str, Problem | None]:
    """Symbols whose market is open and whose bars are late; one that is closed is left as it was."""
    symbols = settings.symbols or [name for name in stored_bars.symbols(connection) if name != SIMULATED_SYMBOL]
    limit, found = settings.hybrid_ml_stale_bars_minutes, dict[str, Problem | None]()
    for bar_age in store.bar_ages(connection, symbols, timedelta(minutes=limit), now):
        late = bar_age.newest_bar is None or age_minutes(bar_age.newest_bar.astimezone(UTC), now) > limit
        if not late:
            found[f"bars of {bar_age.symbol}"] = None
        elif bar_age.is_open:
            newest = (
                f"the newest is of {bar_age.newest_bar.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
                if bar_age.newest_bar
                else "there is none"
            )
            text = f"no new bars of {bar_age.symbol} for {counted(limit, 'minute')} ({newest})"
            remedy = "look after what loads its bars; if its market is closed today, nothing need be done"
            found[f"bars of {bar_age.symbol}"] = Problem(text, remedy, settings.hybrid_ml_health_patience_seconds)
    return found


def _deliveries(connection: Connection, settings: Settings) -> dict[str, Problem | None]:
    """Chats whose newest alert was lost; one that had none within a day is left as it was."""
    found: dict[str, Problem | None] = {}
    for end in store.newest_delivery_ends(connection, settings.chat_ids):
        lost = (
            f"alerts to chat {end.chat_id} do not arrive ({end.lost_within_a_day} in a day, {end.detail or end.state})"
        )
        remedy = "`hybrid-ml check` and the table deliveries say why"
        found[f"alerts to {end.chat_id}"] = None if end.state == "sent" else Problem(lost, remedy)
    return found
