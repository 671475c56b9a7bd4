"""Metrics of answers, always with those of guessing."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_ml.learning.fallback import RecentRecord
from hybrid_ml.learning.model import CLASS_COUNT, Base, HybridModel
from hybrid_ml.learning.reliability import calibration_error, reliability
from hybrid_ml.learning.rows import Rows
from hybrid_ml.market.labels import HORIZON_MINUTES

SPARSE_ANSWERS = "ten_minute_answers"
"""Of the metrics: probabilities of every tenth hold-out row, which say how sure the model will be in service."""


def evaluate(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64], class_prior: tuple[float, float, float]
) -> dict[str, Any]:
    """Metrics of probabilities (n, 3) against labels (n,) of 0..2.

    `log_loss` in nats with `prior_log_loss`, that of always stating the class shares of the
    training rows; `accuracy` with `majority_accuracy`, that of always naming the class that was
    most frequent in these rows (harder than any constant guess made beforehand).
    `calibration_error` is the expected calibration error of the top class over ten equal-width bins
    (Guo et al., "On Calibration of Modern Neural Networks", 2017); `reliability` holds the bins.
    """
    from sklearn.metrics import confusion_matrix, log_loss

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


def log_losses(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Negative log probability of each label (n,) under softmax of raw scores (n, 3), in nats."""
    top = scores.max(axis=1)
    normaliser = top + np.log(np.exp(scores - top[:, None]).sum(axis=1))
    return normaliser - scores[np.arange(len(labels)), labels]


def mean_log_loss(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Mean of `log_losses`."""
    return float(np.mean(log_losses(scores, labels)))


def assert_unseen(model: HybridModel, rows: Rows) -> None:
    """Raise ValueError when a row opens before every training label of the model was known.

    A last check: rows are chosen so that this never happens, and an error here would look like
    skill.
    """
    if len(rows) and rows.times[0] < model.trained_until:
        raise ValueError(
            f"{model.version or 'the model'} was trained on labels known at {model.trained_until}; the row of "
            f"{rows.times[0]} must not be used to evaluate it"
        )


def judge(model: HybridModel, rows: Rows, *, num_threads: int = 1) -> dict[str, Any]:
    """Evaluate `model` on labelled `rows`; raises ValueError when it has seen one of them."""
    assert_unseen(model, rows)
    probabilities = model.probabilities_of(rows, num_threads=num_threads)
    metrics = evaluate(probabilities, rows.labels(model.base.label_threshold), model.base.class_prior)
    return metrics | {SPARSE_ANSWERS: probabilities[::HORIZON_MINUTES].round(4).tolist()}


def sparse_answers(base: Base) -> NDArray[np.float64]:
    """The base's answers to its hold-out, ten minutes apart as in service, (n, 3); n is 0 where it keeps none."""
    return np.asarray(base.metrics.get(SPARSE_ANSWERS, []), dtype=np.float64).reshape(-1, CLASS_COUNT)


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
