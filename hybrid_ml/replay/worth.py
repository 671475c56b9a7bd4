"""What replayed answers were worth, always beside what guessing would have given.

Outcomes overlap where cycles are closer than the horizon, and days differ; intervals are therefore
those of a bootstrap over whole days (Politis and Romano, "The stationary bootstrap", 1994, with fixed
blocks of a day).
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hybrid_ml.learning.evaluation import calibration_error
from hybrid_ml.market.labels import CLASSES, DOWN, FLAT, UP, label

RESAMPLES = 1_000
INTERVAL = (0.05, 0.95)
"""A 90 % interval."""
SMALL_COVERAGE = 0.01
WILSON_Z = 1.645


def measure(answers: pd.DataFrame, fee_bps: float) -> dict[str, Any]:
    """Measures of replayed `answers` (a row a cycle, see `Service.cycle`) whose outcome is known.

    Log losses, skill and gains in nats, shares from 0 to 1, returns in basis points. None where no
    row can tell.
    """
    known = answers[answers["outcome"].notna()]
    if known.empty:
        return {"rows": 0}
    place = known["outcome"].map({name: place for place, name in enumerate(CLASSES)})
    truth = np.asarray(place, dtype=np.int64)
    chances, base, prior = (
        known[[f"{part}_{name}" for name in CLASSES]].to_numpy() for part in ("p", "base_p", "prior")
    )
    losses, base_losses, prior_losses = (_losses(each, truth) for each in (chances, base, prior))
    days = known["bar_time"].dt.floor("D").to_numpy()
    persistence = label(known["previous_return"].to_numpy(), known["threshold"].to_numpy())  # type: ignore[arg-type]
    persistence = np.where(persistence < 0, FLAT, persistence)
    right = chances.argmax(axis=1) == truth
    return {
        "rows": len(known),
        "accuracy": float(right.mean()),
        "majority_accuracy": float(np.bincount(truth, minlength=3).max() / len(truth)),
        "persistence_accuracy": float((persistence == truth).mean()),
        "log_loss": float(losses.mean()),
        "prior_log_loss": float(prior_losses.mean()),
        "skill": float((prior_losses - losses).mean()),
        "skill_interval": interval(prior_losses - losses, days),
        "fine_tuning_gain": float((base_losses - losses).mean()),
        "fine_tuning_gain_interval": interval(base_losses - losses, days),
        "calibration_error": calibration_error(chances, truth),
        "confusion": pd.crosstab(truth, chances.argmax(axis=1))
        .reindex(index=range(3), columns=range(3), fill_value=0)
        .to_numpy()
        .tolist(),
        "directional_precision_at_1_percent": precision_at(chances, truth, SMALL_COVERAGE),
        "signals": signals(known, chances, truth, fee_bps),
        "fell_back": int(known["fell_back"].sum()),
        "models": int(known["model_version"].nunique()),
    }


def _losses(chances: NDArray[np.float64], truth: NDArray[np.int64]) -> NDArray[np.float64]:
    return -np.log(np.maximum(chances[np.arange(len(truth)), truth], np.finfo(np.float64).tiny))


def interval(values: NDArray[np.float64], days: NDArray[Any], seed: int = 0) -> list[float]:
    """90 % interval of the mean of `values` (n,), resampling the days (n,) they fall on."""
    _, place = np.unique(days, return_inverse=True)
    sums, counts = np.bincount(place, weights=values), np.bincount(place)
    drawn = np.random.default_rng(seed).integers(0, len(sums), (RESAMPLES, len(sums)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    return [float(edge) for edge in np.quantile(means, INTERVAL)]


def precision_at(chances: NDArray[np.float64], truth: NDArray[np.int64], coverage: float) -> float:
    """Share of right directions among the `coverage` share of rows with the surest DOWN or UP."""
    sureness = np.maximum(chances[:, DOWN], chances[:, UP])
    chosen = np.argsort(-sureness, kind="stable")[: max(1, round(coverage * len(truth)))]
    direction = np.where(chances[chosen, UP] > chances[chosen, DOWN], UP, DOWN)
    return float((direction == truth[chosen]).mean())


def signals(known: pd.DataFrame, chances: NDArray[np.float64], truth: NDArray[np.int64], fee_bps: float) -> Any:
    """How the signals did: count, coverage, precision with its Wilson interval, mean return in basis points."""
    sent = known["signal"].to_numpy(dtype=bool)
    count = int(sent.sum())
    found: dict[str, Any] = {"count": count, "coverage": count / len(known)}
    if not count:
        return found
    direction = chances[sent].argmax(axis=1)
    right = direction == truth[sent]
    gained = np.where(direction == UP, 1.0, -1.0) * known["forward_return"].to_numpy()[sent] * 1e4
    return found | {
        "precision": float(right.mean()),
        "precision_interval": wilson(int(right.sum()), count),
        "false_positive_rate": float((~right).sum() / max(1, (truth != chances.argmax(axis=1)).sum())),
        "mean_return_bps": float(gained.mean()),
        "mean_return_after_fee_bps": float(gained.mean() - fee_bps),
    }


def wilson(right: int, count: int, z: float = WILSON_Z) -> list[float]:
    """90 % interval of a share (Wilson, "Probable inference", 1927)."""
    share, spread = right / count, z**2 / count
    centre = (share + spread / 2) / (1 + spread)
    half = z * np.sqrt(share * (1 - share) / count + spread / (4 * count)) / (1 + spread)
    return [float(centre - half), float(centre + half)]
