"""Entries: the first price at which a person could have followed an answer, and the return from there.

An answer is made when its bar has closed, so that close can no longer be traded at. The next price is the open of
the first minute after it that was traded: one that has a bar of its own. Minutes filled on the grid have none.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hybrid_ml.market.bars import BAR_LENGTH
from hybrid_ml.market.labels import HORIZON_MINUTES

ENTRY_COLUMNS = ["entry_time", "entry_price", "entry_return", "tradable"]
"""entry_time: UTC, NaT where there is no entry; entry_price: an open; entry_return: the log return from there to the
close that ends the horizon, of the price, whatever was answered; tradable: whether a minute was traded before
that, None where the outcome is not known."""


def find_entries(bars: pd.DataFrame, bar_times: pd.DatetimeIndex, close_then: NDArray[np.float64]) -> pd.DataFrame:
    """ENTRY_COLUMNS, a row for each of `bar_times` (n,), which are UTC and may have any order.

    `bars`: all clean bars in sessions, oldest first, without filled ones; `close_then`: the close that ends the horizon
    of each, (n,), NaN where there is no outcome. The last minute of the horizon is the last one that can be an entry.
    """
    times = pd.DatetimeIndex(bars["time"]).as_unit("us")
    place = np.asarray(times.searchsorted(bar_times, side="right"))
    entry_times = times.append(pd.DatetimeIndex([pd.NaT], tz="UTC").as_unit("us")).take(place)
    known = np.isfinite(close_then)
    tradable = known & np.asarray(entry_times <= bar_times + HORIZON_MINUTES * BAR_LENGTH)
    prices = np.append(bars["open"].to_numpy(dtype=np.float64), np.nan)[place]
    prices = np.where(tradable, prices, np.nan)
    flags = tradable.astype(object)
    flags[~known] = None
    return pd.DataFrame(
        {
            "entry_time": entry_times.where(tradable),
            "entry_price": prices,
            "entry_return": np.log(close_then) - np.log(prices),
            "tradable": flags,
        }
    )
