"""Metrics compared with scikit-learn, and recent accuracy compared with a plain count."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss

from hybrid_ml.learning.evaluation import (
    SPARSE_ANSWERS,
    evaluate,
    judge,
    mean_log_loss,
    recent_record,
    sparse_answers,
)
from hybrid_ml.learning.fallback import RecentRecord
from hybrid_ml.learning.model import HybridModel, softmax
from hybrid_ml.learning.reliability import calibration_error
from hybrid_ml.learning.rows import Rows, Window
from hybrid_ml.market.labels import label
from tests.simulated import with_returns

EVERY_CLASS = [0, 1, 2]
PRIOR = (0.3, 0.2, 0.5)


def answers(seed: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, their probabilities, and labels that correlate with them."""
    random = np.random.default_rng(seed)
    scores = random.normal(size=(count, 3)) * 2
    labels = np.where(random.random(count) < 0.4, scores.argmax(axis=1), random.integers(0, 3, count))
    return scores, softmax(scores), labels


def calibration_by_hand(probabilities: np.ndarray, labels: np.ndarray) -> float:
    bins: dict[int, list[float]] = {}
    for row, true_class in zip(probabilities, labels, strict=True):
        confidence = max(row)
        bins.setdefault(min(9, int(confidence * 10)), []).append(confidence - float(np.argmax(row) == true_class))
    return sum(abs(sum(gaps)) for gaps in bins.values()) / len(labels)


@given(seed=st.integers(0, 10_000), count=st.integers(1, 300))
def test_metrics_equal_scikit_learn(seed: int, count: int) -> None:
    _, probabilities, labels = answers(seed, count)
    metrics = evaluate(probabilities, labels, PRIOR)
    predicted = probabilities.argmax(axis=1)
    assert metrics["rows"] == count
    assert metrics["accuracy"] == pytest.approx(accuracy_score(labels, predicted))
    assert metrics["log_loss"] == pytest.approx(log_loss(labels, probabilities, labels=EVERY_CLASS))
    always_prior = np.tile(PRIOR, (count, 1))
    assert metrics["prior_log_loss"] == pytest.approx(log_loss(labels, always_prior, labels=EVERY_CLASS))
    assert metrics["majority_accuracy"] == max(accuracy_score(labels, [k] * count) for k in EVERY_CLASS)
    assert metrics["confusion"] == confusion_matrix(labels, predicted, labels=EVERY_CLASS).tolist()
    assert metrics["calibration_error"] == pytest.approx(calibration_by_hand(probabilities, labels))


def test_certain_correct_answers_have_perfect_metrics() -> None:
    metrics = evaluate(np.eye(3), np.array([0, 1, 2]), PRIOR)
    assert (metrics["accuracy"], metrics["calibration_error"]) == (1.0, 0.0)
    assert metrics["log_loss"] == pytest.approx(0.0, abs=1e-12)
    assert metrics["confusion"] == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]


def test_certain_wrong_answers_have_calibration_error_1() -> None:
    assert calibration_error(np.eye(3), np.array([1, 2, 0])) == 1.0


def test_confidence_equal_to_accuracy_has_no_calibration_error() -> None:
    probabilities = np.tile([0.75, 0.15, 0.10], (4, 1))
    assert calibration_error(probabilities, np.array([0, 0, 0, 2])) == pytest.approx(0.0, abs=1e-12)
    assert calibration_error(probabilities, np.array([0, 2, 1, 2])) == pytest.approx(0.5)


@given(seed=st.integers(0, 10_000), count=st.integers(1, 200))
def test_log_loss_of_scores_equals_that_of_probabilities(seed: int, count: int) -> None:
    scores, probabilities, labels = answers(seed, count)
    expected = log_loss(labels, probabilities, labels=EVERY_CLASS)
    assert mean_log_loss(scores, labels) == pytest.approx(expected, rel=1e-9)
    assert mean_log_loss(scores + 700.0, labels) == pytest.approx(expected, rel=1e-9)


def test_large_scores_have_a_finite_log_loss() -> None:
    assert mean_log_loss(np.array([[5_000.0, 0.0, 0.0]]), np.array([1])) == 5_000.0


