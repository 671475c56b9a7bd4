"""Temperature: one number that makes stated probabilities more or less extreme.

It is fitted on rows the trees have not seen and frozen with the version, since the gates compare
probabilities (Guo et al., "On Calibration of Modern Neural Networks", 2017).
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from hybrid_ml.learning.evaluation import mean_log_loss
from hybrid_ml.market.labels import HORIZON_MINUTES

LOWEST, HIGHEST = 0.5, 2.0
SPREAD_BEFOREHAND = 0.25
"""Standard deviation of the prior of log temperature: a few rows change it little."""


def fit_temperature(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """The most probable temperature, LOWEST to HIGHEST, for raw scores (n, 3) and labels (n,) of 0..2.

    Labels overlap by the horizon, so n rows count as n / HORIZON_MINUTES; with none it is 1.
    """
    worth = len(labels) / HORIZON_MINUTES

    def minus_log_posterior(log_temperature: float) -> float:
        loss = mean_log_loss(scores / np.exp(log_temperature), labels) if len(labels) else 0.0
        return worth * loss + 0.5 * (log_temperature / SPREAD_BEFOREHAND) ** 2

    result = minimize_scalar(minus_log_posterior, bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded")
    return float(np.exp(result.x))
