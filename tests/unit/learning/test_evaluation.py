"""Metrics against scikit-learn, and the recent record against a plain count."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss

from hybrid_ml.learning.evaluation import (
    RecentRecord,
    calibration_error,
    evaluate,
    judge,
    mean_log_loss,
    recent_record,
)
from hybrid_ml.learning.model import HybridModel, softmax
from hybrid_ml.learning.rows import Rows, Window
from hybrid_ml.market.labels import label
from tests.simulated import with_returns

EVERY_CLASS = [0, 1, 2]
PRIOR = (0.3, 0.2, 0.5)


def answers(seed: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, their probabilities, and labels that go with them somewhat."""
    random = np.random.default_rng(seed)
    scores = random.normal(size=(count, 3)) * 2
    labels = np.where(random.random(count) < 0.4, scores.argmax(axis=1), random.integers(0, 3, count))
    return scores, softmax(scores), labels


def calibration_by_hand(probabilities: np.ndarray, labels: np.ndarray) -> float:
    bins: dict[int, list[float]] = {}
    for row, truth in zip(probabilities, labels, strict=True):
        sure = max(row)
        bins.setdefault(min(9, int(sure * 10)), []).append(sure - float(np.argmax(row) == truth))
    return sum(abs(sum(gaps)) for gaps in bins.values()) / len(labels)


@given(seed=st.integers(0, 10_000), count=st.integers(1, 300))
def test_every_metric_is_the_one_of_scikit_learn(seed: int, count: int) -> None:
    _, probabilities, labels = answers(seed, count)
    found = evaluate(probabilities, labels, PRIOR)
    predicted = probabilities.argmax(axis=1)
    assert found["rows"] == count
    assert found["accuracy"] == pytest.approx(accuracy_score(labels, predicted))
    assert found["log_loss"] == pytest.approx(log_loss(labels, probabilities, labels=EVERY_CLASS))
    always_prior = np.tile(PRIOR, (count, 1))
    assert found["prior_log_loss"] == pytest.approx(log_loss(labels, always_prior, labels=EVERY_CLASS))
    assert found["majority_accuracy"] == max(accuracy_score(labels, [k] * count) for k in EVERY_CLASS)
    assert found["confusion"] == confusion_matrix(labels, predicted, labels=EVERY_CLASS).tolist()
    assert found["calibration_error"] == pytest.approx(calibration_by_hand(probabilities, labels))


def test_certain_and_right_is_perfect() -> None:
    found = evaluate(np.eye(3), np.array([0, 1, 2]), PRIOR)
    assert (found["accuracy"], found["calibration_error"]) == (1.0, 0.0)
    assert found["log_loss"] == pytest.approx(0.0, abs=1e-12)
    assert found["confusion"] == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]


def test_certain_and_wrong_is_as_badly_calibrated_as_can_be() -> None:
    assert calibration_error(np.eye(3), np.array([1, 2, 0])) == 1.0


def test_sure_as_often_as_right_is_calibrated() -> None:
    probabilities = np.tile([0.75, 0.15, 0.10], (4, 1))
    assert calibration_error(probabilities, np.array([0, 0, 0, 2])) == pytest.approx(0.0, abs=1e-12)
    assert calibration_error(probabilities, np.array([0, 2, 1, 2])) == pytest.approx(0.5)


@given(seed=st.integers(0, 10_000), count=st.integers(1, 200))
def test_the_log_loss_of_scores_is_that_of_their_probabilities(seed: int, count: int) -> None:
    scores, probabilities, labels = answers(seed, count)
    expected = log_loss(labels, probabilities, labels=EVERY_CLASS)
    assert mean_log_loss(scores, labels) == pytest.approx(expected, rel=1e-9)
    assert mean_log_loss(scores + 700.0, labels) == pytest.approx(expected, rel=1e-9)


def test_enormous_scores_have_a_finite_log_loss() -> None:
    assert mean_log_loss(np.array([[5_000.0, 0.0, 0.0]]), np.array([1])) == 5_000.0


