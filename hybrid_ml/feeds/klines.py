"""Binance's klines as rows of bars. No network here."""

import json
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from hybrid_ml.errors import one_line

FIELDS = {"open": 1, "high": 2, "low": 3, "close": 4, "volume": 5}
FIELDS |= {"quote_volume": 7, "trades": 8, "taker_buy_volume": 9}
"""Position of each column in a kline; 0 is the open time in Unix milliseconds, 6 the close time."""
LEAST_FIELDS = 10
MINUTE_MILLISECONDS = 60_000
LONGEST_QUOTE = 80


class NotKlines(ValueError):
    """The body is no list of klines of the range asked for; the message says in what, with a quote."""


def parse_klines(body: bytes, since: datetime, until: datetime) -> pd.DataFrame:
    """The rows of an answer about the minutes from `since` until before `until`: BAR_COLUMNS and FEED_COLUMNS.

    `time` is datetime64[us, UTC], ascending; trades int64, the other values float64 and finite. Raises NotKlines
    where the body is no JSON, no list of klines, or has a row that is not finite, off the minute grid, outside the
    range or not later than the row before it.
    """
    milliseconds, values = _numbers(_klines(body))
    _check_times(milliseconds, since, until)
    if not np.isfinite(values).all():
        raise NotKlines(f"a value of the kline of {milliseconds[~np.isfinite(values).all(axis=0)][0]} is not finite")
    time = pd.DatetimeIndex((milliseconds * 1_000).astype("datetime64[us]")).tz_localize("UTC")
    columns: dict[str, Any] = {"time": time, **dict(zip(FIELDS, values, strict=True))}
    return pd.DataFrame({**columns, "trades": columns["trades"].astype(np.int64)}, copy=False)


def _klines(body: bytes) -> list[Any]:
    try:
        rows = json.loads(body)
    except (ValueError, RecursionError):
        raise NotKlines(f"no JSON: {_quote(body)}") from None
    if not isinstance(rows, list) or not all(isinstance(row, list) and len(row) >= LEAST_FIELDS for row in rows):
        raise NotKlines(f"no list of klines: {_quote(body)}")
    return rows


def _numbers(rows: list[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Open times (int64, milliseconds) and values (float64, a row for each of FIELDS)."""
    try:
        times = [row[0] for row in rows]
        if not all(type(time) is int for time in times):
            raise TypeError
        columns = list(zip(*rows, strict=False)) if rows else [()] * LEAST_FIELDS
        values = [list(map(float, columns[position])) for position in FIELDS.values()]
        return np.array(times, dtype=np.int64), np.array(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise NotKlines("a kline holds something that is no number") from None


def _check_times(milliseconds: np.ndarray, since: datetime, until: datetime) -> None:
    first, end = (round(time.timestamp() * 1_000) for time in (since, until))
    wrong = (milliseconds % MINUTE_MILLISECONDS != 0) | (milliseconds < first) | (milliseconds >= end)
    wrong[1:] |= np.diff(milliseconds) <= 0
    if wrong.any():
        raise NotKlines(
            f"the kline of {milliseconds[wrong][0]} (Unix milliseconds) is repeated, off the minute grid or outside of "
            f"{since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M} UTC"
        )


def _quote(body: bytes) -> str:
    return one_line(body[: 4 * LONGEST_QUOTE].decode(errors="replace"), LONGEST_QUOTE) or "nothing"
