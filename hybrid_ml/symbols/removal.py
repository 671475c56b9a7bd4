"""Removing bars: those of a symbol with all that belongs to them, or those of a period.

Models and answers stay: an answer that was given can still be checked.
"""

from dataclasses import replace
from datetime import UTC, datetime

from sqlalchemy import Connection, Engine

from hybrid_ml.config.settings import Settings
from hybrid_ml.errors import BadInput, DataUnavailable
from hybrid_ml.market.coverage import Span, without
from hybrid_ml.schemas.symbol_reports import BarsRemoval, Removal
from hybrid_ml.store import predictions
from hybrid_ml.store.bars import bar_span, lock_bars
from hybrid_ml.store.coverage import read_coverage, read_instruments, record_coverage
from hybrid_ml.store.locks import symbol_locks
from hybrid_ml.store.model_files import model_files, remove_model_files
from hybrid_ml.store.sql import query
from hybrid_ml.store.symbol_tables import (
    REMOVED_TABLES,
    Advance,
    known_symbols,
    read_holdings,
    remove_bars,
    remove_symbol,
    tables_with,
)
from hybrid_ml.symbols.naming import folder_of, refuse_unknown, settings_naming

TIME = "%Y-%m-%dT%H:%M"
BEGINNING, END = datetime(1900, 1, 1, tzinfo=UTC), datetime(2201, 1, 1, tzinfo=UTC)
"""Earlier and later than any bar."""


def plan_removal(connection: Connection, settings: Settings, symbols: list[str], now: datetime) -> list[Removal]:
    """What a removal of each of `symbols` would remove.

    Raises BadInput for one that nothing is known of, or of which only what stays is left.
    """
    refuse_unknown(symbols, known_symbols(connection), "symbols")
    planned = [
        Removal(
            symbol=symbol,
            holdings=read_holdings(connection, symbol),
            files=model_files(folder_of(connection, settings, symbol, now), symbol),
            named_in=settings_naming(settings, symbol),
            done=False,
        )
        for symbol in symbols
    ]
    for removal in planned:
        if not removal.files and not set(tables_with(connection, removal.symbol)) & set(REMOVED_TABLES):
            raise BadInput(
                f"--symbols {removal.symbol}: it is removed already; its models, predictions and alerts stay, and "
                "nothing else of it is there"
            )
    return planned


def remove(
    engine: Engine, settings: Settings, planned: list[Removal], now: datetime, advance: Advance
) -> list[Removal]:
    """Carry them out in one transaction, while no run works on a symbol; raises SymbolBusy where one does not end.

    Outcomes that are known by now are recorded before. Ended at any moment, the same command begins again.
    """
    symbols = sorted(removal.symbol for removal in planned)
    with symbol_locks(engine, settings.hybrid_ml_lock_wait_seconds) as locks:
        for symbol in symbols:
            locks.take(symbol)
        with engine.connect() as connection:
            folders = [folder_of(connection, settings, symbol, now) for symbol in symbols]
        # First, since the folder of the first symbol is another one once its bars have gone; the registry has them all.
        for folder, symbol in zip(folders, symbols, strict=True):
            remove_model_files(folder, symbol)
        with engine.begin() as connection:
            predictions.resolve(connection, now, settings.hybrid_ml_max_gap_minutes)
            for symbol in symbols:
                remove_symbol(connection, symbol, advance)
    return [removal.model_copy(update={"done": True}) for removal in planned]


def plan_bars_removal(
    connection: Connection, symbol: str, since: datetime | None, until: datetime | None, *, for_good: bool
) -> BarsRemoval:
    """What a removal of the bars that open from `since` until before `until` would remove; None: no limit.

    Raises BadInput for an unknown symbol, and DataUnavailable where it has no bar of that time.
    """
    refuse_unknown([symbol], known_symbols(connection), "symbol")
    span = bar_span(connection, symbol)
    begin, end = since or BEGINNING, until or END
    found = connection.execute(query("bars_of_period"), {"symbol": symbol, "since": begin, "until": end}).one()
    if not found.bars:
        period = " ".join([f"from {since:{TIME}}"] * bool(since) + [f"until {until:{TIME}}"] * bool(until))
        there = f"{span.first.astimezone(UTC):{TIME}} to {span.last.astimezone(UTC):{TIME}}"
        raise DataUnavailable(f"{symbol} has no bar {period}; its bars are from {there} UTC")
    feed = next((instrument.feed for instrument in read_instruments(connection, [symbol])), None)
    kept = without(read_coverage(connection, symbol, BEGINNING, END), begin, end)
    return BarsRemoval(
        symbol=symbol,
        feed=feed,
        asked_again=feed is not None and not for_good and (not kept or kept[0].begin < begin),
        for_good=for_good,
        done=False,
        **found._mapping,
    )


def remove_period(
    engine: Engine,
    settings: Settings,
    planned: BarsRemoval,
    since: datetime | None,
    until: datetime | None,
    now: datetime,
) -> BarsRemoval:
    """Carry out `planned` in one transaction, while no run works on the symbol; raises SymbolBusy as `remove` does."""
    symbol, begin, end = planned.symbol, since or BEGINNING, until or END
    with symbol_locks(engine, settings.hybrid_ml_lock_wait_seconds) as locks:
        locks.take(symbol)
        with engine.begin() as connection:
            predictions.resolve(connection, now, settings.hybrid_ml_max_gap_minutes)
            lock_bars(connection, symbol)
            spans = read_coverage(connection, symbol, begin, end)
            remove_bars(connection, symbol, begin, end)
            if planned.for_good:
                record_coverage(connection, symbol, _given_up(spans, begin, end))
    return planned.model_copy(update={"done": True})


def _given_up(spans: list[Span], begin: datetime, end: datetime) -> list[Span]:
    """The minutes of `spans` within `begin` to `end`, those that had a bar as if the feed had none."""
    inside = [replace(span, begin=max(span.begin, begin), end=min(span.end, end)) for span in spans]
    return [
        replace(span, state="source_gap", recheck_at=None) if span.state == "have" else span
        for span in inside
        if span.begin < span.end
    ]
