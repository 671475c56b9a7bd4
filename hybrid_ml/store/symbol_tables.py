"""Every table that names symbols: what is there of a symbol, removing its bars, giving it another name."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from sqlalchemy import Connection, text

from hybrid_ml.market.bars import BAR_LENGTH
from hybrid_ml.schemas.symbol_reports import Holdings
from hybrid_ml.store.bars import lock_bars
from hybrid_ml.store.coverage import remove_coverage
from hybrid_ml.store.sql import query

Advance = Callable[[int], None]
"""Gets the number of further bars that are done."""
CHUNK = timedelta(days=60)
"""Bars of one statement: hosted servers end one that takes minutes."""
BESIDE_BARS = ("coverage", "bar_revisions", "bars_set_aside")
"""What belongs to the bars of a symbol and goes with them."""
REMOVED_TABLES = ("instruments", "bars", *BESIDE_BARS)
"""What is removed of a symbol; the rest stays."""
ANSWERS = ("predictions", "answers_not_counted")
SYMBOL_TABLES = (*REMOVED_TABLES, "alerts", *ANSWERS, "model_events", "model_versions")
"""Every table with a column `symbol`."""
DELETE_BARS = text("DELETE FROM bars WHERE symbol = :symbol AND time >= :begin AND time < :end")
RENAME_BARS = text("UPDATE bars SET symbol = :to WHERE symbol = :symbol AND time >= :begin AND time < :end")


def read_holdings(connection: Connection, symbol: str) -> Holdings:
    """What the database holds of `symbol`; all zero for one that it does not know."""
    return Holdings(**connection.execute(query("symbol_holdings"), {"symbol": symbol}).one()._mapping)


def tables_with(connection: Connection, symbol: str) -> list[str]:
    """The tables with a row of `symbol`."""
    return [
        table
        for table in SYMBOL_TABLES
        if connection.execute(
            text(f"SELECT EXISTS (SELECT FROM {table} WHERE symbol = :symbol)"), {"symbol": symbol}
        ).scalar_one()
    ]


def known_symbols(connection: Connection) -> list[str]:
    """Every symbol with bars, a feed, answers or models, sorted."""
    with_models = connection.execute(text("SELECT DISTINCT symbol FROM model_versions")).scalars()
    with_feeds = connection.execute(text("SELECT symbol FROM instruments")).scalars()
    others = [connection.execute(query(name)).scalars() for name in ("symbols", "ledger_symbols")]
    return sorted({str(symbol) for names in (with_models, with_feeds, *others) for symbol in names})


def remove_symbol(connection: Connection, symbol: str, advance: Advance) -> None:
    """Remove bars, feed, coverage, revisions and rejected rows of `symbol`, in the caller's transaction.

    The feed goes first: a load that stores a page holds its row, and one that comes later finds none.
    """
    connection.execute(text("DELETE FROM instruments WHERE symbol = :symbol"), {"symbol": symbol})
    lock_bars(connection, symbol)
    for table in BESIDE_BARS:
        connection.execute(text(f"DELETE FROM {table} WHERE symbol = :symbol"), {"symbol": symbol})
    for begin, end in _chunks(connection, symbol):
        advance(connection.execute(DELETE_BARS, {"symbol": symbol, "begin": begin, "end": end}).rowcount)


def remove_bars(connection: Connection, symbol: str, begin: datetime, end: datetime) -> None:
    """Remove the bars that open from `begin` until before `end`, their revisions and their coverage."""
    lock_bars(connection, symbol)
    values = {"symbol": symbol, "begin": begin, "end": end}
    connection.execute(DELETE_BARS, values)
    connection.execute(
        text("DELETE FROM bar_revisions WHERE symbol = :symbol AND time >= :begin AND time < :end"), values
    )
    remove_coverage(connection, symbol, begin, end)


def rename_symbol(connection: Connection, symbol: str, to: str, versions: dict[str, str], advance: Advance) -> None:
    """Give everything of `symbol` the name `to`, in the caller's transaction, models the names of `versions`.

    The feed comes first, as in `remove_symbol`.
    """
    names = {"symbol": symbol, "to": to}
    connection.execute(text("UPDATE instruments SET symbol = :to WHERE symbol = :symbol"), names)
    for name in sorted((symbol, to)):
        lock_bars(connection, name)
    for begin, end in _chunks(connection, symbol):
        advance(connection.execute(RENAME_BARS, {**names, "begin": begin, "end": end}).rowcount)
    for table in (*BESIDE_BARS, "alerts"):
        connection.execute(text(f"UPDATE {table} SET symbol = :to WHERE symbol = :symbol"), names)
    _rename_versions(connection, names, versions)


def _rename_versions(connection: Connection, names: dict[str, str], versions: dict[str, str]) -> None:
    """Versions and what refers to them; those that are adapters together with their bases, which they refer to."""
    connection.execute(
        text("CREATE TEMPORARY TABLE renamed (version text PRIMARY KEY, new_version text NOT NULL) ON COMMIT DROP")
    )
    if versions:
        renamed = [{"version": version, "new_version": new} for version, new in versions.items()]
        connection.execute(text("INSERT INTO renamed VALUES (:version, :new_version)"), renamed)
    connection.execute(query("rename_versions"), names)
    connection.execute(query("rename_events"), names)
    for table in ANSWERS:
        connection.execute(
            text(
                f"UPDATE {table} SET symbol = :to, model_version = coalesce("
                "(SELECT new_version FROM renamed WHERE version = model_version), model_version) WHERE symbol = :symbol"
            ),
            names,
        )


def _chunks(connection: Connection, symbol: str) -> Iterator[tuple[datetime, datetime]]:
    """Ranges that hold every bar of `symbol`, whose bars are locked."""
    span = connection.execute(query("bar_span"), {"symbol": symbol}).one()
    at = span.first
    while at is not None and at <= span.last:
        end = min(at + CHUNK, span.last + BAR_LENGTH)
        yield at, end
        at = end
