"""Is one model better than another? The difference of their losses and its standard error.

Labels reach over the horizon, so the losses of neighbouring rows share minutes and 2,000 of them
count as about 200. The standard error accounts for that: the long-run variance of the differences by
Newey and West ("A simple, positive semi-definite, heteroskedasticity and autocorrelation consistent
covariance matrix", 1987) over twice the horizon, as in the test of Diebold and Mariano ("Comparing
predictive accuracy", 1995), with the small-sample factor of Harvey, Leybourne and Newbold (1997).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hybrid_ml.market.labels import HORIZON_MINUTES
from hybrid_ml.text.counts import counted

LAGS = 2 * HORIZON_MINUTES
"""Bartlett's weights fall with the lag; over twice the horizon the overlap keeps most of its weight."""


@dataclass(frozen=True)
class Comparison:
    """The challenger's gain over the incumbent on the same rows, mean nats for each row, and its uncertainty.

    `standard_error` is in the same unit; `z` is the gain in standard errors, 0 when nothing differs.
    """

    gain: float
    standard_error: float
    rows: int

    @property
    def z(self) -> float:
        if self.standard_error > 0:
            return self.gain / self.standard_error
        return 0.0 if self.gain == 0 else float(np.copysign(np.inf, self.gain))

    def is_better(self, caution: float) -> bool:
        """Whether the gain is above `caution` standard errors; False when the losses were not numbers."""
        return self.gain > caution * self.standard_error

    def __str__(self) -> str:
        return f"gain {self.gain:+z.4f} nats, standard error {self.standard_error:.4f}, {counted(self.rows, 'row')}"


def compare(incumbent: NDArray[np.float64], challenger: NDArray[np.float64]) -> Comparison:
    """Compare losses (n,) in nats of both on the same rows, oldest first.

    With fewer than two rows the standard error is infinite.
    """
    difference = incumbent - challenger
    rows = len(difference)
    if rows < 2:
        return Comparison(float(difference.mean()) if rows else 0.0, float("inf"), rows)
    return Comparison(float(difference.mean()), standard_error_of_mean(difference), rows)


def standard_error_of_mean(values: NDArray[np.float64], lags: int = LAGS) -> float:
    """Standard error of the mean of `values` (n >= 2,), whose neighbours up to `lags` are correlated."""
    count = len(values)
    lags = min(lags, count - 1)
    centred = values - values.mean()
    variance = float(centred @ centred) / count
    for lag in range(1, lags + 1):
        weight = 1.0 - lag / (lags + 1)
        variance += 2.0 * weight * float(centred[lag:] @ centred[:-lag]) / count
    horizon = min(HORIZON_MINUTES, count // 2)
    small_sample = count / (count + 1 - 2 * horizon + horizon * (horizon - 1) / count)
    return float(np.sqrt(max(variance, 0.0) * small_sample / count))
