"""Confidence intervals of shares."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

WILSON_Z = 1.645
"""Standard errors either side of a 90 % interval."""


def wilson(right: float, count: float, z: float = WILSON_Z) -> list[float]:
    """Interval of a share, 90 % unless `z` states another (Wilson, "Probable inference", 1927)."""
    low, high = wilson_edges(np.array([right]), np.array([count]), z)
    return [float(low[0]), float(high[0])]


def wilson_edges(
    right: NDArray[Any], count: NDArray[Any], z: float = WILSON_Z
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper edges (n,) of Wilson's interval for `right` out of `count` (n,), each at least 1."""
    share, spread = right / count, z**2 / count
    centre = (share + spread / 2) / (1 + spread)
    half = z * np.sqrt(share * (1 - share) / count + spread / (4 * count)) / (1 + spread)
    # Rounding may put an edge past 0 or 1 in its last digit.
    return np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)