def test_evaluation_uses_threshold_and_prior_of_the_model(model: HybridModel, market: Window) -> None:
    rows = market.rows.labelled().last(500)
    labels = label(rows.forward_returns, model.base.label_threshold)
    scores = model.base.booster.predict(rows.features, raw_score=True, num_threads=1)
    expected = evaluate(softmax(scores / model.base.temperature), labels, model.base.class_prior)
    metrics = judge(model, rows)
    assert metrics.pop("confusion") == expected.pop("confusion")
    bins, expected_bins = metrics.pop("reliability"), expected.pop("reliability")
    assert sum(bin_metrics["rows"] for bin_metrics in bins) == len(rows)
    assert bins == [pytest.approx(expected_bin) for expected_bin in expected_bins]
    sparse = np.array(metrics.pop(SPARSE_ANSWERS))
    assert sparse == pytest.approx(softmax(scores / model.base.temperature)[::10], abs=5.1e-5)
    assert metrics == pytest.approx(expected)


def test_base_keeps_every_tenth_answer_to_its_hold_out_and_an_earlier_one_has_none(model: HybridModel) -> None:
    assert len(sparse_answers(model.base)) == -(-model.base.metrics["rows"] // 10)
    assert sparse_answers(replace(model.base, metrics={})).shape == (0, 3)


@pytest.fixture(scope="module")
def newest(market: Window) -> Rows:
    """The newest rows: some 300 that the model was trained on, and 2,200 it has not seen."""
    return market.rows.last(2_500)


def record_by_hand(model: HybridModel, rows: Rows, count: int) -> RecentRecord:
    """Recent accuracy of the newest `count` rows after the model's last label, counted one by one."""
    counted, right, outcomes = 0, 0, [0, 0, 0]
    predicted = model.probabilities(rows.features).argmax(axis=1)
    labels = label(rows.forward_returns, model.base.label_threshold)
    for row in reversed(range(len(rows))):
        if rows.times[row] < pd.Timestamp(model.trained_until) or counted == count:
            break
        if labels[row] >= 0:
            counted += 1
            right += int(predicted[row] == labels[row])
            outcomes[labels[row]] += 1
    return RecentRecord(counted, right / counted, max(outcomes) / counted)


@pytest.mark.parametrize("count", [1, 200, 100_000])
def test_recent_accuracy_uses_the_newest_unseen_rows(model: HybridModel, newest: Rows, count: int) -> None:
    record = recent_record(model, newest, count=count)
    assert record == record_by_hand(model, newest, count)
    assert record.rows == min(count, (newest.times >= pd.Timestamp(model.trained_until)).sum() - 10)
    assert record.rows < len(newest) - 200


def test_recent_accuracy_of_an_adapted_model_begins_after_its_adapter(adapted: HybridModel, newest: Rows) -> None:
    record = recent_record(adapted, newest, count=5_000)
    assert record == record_by_hand(adapted, newest, 5_000)
    assert record.rows == 200


def test_recent_accuracy_ignores_training_rows(model: HybridModel, newest: Rows) -> None:
    """Inverted outcomes of older rows must not change recent accuracy."""
    old = newest.times < pd.Timestamp(model.trained_until)
    inverted = with_returns(newest, np.where(old, -10 * newest.forward_returns, newest.forward_returns))
    assert recent_record(model, inverted, count=5_000) == recent_record(model, newest, count=5_000)
    untrained = HybridModel(replace(model.base, trained_until=newest.times[0].to_pydatetime()))
    assert recent_record(untrained, inverted, count=5_000) != recent_record(untrained, newest, count=5_000)


def test_recent_accuracy_begins_when_the_last_training_label_is_known(model: HybridModel, newest: Rows) -> None:
    rows = newest.last(300)
    last = rows.labelled().times[-1].to_pydatetime()
    at_last = HybridModel(replace(model.base, trained_until=last))
    assert recent_record(at_last, rows, count=200).rows == 1
    after_last = HybridModel(replace(model.base, trained_until=last + timedelta(seconds=1)))
    assert recent_record(after_last, rows, count=200) == RecentRecord(0, None, None)


def test_evaluation_on_a_training_row_is_refused(model: HybridModel, market: Window) -> None:
    """A leak of a single minute is detected."""
    labelled = market.rows.labelled()
    first = int(labelled.times.searchsorted(pd.Timestamp(model.trained_until)))
    assert judge(model, labelled.take(slice(first, first + 300)))["rows"] == 300
    with pytest.raises(ValueError, match="must not be used to evaluate it"):
        judge(model, labelled.take(slice(first - 1, first + 300)))
