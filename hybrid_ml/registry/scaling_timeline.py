"""A symbol's week of progressive scaling, from the registry."""

from datetime import datetime, timedelta

from sqlalchemy import Connection, text

from hybrid_ml.config.settings import Settings
from hybrid_ml.learning.scaling import FULL_WEEK, row_limit, week_number
from hybrid_ml.pipeline.run import make_run
from hybrid_ml.schemas.reports import ScalingReport, ScalingStep
from hybrid_ml.schemas.requests import Request
from hybrid_ml.store import bars as stored_bars
from hybrid_ml.store import model_registry as registry
from hybrid_ml.store.engine import open_engine


def scaling_report(symbol: str | None, settings: Settings, now: datetime) -> ScalingReport:
    """The timeline of `symbol` (default: the default one), and its week at `now`."""
    with open_engine(settings).connect() as connection:
        run = make_run(Request(symbols=[symbol] if symbol else []), settings, stored_bars.symbols(connection), now)
        chosen = symbol or run.default_symbol
        stored_bars.bar_span(connection, chosen)
        bars = connection.execute(
            text("SELECT count(*) FROM bars WHERE symbol = :symbol"), {"symbol": chosen}
        ).scalar_one()
        return timeline(connection, chosen, int(bars), now)


def timeline(connection: Connection, symbol: str, bars: int, now: datetime) -> ScalingReport:
    """The timeline of `symbol`, which has `bars` bars; they need not be in the database."""
    first = registry.first_base_at(connection, symbol)
    bases = registry.list_bases(connection, symbol)
    week = week_number(first, now)
    trained: dict[int, list[str]] = {}
    rows: dict[int, list[int]] = {}
    for base in bases:
        step = min(base["week"], FULL_WEEK)
        trained.setdefault(step, []).append(f"{base['version']} ({base['rows']:,} rows, {base['status']})")
        rows.setdefault(step, []).append(base["rows"])
    steps = [
        ScalingStep(
            week=step,
            row_limit=row_limit(step),
            begins=None if first is None else first + timedelta(weeks=step),
            trained=trained.get(step, []),
            rows=rows.get(step, []),
        )
        for step in range(FULL_WEEK + 1)
    ]
    return ScalingReport(
        symbol=symbol, bars=bars, week=week, row_limit=row_limit(week), first_base_at=first, steps=steps
    )
