"""What feeds have answered about the minutes of a symbol, and where its bars are from."""

from dataclasses import asdict, dataclass, replace
from datetime import datetime

from sqlalchemy import Connection, text

from hybrid_ml.errors import BadInput
from hybrid_ml.market.coverage import Span, replaced, without
from hybrid_ml.store.bars import lock_bars
from hybrid_ml.store.sql import query

READ = text("""
    SELECT from_time, to_time, state, recheck_at FROM coverage
    WHERE symbol = :symbol AND from_time <= :end AND to_time >= :begin ORDER BY from_time
""")
DELETE = text("DELETE FROM coverage WHERE symbol = :symbol AND from_time <= :end AND to_time >= :begin")
INSERT = text("""
    INSERT INTO coverage (symbol, from_time, to_time, state, recheck_at)
    VALUES (:symbol, :begin, :end, :state, :recheck_at)
""")
INSTRUMENTS = text("""
    SELECT symbol, feed, feed_symbol, listed_at, delisted_at, calendar FROM instruments
    WHERE symbol = ANY(:symbols) AND feed IS NOT NULL ORDER BY symbol
""")
KEEP = text("SELECT 1 FROM instruments WHERE symbol = :symbol FOR KEY SHARE")
FEEDS = text("SELECT symbol, feed FROM instruments WHERE feed IS NOT NULL ORDER BY symbol")
FIRST_COVERED = text("SELECT min(from_time) FROM coverage WHERE symbol = :symbol")


@dataclass(frozen=True)
class Instrument:
    """A symbol of a feed. `calendar`: when its market is open; `delisted_at`: the close of its last bar."""

    symbol: str
    feed: str
    feed_symbol: str
    listed_at: datetime | None = None
    delisted_at: datetime | None = None
    calendar: str = "24/7"


def save_instrument(connection: Connection, instrument: Instrument) -> Instrument:
    """Record or update it; returns it with the calendar that a person may have chosen.

    Raises BadInput where the symbol's bars are from another feed.
    """
    calendar = connection.execute(query("save_instrument"), asdict(instrument)).scalar()
    if calendar is not None:
        return replace(instrument, calendar=calendar)
    known = connection.execute(
        text("SELECT feed FROM instruments WHERE symbol = :symbol"), {"symbol": instrument.symbol}
    ).scalar_one()
    raise BadInput(
        f"{instrument.symbol}: its bars are from {known}, and bars of one symbol come from one exchange; "
        f"load them with --exchange {known}"
    )


def read_instruments(connection: Connection, symbols: list[str]) -> list[Instrument]:
    """Those of `symbols` whose bars are from a feed, sorted."""
    return [Instrument(**row._mapping) for row in connection.execute(INSTRUMENTS, {"symbols": symbols})]


def keep_instrument(connection: Connection, symbol: str) -> None:
    """Let nobody remove or rename `symbol` until the caller's transaction ends; raises BadInput where that was done.

    A load that began before would otherwise bring back bars that nothing keeps up to date.
    """
    if connection.execute(KEEP, {"symbol": symbol}).scalar() is None:
        raise BadInput(f"{symbol}: it was removed or renamed while its bars were loaded; nothing more of it is stored")


def feeds_of(connection: Connection) -> dict[str, str]:
    """Every symbol whose bars are from a feed, and which one, sorted."""
    return {row.symbol: row.feed for row in connection.execute(FEEDS)}


def first_covered(connection: Connection, symbol: str) -> datetime | None:
    """The oldest minute that the symbol's feed was asked about; None where it never was."""
    found: datetime | None = connection.execute(FIRST_COVERED, {"symbol": symbol}).scalar_one()
    return found


def read_coverage(connection: Connection, symbol: str, begin: datetime, end: datetime) -> list[Span]:
    """The spans that overlap or touch `begin` to `end`, in order of time."""
    rows = connection.execute(READ, {"symbol": symbol, "begin": begin, "end": end})
    return [Span(row.from_time, row.to_time, row.state, row.recheck_at) for row in rows]


def record_coverage(connection: Connection, symbol: str, spans: list[Span]) -> None:
    """Replace what is known about the minutes of `spans`, which follow one another, in the caller's transaction."""
    if not spans:
        return
    lock_bars(connection, symbol)  # so that no other load changes the spans in between
    begin, end = spans[0].begin, spans[-1].end
    _write(connection, symbol, begin, end, replaced(read_coverage(connection, symbol, begin, end), spans))


def remove_coverage(connection: Connection, symbol: str, begin: datetime, end: datetime) -> None:
    """Forget what the feed answered about the minutes from `begin` until before `end`, in the caller's transaction."""
    lock_bars(connection, symbol)
    _write(connection, symbol, begin, end, without(read_coverage(connection, symbol, begin, end), begin, end))


def _write(connection: Connection, symbol: str, begin: datetime, end: datetime, spans: list[Span]) -> None:
    """Replace the spans that overlap or touch `begin` to `end`."""
    connection.execute(DELETE, {"symbol": symbol, "begin": begin, "end": end})
    if spans:
        connection.execute(INSERT, [{"symbol": symbol, **asdict(span)} for span in spans])