def test_judging_uses_the_threshold_and_prior_the_model_was_made_with(model: HybridModel, market: Window) -> None:
    rows = market.rows.labelled().last(500)
    labels = label(rows.forward_returns, model.base.label_threshold)
    scores = model.base.booster.predict(rows.features, raw_score=True, num_threads=1)
    expected = evaluate(softmax(scores / model.base.temperature), labels, model.base.class_prior)
    found = judge(model, rows)
    assert found.pop("confusion") == expected.pop("confusion")
    bins, expected_bins = found.pop("reliability"), expected.pop("reliability")
    assert sum(bin_metrics["rows"] for bin_metrics in bins) == len(rows)
    assert bins == [pytest.approx(expected_bin) for expected_bin in expected_bins]
    assert found == pytest.approx(expected)


@pytest.fixture(scope="module")
def newest(market: Window) -> Rows:
    """The newest rows: some 300 that the model was trained on, and 2,200 it has not seen."""
    return market.rows.last(2_500)


def record_by_hand(model: HybridModel, rows: Rows, count: int) -> RecentRecord:
    """The newest `count` rows after the model's last label, looked at one by one."""
    seen, right, outcomes = 0, 0, [0, 0, 0]
    predicted = model.probabilities(rows.features).argmax(axis=1)
    truth = label(rows.forward_returns, model.base.label_threshold)
    for row in reversed(range(len(rows))):
        if rows.times[row] < pd.Timestamp(model.trained_until) or seen == count:
            break
        if truth[row] >= 0:
            seen += 1
            right += int(predicted[row] == truth[row])
            outcomes[truth[row]] += 1
    return RecentRecord(seen, right / seen, max(outcomes) / seen)


@pytest.mark.parametrize("count", [1, 200, 100_000])
def test_the_recent_record_counts_the_newest_rows_the_model_has_not_seen(
    model: HybridModel, newest: Rows, count: int
) -> None:
    record = recent_record(model, newest, count=count)
    assert record == record_by_hand(model, newest, count)
    assert record.rows == min(count, (newest.times >= pd.Timestamp(model.trained_until)).sum() - 10)
    assert record.rows < len(newest) - 200


def test_the_recent_record_of_an_adapted_model_begins_after_its_adapter(adapted: HybridModel, newest: Rows) -> None:
    record = recent_record(adapted, newest, count=5_000)
    assert record == record_by_hand(adapted, newest, 5_000)
    assert record.rows == 200


def test_rows_the_model_was_trained_on_do_not_count(model: HybridModel, newest: Rows) -> None:
    """The outcomes of older rows are turned round; the record must not move."""
    old = newest.times < pd.Timestamp(model.trained_until)
    turned = with_returns(newest, np.where(old, -10 * newest.forward_returns, newest.forward_returns))
    assert recent_record(model, turned, count=5_000) == recent_record(model, newest, count=5_000)
    untrained = HybridModel(replace(model.base, trained_until=newest.times[0].to_pydatetime()))
    assert recent_record(untrained, turned, count=5_000) != recent_record(untrained, newest, count=5_000)


def test_a_row_that_opens_when_the_last_label_is_known_is_the_first_to_count(model: HybridModel, newest: Rows) -> None:
    rows = newest.last(300)
    last = rows.labelled().times[-1].to_pydatetime()
    at_last = HybridModel(replace(model.base, trained_until=last))
    assert recent_record(at_last, rows, count=200).rows == 1
    after_last = HybridModel(replace(model.base, trained_until=last + timedelta(seconds=1)))
    assert recent_record(after_last, rows, count=200) == RecentRecord(0, None, None)


def test_a_row_the_model_has_seen_is_refused_as_its_judge(model: HybridModel, market: Window) -> None:
    """The last line of defence: a leak planted here is caught, one minute of it."""
    labelled = market.rows.labelled()
    first = int(labelled.times.searchsorted(pd.Timestamp(model.trained_until)))
    assert judge(model, labelled.take(slice(first, first + 300)))["rows"] == 300
    with pytest.raises(ValueError, match="must not judge it"):
        judge(model, labelled.take(slice(first - 1, first + 300)))
