"""The target of the model: the price in ten minutes relative to now.

The label is the sign of the log return over the horizon, against a threshold below which FLAT_SHARE of
the absolute returns of the training window lie: FLAT is "hardly moved", and DOWN and UP share the rest. The threshold
is kept with the model, and so is the share.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

HORIZON_MINUTES = 10
CLASSES = ("down", "flat", "up")
DOWN, FLAT, UP = range(3)
FLAT_SHARE = 0.10


def forward_returns(grid: pd.DataFrame, horizon_minutes: int = HORIZON_MINUTES) -> NDArray[np.float64]:
    """Log return from each bar's close to the close `horizon_minutes` later, (n,) float64.

    NaN where that bar does not exist yet or lies in another session.
    """
    log_close = np.log(grid["close"].to_numpy())
    session = grid["session"].to_numpy()
    result = np.full(len(grid), np.nan)
    same = session[horizon_minutes:] == session[:-horizon_minutes]
    result[:-horizon_minutes] = np.where(same, log_close[horizon_minutes:] - log_close[:-horizon_minutes], np.nan)
    return result


def flat_threshold(returns: NDArray[np.float64], share: float) -> float:
    """The quantile `share` of |return| over `returns` (n,); NaN entries are left out.

    Zero when that share of the window did not move at all; FLAT is then "exactly unchanged".
    """
    return float(np.quantile(np.abs(returns[np.isfinite(returns)]), share))


def label(returns: NDArray[np.float64], threshold: float) -> NDArray[np.int64]:
    """DOWN (0), FLAT (1) or UP (2) for each return (n,) int64; -1 where the return is NaN."""
    labels = np.where(returns > threshold, UP, np.where(returns < -threshold, DOWN, FLAT))
    return np.where(np.isfinite(returns), labels, -1).astype(np.int64)
