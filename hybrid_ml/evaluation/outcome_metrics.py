"""Metrics of replayed answers, always with those of guessing.

Outcomes overlap where cycles are closer than the horizon, and days differ; intervals are therefore over whole days
(`day_blocks`).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hybrid_ml.evaluation.day_blocks import interval
from hybrid_ml.evaluation.signal_returns import measure_followed
from hybrid_ml.learning.intervals import wilson, wilson_edges
from hybrid_ml.learning.reliability import calibration_error
from hybrid_ml.market.labels import CLASSES, DOWN, FLAT, UP, label

SMALL_COVERAGE = 0.01
FEWEST_ROWS, CURVE_POINTS = 10, 60
"""Where a curve of precision begins, and how finely it is drawn."""


@dataclass(frozen=True)
class ResolvedAnswers:
    """Answers with a known outcome: truth (n,) of 0..2, probabilities (n, 3), the day of each (n,)."""

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

    def probabilities(self, part: str = "p") -> NDArray[np.float64]:
        """Probabilities (n, 3) of the columns that begin with `part`: p, base_p or prior."""
        return self.frame[[f"{part}_{name}" for name in CLASSES]].to_numpy(dtype=np.float64)

    def losses(self, part: str = "p") -> NDArray[np.float64]:
        """Log losses (n,) in nats; a stated zero that came true costs 708 nats, the log of the tiniest number."""
        stated = self.probabilities(part)[np.arange(len(self)), self.truth]
        return -np.log(np.maximum(stated, np.finfo(np.float64).tiny))


def measure(answers: pd.DataFrame, fee_bps: float) -> dict[str, Any]:
    """Metrics of the replayed `answers` (one row for each cycle, see `Service.cycle`) whose outcome is known.

    Log losses, skill and gains in nats, shares from 0 to 1, returns in basis points; `days`: the number of
    days that the intervals are drawn from. Only {"rows": 0} where no outcome is known.
    """
    known = ResolvedAnswers.of(answers)
    if not len(known):
        return {"rows": 0}
    frame, truth, probabilities = known.frame, known.truth, known.probabilities()
    losses, base_losses, prior_losses = known.losses(), known.losses("base_p"), known.losses("prior")
    persistence = label(frame["previous_return"].to_numpy(), frame["threshold"].to_numpy())  # type: ignore[arg-type]
    persistence = np.where(persistence < 0, FLAT, persistence)
    return {
        "rows": len(known),
        "days": len(np.unique(known.days)),
        "accuracy": float((probabilities.argmax(axis=1) == truth).mean()),
        "majority_accuracy": float(np.bincount(truth, minlength=3).max() / len(truth)),
        "persistence_accuracy": float((persistence == truth).mean()),
        "log_loss": float(losses.mean()),
        "prior_log_loss": float(prior_losses.mean()),
        "skill": float((prior_losses - losses).mean()),
        "skill_interval": interval(prior_losses - losses, known.days),
        "fine_tuning_gain": float((base_losses - losses).mean()),
        "fine_tuning_gain_interval": interval(base_losses - losses, known.days),
        "calibration_error": calibration_error(probabilities, truth),
        "confusion": pd.crosstab(truth, probabilities.argmax(axis=1))
        .reindex(index=range(3), columns=range(3), fill_value=0)
        .to_numpy()
        .tolist(),
        "directional_precision_at_1_percent": precision_at(probabilities, truth, SMALL_COVERAGE),
        "blind_precision": blind_precision(truth),
        "signals": signals(known, fee_bps),
        "fell_back": int(frame["fell_back"].sum()),
        "models": int(frame["model_version"].nunique()),
    }


def precision_at(probabilities: NDArray[np.float64], truth: NDArray[np.int64], coverage: float) -> float:
    """Share of right directions among the `coverage` share of rows with the most confident DOWN or UP.

    Rows with the same confidence as the last of them count too, as with a guess of constant confidence.
    """
    sureness, direction = _directions(probabilities)
    edge = np.sort(sureness)[::-1][max(1, round(coverage * len(truth))) - 1]
    chosen = sureness >= edge
    return float((direction == truth)[chosen].mean())


def _directions(probabilities: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The larger of the probabilities of DOWN and UP, (n,), and which of the two it is, (n,)."""
    return np.maximum(probabilities[:, DOWN], probabilities[:, UP]), np.where(
        probabilities[:, UP] > probabilities[:, DOWN], UP, DOWN
    )


def blind_precision(truth: NDArray[np.int64]) -> float:
    """Share of right directions if the more frequent of DOWN and UP had been named in every row."""
    return float(max((truth == DOWN).mean(), (truth == UP).mean()))


def precision_by_coverage(probabilities: NDArray[np.float64], truth: NDArray[np.int64]) -> pd.DataFrame:
    """Precision of the most confident directions, from the top ten rows (n at least that) to all of them.

    Columns: coverage, rows, precision, low, high (Wilson, 90 %), coin: the precision of a coin toss for the
    direction of the same rows. Confident rows are volatile ones, where FLAT is rare; the difference
    between precision and coin is skill in direction, the rest is skill in predicting a movement.
    """
    sureness, direction = _directions(probabilities)
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
    """Metrics of the signals, as returned by `measure_followed`, with coverage and false positives.

    `precision_interval` (Wilson) assumes independent signals, `precision_interval_of_days` does not.
    `false_positive_rate` is the share of wrong answers that became signals.
    """
    followed = followed_signals(known)
    measured = measure_followed(followed, len(np.unique(known.days)), fee_bps) | {
        "coverage": len(followed) / len(known)
    }
    if followed.empty:
        return measured
    right = int(followed["right"].sum())
    wrong_answers = int((known.truth != known.probabilities().argmax(axis=1)).sum())
    return measured | {
        "precision_interval": wilson(right, len(followed)),
        "false_positive_rate": (len(followed) - right) / max(1, wrong_answers),
    }


def followed_signals(known: ResolvedAnswers) -> pd.DataFrame:
    """FOLLOWED_COLUMNS of the signals of `known`, in its order; the guess is the more frequent direction of `known`."""
    sent = known.frame["signal"].to_numpy(dtype=bool)
    frame = known.frame.loc[sent, ["bar_time", "forward_return", "entry_time", "entry_return", "tradable"]]
    guess = UP if (known.truth == UP).sum() >= (known.truth == DOWN).sum() else DOWN
    top = known.probabilities().argmax(axis=1)[sent]
    return frame.assign(right=top == known.truth[sent], along=top - FLAT, guess=guess - FLAT)
