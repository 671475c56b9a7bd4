"""What replayed answers were worth, always beside what guessing would have given.

Outcomes overlap where cycles are closer than the horizon, and days differ; intervals are therefore
those of a bootstrap over whole days (Politis and Romano, "The stationary bootstrap", 1994, with fixed
blocks of a day).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hybrid_ml.learning.evaluation import calibration_error
from hybrid_ml.learning.intervals import wilson, wilson_edges
from hybrid_ml.market.labels import CLASSES, DOWN, FLAT, UP, label

RESAMPLES = 1_000
INTERVAL = (0.05, 0.95)
"""A 90 % interval."""
SMALL_COVERAGE = 0.01
FEWEST_ROWS, CURVE_POINTS = 10, 60
"""Where a curve of precision begins, and how finely it is drawn."""


@dataclass(frozen=True)
class ResolvedAnswers:
    """Answers whose outcome is known: truth (n,) of 0..2, chances (n, 3), the day each falls on (n,)."""

    frame: pd.DataFrame
    truth: NDArray[np.int64]
    days: NDArray[Any]

    @classmethod
    def of(cls, answers: pd.DataFrame) -> "ResolvedAnswers":
        """Those of `answers` (columns outcome and bar_time at least) that have an outcome."""
        frame = answers[answers["outcome"].notna()]
        place = frame["outcome"].map({name: place for place, name in enumerate(CLASSES)})
        return cls(frame, np.asarray(place, dtype=np.int64), frame["bar_time"].dt.floor("D").to_numpy())

    def __len__(self) -> int:
        return len(self.frame)

    def chances(self, part: str = "p") -> NDArray[np.float64]:
        """Probabilities (n, 3) of the columns that begin with `part`: p, base_p or prior."""
        return self.frame[[f"{part}_{name}" for name in CLASSES]].to_numpy(dtype=np.float64)

    def losses(self, part: str = "p") -> NDArray[np.float64]:
        """Log losses (n,) in nats; a stated zero that came true costs 708 nats, the log of the tiniest number."""
        stated = self.chances(part)[np.arange(len(self)), self.truth]
        return -np.log(np.maximum(stated, np.finfo(np.float64).tiny))


def measure(answers: pd.DataFrame, fee_bps: float) -> dict[str, Any]:
    """Measures of replayed `answers` (a row a cycle, see `Service.cycle`) whose outcome is known.

    Log losses, skill and gains in nats, shares from 0 to 1, returns in basis points; `days` is how many
    days the intervals are drawn from. Only {"rows": 0} where no row can tell.
    """
    known = ResolvedAnswers.of(answers)
    if not len(known):
        return {"rows": 0}
    frame, truth, chances = known.frame, known.truth, known.chances()
    losses, base_losses, prior_losses = known.losses(), known.losses("base_p"), known.losses("prior")
    persistence = label(frame["previous_return"].to_numpy(), frame["threshold"].to_numpy())  # type: ignore[arg-type]
    persistence = np.where(persistence < 0, FLAT, persistence)
    return {
        "rows": len(known),
        "days": len(np.unique(known.days)),
        "accuracy": float((chances.argmax(axis=1) == truth).mean()),
        "majority_accuracy": float(np.bincount(truth, minlength=3).max() / len(truth)),
        "persistence_accuracy": float((persistence == truth).mean()),
        "log_loss": float(losses.mean()),
        "prior_log_loss": float(prior_losses.mean()),
        "skill": float((prior_losses - losses).mean()),
        "skill_interval": interval(prior_losses - losses, known.days),
        "fine_tuning_gain": float((base_losses - losses).mean()),
        "fine_tuning_gain_interval": interval(base_losses - losses, known.days),
        "calibration_error": calibration_error(chances, truth),
        "confusion": pd.crosstab(truth, chances.argmax(axis=1))
        .reindex(index=range(3), columns=range(3), fill_value=0)
        .to_numpy()
        .tolist(),
        "directional_precision_at_1_percent": precision_at(chances, truth, SMALL_COVERAGE),
        "blind_precision": blind_precision(truth),
        "signals": signals(known, fee_bps),
        "fell_back": int(frame["fell_back"].sum()),
        "models": int(frame["model_version"].nunique()),
    }


def interval(values: NDArray[np.float64], days: NDArray[Any], seed: int = 0) -> list[float]:
    """90 % interval of the mean of `values` (n,), resampling the days (n,) they fall on; NaN of a single day."""
    _, place = np.unique(days, return_inverse=True)
    sums, counts = np.bincount(place, weights=values), np.bincount(place)
    if len(sums) < 2:
        return [float("nan"), float("nan")]
    drawn = np.random.default_rng(seed).integers(0, len(sums), (RESAMPLES, len(sums)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    return [float(edge) for edge in np.quantile(means, INTERVAL)]


def precision_at(chances: NDArray[np.float64], truth: NDArray[np.int64], coverage: float) -> float:
    """Share of right directions among the `coverage` share of rows with the surest DOWN or UP.

    Rows exactly as sure as the last of them count too: a guess that is always as sure has no surest rows.
    """
    sureness, direction = _directions(chances)
    edge = np.sort(sureness)[::-1][max(1, round(coverage * len(truth))) - 1]
    chosen = sureness >= edge
    return float((direction == truth)[chosen].mean())


def _directions(chances: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The larger of the chances of DOWN and UP, (n,), and which of the two it is, (n,)."""
    return np.maximum(chances[:, DOWN], chances[:, UP]), np.where(chances[:, UP] > chances[:, DOWN], UP, DOWN)


