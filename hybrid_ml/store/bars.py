"""Bars in and out of PostgreSQL."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

import pandas as pd
from sqlalchemy import Connection, Engine, text

from hybrid_ml.errors import DataUnavailable
from hybrid_ml.market.bars import BAR_COLUMNS, VALUE_COLUMNS, in_sessions
from hybrid_ml.market.quality import Revisions
from hybrid_ml.market.sessions import Sessions
from hybrid_ml.market.simulation import SIMULATED_SYMBOL
from hybrid_ml.store import binary_copy
from hybrid_ml.store.database_errors import driver_cursor
from hybrid_ml.store.sql import query, read
from hybrid_ml.text.names import nearest_names

CHUNK_ROWS = 50_000
"""Rows in one transaction: an interrupted load keeps what it has, and can simply be run again."""


PRICE_RANGE = text(f"SELECT min(low) AS low, max(high) AS high FROM ({read('bars_beside')}) AS beside")
REVISIONS = text("""
    SELECT count(DISTINCT time) AS bars, max(replaced_at) AS newest
    FROM bar_revisions WHERE symbol = :symbol AND time >= :since
""")


class Written(NamedTuple):
    """How many rows a load wrote: of minutes without a bar before, and over bars with other values."""

    new: int
    changed: int

    @property
    def total(self) -> int:
        return self.new + self.changed


@dataclass(frozen=True)
class BarSpan:
    """Open times of the first and the last bar of a symbol."""

    first: datetime
    last: datetime


def store_bars(
    engine: Engine, symbol: str, bars: pd.DataFrame, on_rows: Callable[[int], None] | None = None
) -> Written:
    """Upsert clean `bars`; return how many rows were new and changed. `on_rows` gets the rows of each chunk."""
    new = changed = 0
    for start in range(0, len(bars), CHUNK_ROWS):
        chunk = bars.iloc[start : start + CHUNK_ROWS]
        with engine.begin() as connection:
            written = store_chunk(connection, symbol, chunk)
        new, changed = new + written.new, changed + written.changed
        if on_rows is not None:
            on_rows(len(chunk))
    return Written(new, changed)


def lock_bars(connection: Connection, symbol: str) -> None:
    """Loads of one symbol take turns until their transactions end."""
    connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('bars'), hashtext(:symbol))"), {"symbol": symbol})


def copy_into(table: str, bars: pd.DataFrame) -> str:
    """The COPY statement that reads `binary_copy.encode` of `bars` into `table`."""
    return f"COPY {table} ({', '.join(binary_copy.columns_of(bars))}) FROM STDIN WITH (FORMAT BINARY)"


def store_chunk(connection: Connection, symbol: str, chunk: pd.DataFrame) -> Written:
    """Upsert at least one clean bar in the caller's transaction, once in it; return how many were new and changed.

    COPY goes straight into the table where it has no bar of that period yet, else through a staging table.
    """
    data = io.BytesIO(binary_copy.encode(symbol, chunk))
    first, last = chunk["time"].iloc[0].to_pydatetime(), chunk["time"].iloc[-1].to_pydatetime()
    lock_bars(connection, symbol)  # so that no bar of the period can appear after the check
    there = connection.execute(
        text("SELECT EXISTS (SELECT 1 FROM bars WHERE symbol = :symbol AND time BETWEEN :first AND :last)"),
        {"symbol": symbol, "first": first, "last": last},
    ).scalar_one()
    with driver_cursor(connection) as cursor:
        if there:
            cursor.execute("CREATE TEMPORARY TABLE staged_bars (LIKE bars) ON COMMIT DROP")
            cursor.copy_expert(copy_into("staged_bars", chunk), data)
            cursor.execute("SELECT count(*) FROM staged_bars JOIN bars USING (symbol, time)")
            new = len(chunk) - int(cursor.fetchone()[0])
            cursor.execute(read("upsert_bars"))
            return Written(new, int(cursor.rowcount) - new)
        cursor.copy_expert(copy_into("bars", chunk), data)
        return Written(len(chunk), 0)


def store_rejected_rows(engine: Engine, symbol: str, rejected: pd.DataFrame) -> None:
    """`store_rejected` in a transaction of its own."""
    with engine.begin() as connection:
        store_rejected(connection, symbol, rejected)


def store_rejected(connection: Connection, symbol: str, rejected: pd.DataFrame) -> None:
    """Keep rejected rows (source, row, reason, raw, time) with their reasons, for whoever corrects the file.

    By COPY: over a slow line thousands of INSERTs take minutes.
    """
    if rejected.empty:
        return
    columns = rejected[["source", "row", "reason", "raw", "time"]]
    data = io.StringIO(columns.assign(symbol=symbol).to_csv(index=False, header=False))
    with driver_cursor(connection) as cursor:
        cursor.execute("CREATE TEMPORARY TABLE staged_rows (LIKE bars_set_aside INCLUDING DEFAULTS) ON COMMIT DROP")
        cursor.copy_expert(
            "COPY staged_rows (source, row_number, reason, raw, time, symbol) FROM STDIN "
            "WITH (FORMAT CSV, FORCE_NOT_NULL (source, reason, raw, symbol))",
            data,
        )
        cursor.execute(read("reject_rows"))


def remove_mended_rows(engine: Engine, symbol: str, bars: pd.DataFrame) -> None:
    """Remove rejected rows of an earlier load whose minute has a good bar in `bars`, at least one."""
    period = {"first": bars["time"].iloc[0].to_pydatetime(), "last": bars["time"].iloc[-1].to_pydatetime()}
    with engine.begin() as connection:
        found = connection.execute(
            text("SELECT DISTINCT time FROM bars_set_aside WHERE symbol = :symbol AND time BETWEEN :first AND :last"),
            {"symbol": symbol, **period},
        )
        rejected = pd.to_datetime(list(found.scalars()), utc=True)
        mended = [time.to_pydatetime() for time in rejected[rejected.isin(bars["time"])]]
        if mended:
            connection.execute(
                text("DELETE FROM bars_set_aside WHERE symbol = :symbol AND time = ANY(:mended)"),
                {"symbol": symbol, "mended": mended},
            )


def count_revisions(connection: Connection, symbol: str, since: datetime) -> Revisions:
    """Bars that opened at or after `since` and whose values were replaced."""
    row = connection.execute(REVISIONS, {"symbol": symbol, "since": since}).one()
    return Revisions(row.bars, row.newest and row.newest.astimezone(UTC))


def count_rejected_rows(connection: Connection, symbol: str) -> dict[str, int]:
    """The number of rejected rows, by reason, the most frequent first."""
    counted = connection.execute(query("count_rejected_rows"), {"symbol": symbol})
    return {str(reason): int(rows) for reason, rows in counted}


def recent_bars(connection: Connection, symbol: str, until: datetime, count: int) -> pd.DataFrame:
    """The newest `count` bars of `symbol` that opened at or before `until`, oldest first (BAR_COLUMNS)."""
    received = io.BytesIO()
    with driver_cursor(connection) as cursor:
        chosen = cursor.mogrify(read("recent_bars"), {"symbol": symbol, "until": until, "count": count}).decode()
        cursor.copy_expert(f"COPY ({chosen}) TO STDOUT WITH (FORMAT BINARY)", received)
    return binary_copy.decode(received.getvalue()).iloc[::-1].reset_index(drop=True)


def recent_open_bars(
    connection: Connection, symbol: str, until: datetime, count: int, sessions: Sessions
) -> pd.DataFrame:
    """As `recent_bars`, of those in `sessions`. Raises CalendarEnded."""
    wanted = count
    while True:
        bars = recent_bars(connection, symbol, until, wanted)
        inside = in_sessions(bars, sessions)
        if len(inside) >= count or len(bars) < wanted:
            return inside.tail(count).reset_index(drop=True)
        wanted *= 2


def price_range_beside(
    connection: Connection, symbol: str, begin: datetime, end: datetime, count: int
) -> tuple[float, float] | None:
    """The lowest and the highest price of `bars_beside`; None where there are no such bars."""
    values = {"symbol": symbol, "begin": begin, "end": end, "count": count}
    row = connection.execute(PRICE_RANGE, values).one()
    return None if row.low is None else (row.low, row.high)


def bars_beside(connection: Connection, symbol: str, begin: datetime, end: datetime, count: int) -> pd.DataFrame:
    """Up to `count` bars in the day before `begin` and as many in that from `end` on, oldest first (BAR_COLUMNS)."""
    values = {"symbol": symbol, "begin": begin, "end": end, "count": count}
    bars = pd.DataFrame(connection.execute(query("bars_beside"), values).all(), columns=BAR_COLUMNS)
    times = pd.to_datetime(bars["time"], utc=True).astype("datetime64[us, UTC]")
    return bars.astype(dict.fromkeys(VALUE_COLUMNS, "float64")).assign(time=times)


def symbols(connection: Connection) -> list[str]:
    """Every symbol with at least one bar, sorted."""
    return [str(symbol) for symbol in connection.execute(query("symbols")).scalars()]


def leader_candidates(connection: Connection, symbol: str, until: datetime, count: int) -> list[str]:
    """Up to `count` other symbols, none of them simulated, with the largest turnover in their newest day of bars."""
    others = [name for name in symbols(connection) if name not in (symbol, SIMULATED_SYMBOL)]
    values = {"symbols": others, "until": until, "count": count}
    return [str(name) for name in connection.execute(query("leader_candidates"), values).scalars()]


def newest_bars_without_feed(connection: Connection) -> dict[str, datetime]:
    """The newest bar, UTC, of every symbol whose bars are not from a feed, or whose feed no longer trades it."""
    return {row.symbol: row.time.astimezone(UTC) for row in connection.execute(query("newest_bars_without_feed"))}


def awaited(connection: Connection, symbols: list[str], time: datetime) -> list[str]:
    """Those of `symbols` that had bars in the five minutes before `time` and have none of that minute yet."""
    return [str(name) for name in connection.execute(query("awaited"), {"symbols": symbols, "time": time}).scalars()]


def bar_span(connection: Connection, symbol: str) -> BarSpan:
    """First and last bar of `symbol`; raises DataUnavailable, naming similar symbols, or all, when it has none."""
    row = connection.execute(query("bar_span"), {"symbol": symbol}).one()
    if row.last is None:
        known = symbols(connection)
        near = nearest_names(symbol, known)
        there = (
            f"; did you mean {', '.join(near)}? Else"
            if near
            else f" (symbols there: {', '.join(known) or 'none yet'});"
        )
        raise DataUnavailable(
            f"no bars of {symbol} in the database{there} load some with "
            f"`hybrid-ml backfill --source csv --csv_path FILE --symbol {symbol}`"
        )
    return BarSpan(row.first, row.last)
