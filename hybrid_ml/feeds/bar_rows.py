"""Rows of a feed that is no API of klines: checked and put in order, or refused as a whole."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hybrid_ml.market.bars import BAR_COLUMNS, MINUTE_MICROSECONDS, microseconds


class NotBars(ValueError):
    """The rows are no one-minute bars; the message says which one, and why."""


def bar_rows(times: pd.DatetimeIndex, values: Mapping[str, NDArray[np.float64]]) -> pd.DataFrame:
    """`times` and `values` (those of BAR_COLUMNS and FEED_COLUMNS that are known) as the rows of an Answer.

    Any order; of a repeated time the last row counts, as a correction would. A column of FEED_COLUMNS that holds a
    NaN is left out, since these are kept for all rows of an answer or for none. Raises NotBars where a time is
    missing or off the minute grid, or another value not finite.
    """
    stamps = microseconds(times)
    wrong = stamps % MINUTE_MICROSECONDS != 0
    if wrong.any():  # a missing time is one of these
        raise NotBars(f"the row of {times[wrong][0]} is off the minute grid")
    known = {name: column for name, column in values.items() if name in BAR_COLUMNS or not np.isnan(column).any()}
    for name, column in known.items():
        if not np.isfinite(column).all():
            at = times[~np.isfinite(column)][0]
            raise NotBars(f"column {name} of {at:%Y-%m-%d %H:%M} UTC holds no finite number")
    if "trades" in known:
        known["trades"] = known["trades"].astype(np.int64)
    rows = pd.DataFrame({"time": times.as_unit("us"), **known}, copy=False)
    if (np.diff(stamps) > 0).all():
        return rows
    rows = rows.sort_values("time", kind="stable")
    return rows.drop_duplicates("time", keep="last").reset_index(drop=True)
