"""An entry found by looking at one minute after the other, for tests of what finds many at once."""

from math import log, nan

import pandas as pd

from hybrid_ml.market.labels import HORIZON_MINUTES

MINUTE = pd.Timedelta(minutes=1)


Prices = dict[pd.Timestamp, tuple[float, float]]


def prices_of(bars: pd.DataFrame) -> Prices:
    """Open and close of each minute with a bar, in order of time."""
    return dict(zip(bars["time"], zip(bars["open"], bars["close"], strict=True), strict=True))


def entry_by_hand(
    prices: Prices, bar_time: pd.Timestamp, max_gap_minutes: int
) -> tuple[pd.Timestamp | None, float, float] | None:
    """Time, price and return of the entry after `bar_time`; (None, NaN, NaN): not tradable; None: no outcome."""
    last, ends = next(reversed(prices)), bar_time + HORIZON_MINUTES * MINUTE
    entry, close, missing, time = None, prices[bar_time][1], 0, bar_time
    while time < ends or (missing and time < last):
        time += MINUTE
        missing = 0 if time in prices else missing + 1
        if missing > max_gap_minutes:
            return None
        if time in prices and time <= ends:
            close = prices[time][1]
            entry = entry or time
    if missing or time > last:
        return None
    if entry is None:
        return None, nan, nan
    return entry, prices[entry][0], log(close / prices[entry][0])
