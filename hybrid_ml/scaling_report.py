"""Where a symbol stands in progressive scaling, told by the registry."""

from datetime import datetime, timedelta

from sqlalchemy import text

from hybrid_ml.learning.scaling import FULL_WEEK, row_limit, week_number
from hybrid_ml.reports import ScalingReport, ScalingStep
from hybrid_ml.requests import Request
from hybrid_ml.run import open_run
from hybrid_ml.settings import Settings
from hybrid_ml.store import bars as stored_bars
from hybrid_ml.store import models as registry
from hybrid_ml.store.engine import open_engine


def scaling_report(symbol: str | None, settings: Settings, now: datetime) -> ScalingReport:
    """The timeline of `symbol` (default: the default one), and where `now` lies on it."""
    with open_engine(settings).connect() as connection:
        run = open_run(Request(symbols=[symbol] if symbol else []), settings, stored_bars.symbols(connection), now)
        chosen = symbol or run.default_symbol
        stored_bars.bar_span(connection, chosen)
        first = registry.first_base_at(connection, chosen)
        bases = registry.list_bases(connection, chosen)
        bars = connection.execute(
            text("SELECT count(*) FROM bars WHERE symbol = :symbol"), {"symbol": chosen}
        ).scalar_one()
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
        symbol=chosen, bars=int(bars), week=week, row_limit=row_limit(week), first_base_at=first, steps=steps
    )
