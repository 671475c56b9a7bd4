"""How good the answers are, always beside what guessing would have given."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, log_loss

from hybrid_ml.learning.intervals import wilson_edges
from hybrid_ml.learning.model import CLASS_COUNT, HybridModel
from hybrid_ml.learning.rows import Rows

CALIBRATION_BINS = 10


@dataclass(frozen=True)
class RecentRecord:
    """Accuracy of a model on the newest labelled rows it has not seen.

    `accuracy` and `majority_accuracy` are None when no such row exists.
    """

    rows: int
    accuracy: float | None
    majority_accuracy: float | None


def evaluate(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64], class_prior: tuple[float, float, float]
) -> dict[str, Any]:
    """Judge probabilities (n, 3) by what happened, labels (n,) of 0..2.

    `log_loss` in nats stands beside `prior_log_loss`, that of always stating the class shares of the
    training rows; `accuracy` beside `majority_accuracy`, that of always naming the class that turned
    out most frequent in these very rows (harder than any constant guess made beforehand).
    `calibration_error` is the expected calibration error of the top class over ten equal-width bins
    (Guo et al., "On Calibration of Modern Neural Networks", 2017); `reliability` holds the bins.
    """
    counts = np.bincount(labels, minlength=CLASS_COUNT)
    prior = np.asarray(class_prior, dtype=np.float64)
    everything = list(range(CLASS_COUNT))
    return {
        "rows": len(labels),
        "accuracy": float(np.mean(probabilities.argmax(axis=1) == labels)),
        "majority_accuracy": float(counts.max() / len(labels)),
        "log_loss": float(log_loss(labels, probabilities, labels=everything)),
        "prior_log_loss": float(-np.mean(np.log(prior[labels]))),
        "calibration_error": calibration_error(probabilities, labels),
        "reliability": reliability(probabilities, labels).to_dict("records"),
        "confusion": confusion_matrix(labels, probabilities.argmax(axis=1), labels=everything).tolist(),
    }


def calibration_error(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Expected calibration error of the top class, 0 (perfect) to 1."""
    confidence = probabilities.max(axis=1)
    right = (probabilities.argmax(axis=1) == labels).astype(np.float64)
    place = np.minimum((confidence * CALIBRATION_BINS).astype(np.intp), CALIBRATION_BINS - 1)
    gap = np.bincount(place, weights=confidence - right, minlength=CALIBRATION_BINS)
    return float(np.abs(gap).sum() / len(labels))


def reliability(chances: NDArray[np.float64], truth: NDArray[np.int64]) -> pd.DataFrame:
    """Stated chance of the top class against how often it came true, in the bins of the calibration error.

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


def log_losses(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Negative log probability of each label (n,) under softmax of raw scores (n, 3), in nats."""
    top = scores.max(axis=1)
    normaliser = top + np.log(np.exp(scores - top[:, None]).sum(axis=1))
    return normaliser - scores[np.arange(len(labels)), labels]


def mean_log_loss(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Mean of `log_losses`."""
    return float(np.mean(log_losses(scores, labels)))


def assert_unseen(model: HybridModel, rows: Rows) -> None:
    """Raise ValueError when a row opens before every label the model learnt from was known.

    The last line of defence: rows are chosen so that this never happens, and a slip must not pass
    for skill.
    """
    if len(rows) and rows.times[0] < model.trained_until:
        raise ValueError(
            f"{model.version or 'the model'} was trained on labels known at {model.trained_until}; the row of "
            f"{rows.times[0]} must not judge it"
        )


def judge(model: HybridModel, rows: Rows, *, num_threads: int = 1) -> dict[str, Any]:
    """Evaluate `model` on labelled `rows`; raises ValueError when it has seen one of them."""
    assert_unseen(model, rows)
    probabilities = model.probabilities(rows.features, num_threads=num_threads)
    return evaluate(probabilities, rows.labels(model.base.label_threshold), model.base.class_prior)


def recent_record(model: HybridModel, rows: Rows, *, count: int, num_threads: int = 1) -> RecentRecord:
    """Accuracy of `model` on its newest `count` labelled rows that it was not trained on."""
    unseen = rows.labelled().newer_than(model.trained_until).last(count)
    if not len(unseen):
        return RecentRecord(rows=0, accuracy=None, majority_accuracy=None)
    assert_unseen(model, unseen)
    labels = unseen.labels(model.base.label_threshold)
    predicted = model.probabilities_of(unseen, num_threads=num_threads).argmax(axis=1)
    return RecentRecord(
        rows=len(unseen),
        accuracy=float(np.mean(predicted == labels)),
        majority_accuracy=float(np.bincount(labels, minlength=CLASS_COUNT).max() / len(labels)),
    )
