"""Metrics of replayed answers compared with plain computations; intervals on data with known mean."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from hybrid_ml.evaluation.outcome_metrics import (
    ResolvedAnswers,
    blind_precision,
    interval,
    measure,
    precision_at,
    precision_by_coverage,
)
from hybrid_ml.learning.reliability import calibration_error, reliability
from hybrid_ml.market.labels import CLASSES

NOON = datetime(2024, 3, 5, 12, tzinfo=UTC)


def answers(count: int = 600, seed: int = 0) -> pd.DataFrame:
    """Calibrated answers at intervals of an hour, every third a signal."""
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet([1.0, 1.0, 1.0], count)
    outcomes = (random.random((count, 1)) > probabilities.cumsum(axis=1)).sum(axis=1)
    frame = pd.DataFrame(probabilities, columns=[f"p_{name}" for name in CLASSES])
    frame[[f"base_p_{name}" for name in CLASSES]] = 1 / 3
    frame[[f"prior_{name}" for name in CLASSES]] = 1 / 3
    frame["bar_time"] = pd.date_range(NOON, periods=count, freq="h")
    frame["outcome"] = [CLASSES[index] for index in outcomes]
    frame["forward_return"] = np.array([-0.002, 0.0, 0.002])[outcomes]
    frame["previous_return"] = np.roll(frame["forward_return"], 1)
    frame["threshold"] = 0.001
    frame["signal"] = (np.arange(count) % 3 == 0) & (probabilities.argmax(axis=1) != 1)
    frame["fell_back"] = np.arange(count) % 100 == 0
    frame["model_version"] = "M"
    return with_entries(frame)


def with_entries(frame: pd.DataFrame) -> pd.DataFrame:
    """Entries half a basis point above the close: every fifth late, every seventh not traded, every 97th unknown."""
    place = np.arange(len(frame))
    traded = (place % 7 != 0) & (place % 97 != 0)
    minutes = pd.to_timedelta(np.where(place % 5 == 0, 4, 1), unit="min")
    return frame.assign(
        entry_time=(frame["bar_time"] + minutes).where(traded),
        entry_price=np.where(traded, 100.005, np.nan),
        entry_return=np.where(traded, frame["forward_return"] - 5e-5, np.nan),
        tradable=np.where(place % 97 == 0, None, traded.astype(object)),
    )


def test_metrics_equal_plain_computations() -> None:
    frame = answers()
    metrics = measure(frame, fee_bps=3.0)
    probabilities = frame[[f"p_{name}" for name in CLASSES]].to_numpy()
    outcomes = frame["outcome"].map(CLASSES.index).to_numpy()
    losses = [-np.log(probabilities[row, outcomes[row]]) for row in range(len(frame))]
    assert metrics["rows"] == len(frame)
    assert metrics["log_loss"] == pytest.approx(np.mean(losses))
    assert metrics["prior_log_loss"] == pytest.approx(np.log(3))
    assert metrics["skill"] == pytest.approx(np.log(3) - np.mean(losses))
    assert metrics["fine_tuning_gain"] == pytest.approx(metrics["skill"])
    assert metrics["accuracy"] == np.mean(probabilities.argmax(axis=1) == outcomes)
    assert metrics["majority_accuracy"] == max(np.mean(outcomes == index) for index in range(3))
    assert metrics["persistence_accuracy"] == pytest.approx(np.mean(np.roll(outcomes, 1) == outcomes))
    assert np.sum(metrics["confusion"]) == len(frame)
    signals = frame[frame["signal"]]
    text = signals[[f"p_{name}" for name in CLASSES]].to_numpy().argmax(axis=1)
    assert metrics["signals"]["count"] == len(signals)
    assert metrics["signals"]["precision"] == np.mean(text == outcomes[signals.index])
    expected = np.mean(np.where(text == 2, 1, -1) * signals["forward_return"]) * 1e4
    assert metrics["signals"]["mean_return_bps"] == pytest.approx(expected)
    assert metrics["signals"]["mean_return_after_fee_bps"] == pytest.approx(expected - 3.0)
    assert metrics["fell_back"] == 6


def test_calibrated_answers_have_low_calibration_error_and_skill() -> None:
    metrics = measure(answers(20_000), fee_bps=0.0)
    assert metrics["calibration_error"] < 0.02
    assert metrics["skill_interval"][0] > 0
    assert metrics["directional_precision_at_1_percent"] > 0.9


def test_answers_without_outcome_do_not_count() -> None:
    frame = answers(100)
    frame.loc[:49, "outcome"] = None
    assert measure(frame, 0.0)["rows"] == 50
    assert measure(frame.assign(outcome=None), 0.0) == {"rows": 0}


def test_interval_over_days_has_the_stated_coverage() -> None:
    """Values of one day are dependent, so a day counts as one value."""
    covered = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        days = np.repeat(np.arange(40), 24)
        values = np.repeat(random.normal(0.3, 1.0, 40), 24) + random.normal(0, 0.1, len(days))
        low, high = interval(values, days)
        covered += low < 0.3 < high
    assert 0.82 < covered / 200 < 0.96


def test_single_day_has_no_interval() -> None:
    assert np.isnan(interval(np.array([0.1, 0.2]), np.array([5, 5]))).all()


def test_precision_at_a_coverage_uses_the_most_confident_directions() -> None:
    probabilities = np.array([[0.8, 0.1, 0.1], [0.1, 0.2, 0.7], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]])
    outcomes = np.array([0, 0, 1, 2])
    assert precision_at(probabilities, outcomes, 0.25) == 1.0
    assert precision_at(probabilities, outcomes, 0.5) == 0.5


def test_precision_curve_ends_at_all_rows_and_has_chance_level() -> None:
    resolved = ResolvedAnswers.of(answers(2_000))
    probabilities, outcomes = resolved.probabilities(), resolved.truth
    curve = precision_by_coverage(probabilities, outcomes)
    assert curve["rows"].iloc[[0, -1]].tolist() == [10, 2_000]
    direction = np.where(probabilities[:, 2] > probabilities[:, 0], 2, 0)
    assert curve["precision"].iloc[-1] == pytest.approx(np.mean(direction == outcomes))
    assert curve["coin"].iloc[-1] == pytest.approx(np.mean(outcomes != 1) / 2)
    most_confident = np.argsort(-np.maximum(probabilities[:, 0], probabilities[:, 2]))[:10]
    assert curve["precision"].iloc[0] == np.mean(direction[most_confident] == outcomes[most_confident])
    assert (curve["low"] <= curve["precision"] + 1e-9).all()
    assert (curve["precision"] <= curve["high"] + 1e-9).all()
    assert blind_precision(outcomes) == max(np.mean(outcomes == 0), np.mean(outcomes == 2))


def test_reliability_bins_match_the_calibration_error() -> None:
    resolved = ResolvedAnswers.of(answers(2_000))
    bins = reliability(resolved.probabilities(), resolved.truth)
    assert bins["rows"].sum() == 2_000
    gap = (bins["rows"] * (bins["stated"] - bins["came_true"]).abs()).sum() / 2_000
    assert gap == pytest.approx(calibration_error(resolved.probabilities(), resolved.truth))
