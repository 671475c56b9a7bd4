"""How complete the bars of symbols are: by day, by what is known of the minutes without a bar."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection

from hybrid_ml.market.bars import BAR_LENGTH
from hybrid_ml.pipeline.run import ended_symbols, without_simulated
from hybrid_ml.pipeline.schedule import newest_slot
from hybrid_ml.schemas.data_report import DataReport, DayMinutes, SymbolData
from hybrid_ml.store import bars as stored_bars
from hybrid_ml.store.completeness import Counts, Day, Origin, count_minutes
from hybrid_ml.store.coverage import feeds_of
from hybrid_ml.symbols.naming import refuse_unknown

DAY = timedelta(days=1)


def read_data(connection: Connection, symbols: list[str], days: int, now: datetime) -> DataReport:
    """The last `days` days until `now`, today's included, of `symbols`; none: of all that have not ended.

    Minutes after the newest slot are not counted: their bars are asked for at the next one. Raises BadInput for a
    symbol without bars and without a feed.
    """
    until = newest_slot(now.astimezone(UTC))
    since = until.replace(hour=0, minute=0) - (days - 1) * DAY
    known = sorted({*stored_bars.symbols(connection), *feeds_of(connection)})
    refuse_unknown(symbols, known, "symbols")
    ended = {} if symbols else ended_symbols(stored_bars.newest_bars_without_feed(connection), now)
    offered = without_simulated(known)
    chosen = symbols or [symbol for symbol in offered if symbol not in ended] or offered
    counts = count_minutes(connection, chosen, since, until)
    return DataReport(
        since=since,
        until=until,
        symbols=[_symbol_data(origin, counts, since, until) for origin in counts.origins],
        ended={symbol: bar for symbol, bar in ended.items() if symbol in offered and symbol not in chosen},
    )


def _symbol_data(origin: Origin, counts: Counts, since: datetime, until: datetime) -> SymbolData:
    days = [since + number * DAY for number in range((until - since) // DAY + 1)]
    if days[-1] == until:
        days.pop()  # the day has not begun
    fullest = _fullest_day(origin, counts, days)
    return SymbolData(
        symbol=origin.symbol,
        feed=origin.feed,
        days=[_day_minutes(origin, counts, day, _expected(origin, counts, day, until, fullest)) for day in days],
        revisions=origin.revisions,
        rejected_rows=origin.rejected_rows,
    )


def _fullest_day(origin: Origin, counts: Counts, days: list[Day]) -> int:
    """Of bars from files nobody knows when their market was open: what the day with most bars has is expected."""
    return max((counts.bars.get((origin.symbol, day), 0) for day in days), default=0)


def _expected(origin: Origin, counts: Counts, day: Day, until: datetime, fullest: int) -> int:
    """Minutes of a day in which there may be a bar of the symbol."""
    if origin.first is None:
        return 0
    begin, end = max(day, origin.first), min(day + DAY, until, origin.delisted_at or until)
    minutes = max(0, (end - begin) // BAR_LENGTH)
    if origin.feed is None:
        return min(minutes, fullest)
    open_minutes = counts.open_minutes.get(origin.calendar or "")
    return minutes if open_minutes is None else min(minutes, open_minutes.get(day, 0))


def _day_minutes(origin: Origin, counts: Counts, day: Day, expected: int) -> DayMinutes:
    bars = counts.bars.get((origin.symbol, day), 0)
    no_trades, source_gap = (counts.states.get((origin.symbol, day, state), 0) for state in ("no_trades", "source_gap"))
    not_asked = 0 if origin.feed is None else max(0, expected - bars - no_trades - source_gap)
    wanted = expected - no_trades
    return DayMinutes(
        day=day.date(),
        expected=expected,
        bars=bars,
        no_trades=no_trades,
        source_gap=source_gap,
        not_asked=not_asked,
        share=min(bars / wanted, 1.0) if wanted > 0 else None,
    )
