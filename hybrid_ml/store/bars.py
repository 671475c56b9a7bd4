"""Bars in and out of PostgreSQL."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import pandas as pd
from sqlalchemy import Connection, Engine, text

from hybrid_ml.errors import DataUnavailable
from hybrid_ml.market.bars import CleanBars
from hybrid_ml.store import binary_copy
from hybrid_ml.store.database_errors import driver_cursor
from hybrid_ml.store.sql import query, read

CHUNK_ROWS = 50_000
"""Rows a transaction: an interrupted load keeps what it has, and can simply be run again."""
COPY_COLUMNS = "(symbol, time, open, high, low, close, volume) FROM STDIN WITH (FORMAT BINARY)"


@dataclass(frozen=True)
class BarSpan:
    """Open times of the first and the last bar of a symbol."""

    first: datetime
    last: datetime


def store_bars(engine: Engine, symbol: str, bars: pd.DataFrame, on_rows: Callable[[int], None] | None = None) -> int:
    """Upsert clean `bars`; return how many rows were new or different. `on_rows` hears of each chunk."""
    written = 0
    for start in range(0, len(bars), CHUNK_ROWS):
        chunk = bars.iloc[start : start + CHUNK_ROWS]
        with engine.begin() as connection:
            written += _store_chunk(connection, symbol, chunk)
        if on_rows is not None:
            on_rows(len(chunk))
    return written


def _store_chunk(connection: Connection, symbol: str, chunk: pd.DataFrame) -> int:
    """COPY straight into the table where no bar of that stretch is there yet, else by way of a staging table."""
    data = io.BytesIO(binary_copy.encode(symbol, chunk))
    first, last = chunk["time"].iloc[0].to_pydatetime(), chunk["time"].iloc[-1].to_pydatetime()
    # Loads of one symbol take turns, so that nothing can appear in the stretch after the look.
    connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('bars'), hashtext(:symbol))"), {"symbol": symbol})
    there = connection.execute(
        text("SELECT EXISTS (SELECT 1 FROM bars WHERE symbol = :symbol AND time BETWEEN :first AND :last)"),
        {"symbol": symbol, "first": first, "last": last},
    ).scalar_one()
    with driver_cursor(connection) as cursor:
        if there:
            cursor.execute("CREATE TEMPORARY TABLE staged_bars (LIKE bars) ON COMMIT DROP")
            cursor.copy_expert(f"COPY staged_bars {COPY_COLUMNS}", data)
            cursor.execute(read("upsert_bars"))
        else:
            cursor.copy_expert(f"COPY bars {COPY_COLUMNS}", data)
        return int(cursor.rowcount)


def store_set_aside(engine: Engine, symbol: str, source: str, cleaned: CleanBars) -> None:
    """Keep the rows that could not be used, with their reasons, for whoever wants to mend the file."""
    rows = [
        {"symbol": symbol, "source": source, "row_number": int(row), "reason": reason, "raw": raw}
        for row, reason, raw in cleaned.set_aside.itertuples(index=False)
    ]
    if rows:
        with engine.begin() as connection:
            connection.execute(query("set_aside"), rows)


def count_set_aside(connection: Connection, symbol: str) -> dict[str, int]:
    """How many rows of files could not be used, by reason, the most frequent first."""
    counted = connection.execute(query("count_set_aside"), {"symbol": symbol})
    return {str(reason): int(rows) for reason, rows in counted}


def recent_bars(connection: Connection, symbol: str, until: datetime, count: int) -> pd.DataFrame:
    """The newest `count` bars of `symbol` that opened at or before `until`, oldest first (BAR_COLUMNS)."""
    received = io.BytesIO()
    with driver_cursor(connection) as cursor:
        chosen = cursor.mogrify(read("recent_bars"), {"symbol": symbol, "until": until, "count": count}).decode()
        cursor.copy_expert(f"COPY ({chosen}) TO STDOUT WITH (FORMAT BINARY)", received)
    return binary_copy.decode(received.getvalue()).iloc[::-1].reset_index(drop=True)


def symbols(connection: Connection) -> list[str]:
    """Every symbol with at least one bar, sorted."""
    return [str(symbol) for symbol in connection.execute(query("symbols")).scalars()]


def bar_span(connection: Connection, symbol: str) -> BarSpan:
    """First and last bar of `symbol`; raises DataUnavailable, naming what there is, when it has none."""
    found = connection.execute(query("bar_span"), {"symbol": symbol}).one()
    if found.last is None:
        known = ", ".join(symbols(connection)) or "none yet"
        raise DataUnavailable(
            f"no bars of {symbol} in the database (symbols there: {known}); load some with "
            f"`hybrid-ml backfill --source csv --csv_path FILE --symbol {symbol}`"
        )
    return BarSpan(found.first, found.last)