def blind_precision(truth: NDArray[np.int64]) -> float:
    """Share of right directions had the more frequent of DOWN and UP been named at every row."""
    return float(max((truth == DOWN).mean(), (truth == UP).mean()))


def precision_by_coverage(chances: NDArray[np.float64], truth: NDArray[np.int64]) -> pd.DataFrame:
    """Precision of the surest directions, from the surest ten rows (n at least that) to all of them.

    Columns: coverage, rows, precision, low, high (Wilson, 90 %), coin: what tossing a coin for the
    direction of the same rows would give. Sure rows are restless ones, where FLAT is rare; what lies
    between precision and coin is knowledge of the direction, the rest is knowledge that something moves.
    """
    sureness, direction = _directions(chances)
    order = np.argsort(-sureness, kind="stable")
    right, moved = (direction == truth)[order].cumsum(), (truth != FLAT)[order].cumsum()
    rows = np.unique(np.geomspace(min(FEWEST_ROWS, len(truth)), len(truth), CURVE_POINTS).round().astype(np.int64))
    low, high = wilson_edges(right[rows - 1], rows)
    return pd.DataFrame(
        {
            "coverage": rows / len(truth),
            "rows": rows,
            "precision": right[rows - 1] / rows,
            "low": low,
            "high": high,
            "coin": moved[rows - 1] / rows / 2,
        }
    )


def signals(known: ResolvedAnswers, fee_bps: float) -> dict[str, Any]:
    """How the signals did: count, coverage, precision, false positives, mean return in basis points.

    `precision_interval` (Wilson) takes signals for independent, `precision_interval_of_days` does not.
    `false_positive_rate` is the share of wrong answers that became signals.
    """
    frame, truth = known.frame, known.truth
    sent = frame["signal"].to_numpy(dtype=bool)
    count = int(sent.sum())
    found: dict[str, Any] = {"count": count, "coverage": count / len(known)}
    if not count:
        return found
    top = known.chances().argmax(axis=1)
    right = (top == truth)[sent]
    gained = returns_bps(frame["forward_return"].to_numpy(), top)[sent]
    days = known.days[sent]
    return found | {
        "precision": float(right.mean()),
        "precision_interval": wilson(int(right.sum()), count),
        "precision_interval_of_days": interval(right.astype(np.float64), days),
        "false_positive_rate": float((~right).sum() / max(1, (truth != top).sum())),
        "mean_return_bps": float(gained.mean()),
        "mean_return_interval_bps": interval(gained, days),
        "mean_return_after_fee_bps": float(gained.mean() - fee_bps),
    }


def returns_bps(forward_returns: NDArray[np.float64], direction: NDArray[np.int64]) -> NDArray[np.float64]:
    """What following `direction` (n,) of 0..2 for ten minutes gave before any fee, basis points (n,); FLAT gives 0."""
    return (direction - FLAT) * forward_returns * 1e4
