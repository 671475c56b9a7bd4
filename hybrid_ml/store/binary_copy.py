"""PostgreSQL's binary COPY for rows of fixed width, as numpy records.

Text COPY spends its time printing and parsing floats; the binary form is the memory of a numpy
record in network order. Format: PostgreSQL documentation, COPY, "Binary Format".
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hybrid_ml.market.bars import FEED_COLUMNS, VALUE_COLUMNS

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
EPOCH_SHIFT_MICROSECONDS = 946_684_800_000_000
"""PostgreSQL counts microseconds from 2000-01-01, Unix from 1970-01-01."""


def columns_of(bars: pd.DataFrame) -> list[str]:
    """The columns that `encode` writes, in order: those of FEED_COLUMNS only where the frame has them."""
    return ["symbol", "time", *VALUE_COLUMNS, *(column for column in FEED_COLUMNS if column in bars.columns)]


def _record(symbol_bytes: int | None, columns: list[str] = VALUE_COLUMNS) -> np.dtype:
    """One row on the wire: a field count, then a length before each field."""
    fields: list[tuple[str, str]] = [("count", ">i2")]
    if symbol_bytes is not None:
        fields += [("symbol_length", ">i4"), ("symbol", f"S{symbol_bytes}")]
    fields += [("time_length", ">i4"), ("time", ">i8")]
    for column in columns:
        fields += [(f"{column}_length", ">i4"), (column, ">i8" if column == "trades" else ">f8")]
    return np.dtype(fields)


def encode(symbol: str, bars: pd.DataFrame) -> bytes:
    """`bars` (BAR_COLUMNS, clean) of `symbol` as a binary COPY stream of `columns_of(bars)` into table bars.

    A column of FEED_COLUMNS is absent or complete, since rows have a fixed width: ValueError where one holds NaN.
    """
    name, columns = symbol.encode(), columns_of(bars)[2:]
    incomplete = [column for column in columns[len(VALUE_COLUMNS) :] if bars[column].isna().any()]
    if incomplete:
        raise ValueError(f"{', '.join(incomplete)} of {symbol}: NaN in some rows; leave the column out")
    rows: NDArray = np.zeros(len(bars), dtype=_record(len(name), columns))
    rows["count"], rows["symbol_length"], rows["symbol"] = 2 + len(columns), len(name), name
    microseconds = bars["time"].astype("datetime64[us, UTC]").astype("int64").to_numpy()
    rows["time_length"], rows["time"] = 8, microseconds - EPOCH_SHIFT_MICROSECONDS
    for column in columns:
        rows[f"{column}_length"], rows[column] = 8, bars[column].to_numpy()
    return b"".join([HEADER, rows.data, TRAILER])


def decode(data: bytes) -> pd.DataFrame:
    """A binary COPY stream of time and VALUE_COLUMNS as a frame of BAR_COLUMNS."""
    rows: NDArray = np.frombuffer(data[len(HEADER) : -len(TRAILER)], dtype=_record(None))
    columns = {"time": pd.to_datetime(rows["time"].astype("i8") + EPOCH_SHIFT_MICROSECONDS, unit="us", utc=True)}
    return pd.DataFrame({**columns, **{column: rows[column].astype("f8") for column in VALUE_COLUMNS}})
