"""How far stated probabilities can be believed: what was stated against what came true."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hybrid_ml.learning.intervals import wilson_edges

CALIBRATION_BINS = 10


def calibration_error(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Expected calibration error of the top class, 0 (perfect) to 1."""
    confidence = probabilities.max(axis=1)
    right = (probabilities.argmax(axis=1) == labels).astype(np.float64)
    place = np.minimum((confidence * CALIBRATION_BINS).astype(np.intp), CALIBRATION_BINS - 1)
    gap = np.bincount(place, weights=confidence - right, minlength=CALIBRATION_BINS)
    return float(np.abs(gap).sum() / len(labels))


def reliability(chances: NDArray[np.float64], truth: NDArray[np.int64]) -> pd.DataFrame:
    """Stated probability of the top class against how often it came true, in the bins of the calibration error.

    Columns: stated (mean chance), came_true (share), rows, low, high (Wilson, 90 %); empty bins are left out.
    """
    stated, right = chances.max(axis=1), chances.argmax(axis=1) == truth
    place = np.minimum((stated * CALIBRATION_BINS).astype(np.intp), CALIBRATION_BINS - 1)
    rows = np.bincount(place, minlength=CALIBRATION_BINS)
    there = rows > 0
    count = rows[there]
    hits = np.bincount(place, weights=right, minlength=CALIBRATION_BINS)[there]
    low, high = wilson_edges(hits, count)
    sums = np.bincount(place, weights=stated, minlength=CALIBRATION_BINS)[there]
    return pd.DataFrame({"stated": sums / count, "came_true": hits / count, "rows": count, "low": low, "high": high})
