"""PostgreSQL's binary COPY for rows of fixed width, as numpy records.

Text COPY spends its time printing and parsing floats; the binary form is the memory of a numpy
record in network order. Format: PostgreSQL documentation, COPY, "Binary Format".
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hybrid_ml.market.bars import VALUE_COLUMNS

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
EPOCH_SHIFT_MICROSECONDS = 946_684_800_000_000
"""PostgreSQL counts microseconds from 2000-01-01, Unix from 1970-01-01."""


def _record(symbol_bytes: int | None) -> np.dtype:
    """One row on the wire: a field count, then a length before each field."""
    fields: list[tuple[str, str]] = [("count", ">i2")]
    if symbol_bytes is not None:
        fields += [("symbol_length", ">i4"), ("symbol", f"S{symbol_bytes}")]
    fields += [("time_length", ">i4"), ("time", ">i8")]
    for column in VALUE_COLUMNS:
        fields += [(f"{column}_length", ">i4"), (column, ">f8")]
    return np.dtype(fields)


def encode(symbol: str, bars: pd.DataFrame) -> bytes:
    """`bars` (BAR_COLUMNS, clean) of `symbol` as a binary COPY stream into table bars."""
    name = symbol.encode()
    rows: NDArray = np.zeros(len(bars), dtype=_record(len(name)))
    rows["count"], rows["symbol_length"], rows["symbol"] = 2 + len(VALUE_COLUMNS), len(name), name
    microseconds = bars["time"].astype("datetime64[us, UTC]").astype("int64").to_numpy()
    rows["time_length"], rows["time"] = 8, microseconds - EPOCH_SHIFT_MICROSECONDS
    for column in VALUE_COLUMNS:
        rows[f"{column}_length"], rows[column] = 8, bars[column].to_numpy()
    return HEADER + rows.tobytes() + TRAILER


def decode(data: bytes) -> pd.DataFrame:
    """A binary COPY stream of time and VALUE_COLUMNS as a frame of BAR_COLUMNS."""
    rows: NDArray = np.frombuffer(data[len(HEADER) : -len(TRAILER)], dtype=_record(None))
    columns = {"time": pd.to_datetime(rows["time"].astype("i8") + EPOCH_SHIFT_MICROSECONDS, unit="us", utc=True)}
    return pd.DataFrame({**columns, **{column: rows[column].astype("f8") for column in VALUE_COLUMNS}})
