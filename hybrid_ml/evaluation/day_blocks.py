"""Statistics over whole days: answers of one day share minutes and causes, so a day counts as one value."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1_000
INTERVAL = (0.05, 0.95)
"""A 90 % interval."""


def interval(values: NDArray[np.float64], days: NDArray[Any], seed: int = 0) -> list[float]:
    """90 % interval of the mean of `values` (n,), resampling the days (n,) they fall on; NaN of a single day.

    A bootstrap (Politis and Romano, "The stationary bootstrap", 1994) with fixed blocks of a day.
    """
    _, place = np.unique(days, return_inverse=True)
    sums, counts = np.bincount(place, weights=values), np.bincount(place)
    if len(sums) < 2:
        return [float("nan"), float("nan")]
    drawn = np.random.default_rng(seed).integers(0, len(sums), (RESAMPLES, len(sums)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    return [float(edge) for edge in np.quantile(means, INTERVAL)]


def t_over_days(values: NDArray[np.float64], days: NDArray[Any], day_count: int) -> float | None:
    """The mean over `day_count` days of the sum of `values` (n,) on each, in standard errors of that mean.

    `days`: the day of each value, (n,); the other days of `day_count` have a sum of 0. None where there are fewer
    than two days, or all have the same sum.
    """
    _, place = np.unique(days, return_inverse=True)
    known = np.bincount(place, weights=values) if len(values) else np.empty(0)
    sums = np.concatenate([known, np.zeros(max(0, day_count - len(known)))])
    if len(sums) < 2 or np.ptp(sums) == 0:
        return None
    return float(sums.mean() / (sums.std(ddof=1) / np.sqrt(len(sums))))
