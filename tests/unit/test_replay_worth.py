"""What replayed answers were worth: measures against ones made by hand, intervals where the truth is known."""

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
from hybrid_ml.learning.evaluation import calibration_error, reliability
from hybrid_ml.market.labels import CLASSES

NOON = datetime(2024, 3, 5, 12, tzinfo=UTC)


def answers(count: int = 600, seed: int = 0) -> pd.DataFrame:
    """Answers whose stated chances are the true ones, an hour apart, every third a signal."""
    random = np.random.default_rng(seed)
    chances = random.dirichlet([1.0, 1.0, 1.0], count)
    truth = (random.random((count, 1)) > chances.cumsum(axis=1)).sum(axis=1)
    frame = pd.DataFrame(chances, columns=[f"p_{name}" for name in CLASSES])
    frame[[f"base_p_{name}" for name in CLASSES]] = 1 / 3
    frame[[f"prior_{name}" for name in CLASSES]] = 1 / 3
    frame["bar_time"] = pd.date_range(NOON, periods=count, freq="h")
    frame["outcome"] = [CLASSES[place] for place in truth]
    frame["forward_return"] = np.array([-0.002, 0.0, 0.002])[truth]
    frame["previous_return"] = np.roll(frame["forward_return"], 1)
    frame["threshold"] = 0.001
    frame["signal"] = (np.arange(count) % 3 == 0) & (chances.argmax(axis=1) != 1)
    frame["fell_back"] = np.arange(count) % 100 == 0
    frame["model_version"] = "M"
    return frame


def test_measures_are_those_made_by_hand() -> None:
    frame = answers()
    worth = measure(frame, fee_bps=3.0)
    chances = frame[[f"p_{name}" for name in CLASSES]].to_numpy()
    truth = frame["outcome"].map(CLASSES.index).to_numpy()
    stated = [-np.log(chances[row, truth[row]]) for row in range(len(frame))]
    assert worth["rows"] == len(frame)
    assert worth["log_loss"] == pytest.approx(np.mean(stated))
    assert worth["prior_log_loss"] == pytest.approx(np.log(3))
    assert worth["skill"] == pytest.approx(np.log(3) - np.mean(stated))
    assert worth["fine_tuning_gain"] == pytest.approx(worth["skill"])
    assert worth["accuracy"] == np.mean(chances.argmax(axis=1) == truth)
    assert worth["majority_accuracy"] == max(np.mean(truth == place) for place in range(3))
    assert worth["persistence_accuracy"] == pytest.approx(np.mean(np.roll(truth, 1) == truth))
    assert np.sum(worth["confusion"]) == len(frame)
    sent = frame[frame["signal"]]
    text = sent[[f"p_{name}" for name in CLASSES]].to_numpy().argmax(axis=1)
    assert worth["signals"]["count"] == len(sent)
    assert worth["signals"]["precision"] == np.mean(text == truth[sent.index])
    expected = np.mean(np.where(text == 2, 1, -1) * sent["forward_return"]) * 1e4
    assert worth["signals"]["mean_return_bps"] == pytest.approx(expected)
    assert worth["signals"]["mean_return_after_fee_bps"] == pytest.approx(expected - 3.0)
    assert worth["fell_back"] == 6


def test_chances_that_come_true_are_calibrated_and_skilled() -> None:
    worth = measure(answers(20_000), fee_bps=0.0)
    assert worth["calibration_error"] < 0.02
    assert worth["skill_interval"][0] > 0
    assert worth["directional_precision_at_1_percent"] > 0.9


def test_answers_without_an_outcome_do_not_count() -> None:
    frame = answers(100)
    frame.loc[:49, "outcome"] = None
    assert measure(frame, 0.0)["rows"] == 50
    assert measure(frame.assign(outcome=None), 0.0) == {"rows": 0}


def test_the_interval_of_a_mean_over_days_holds_the_truth_as_often_as_it_says() -> None:
    """Values of one day belong together: as if each day were one value."""
    held = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        days = np.repeat(np.arange(40), 24)
        values = np.repeat(random.normal(0.3, 1.0, 40), 24) + random.normal(0, 0.1, len(days))
        low, high = interval(values, days)
        held += low < 0.3 < high
    assert 0.82 < held / 200 < 0.96


def test_a_single_day_has_no_interval() -> None:
    assert np.isnan(interval(np.array([0.1, 0.2]), np.array([5, 5]))).all()


def test_precision_at_a_coverage_takes_the_surest_directions() -> None:
    chances = np.array([[0.8, 0.1, 0.1], [0.1, 0.2, 0.7], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]])
    truth = np.array([0, 0, 1, 2])
    assert precision_at(chances, truth, 0.25) == 1.0
    assert precision_at(chances, truth, 0.5) == 0.5


def test_the_curve_of_precision_ends_at_all_rows_and_knows_the_coin() -> None:
    known = ResolvedAnswers.of(answers(2_000))
    chances, truth = known.chances(), known.truth
    curve = precision_by_coverage(chances, truth)
    assert curve["rows"].iloc[[0, -1]].tolist() == [10, 2_000]
    direction = np.where(chances[:, 2] > chances[:, 0], 2, 0)
    assert curve["precision"].iloc[-1] == pytest.approx(np.mean(direction == truth))
    assert curve["coin"].iloc[-1] == pytest.approx(np.mean(truth != 1) / 2)
    surest = np.argsort(-np.maximum(chances[:, 0], chances[:, 2]))[:10]
    assert curve["precision"].iloc[0] == np.mean(direction[surest] == truth[surest])
    assert (curve["low"] <= curve["precision"] + 1e-9).all()
    assert (curve["precision"] <= curve["high"] + 1e-9).all()
    assert blind_precision(truth) == max(np.mean(truth == 0), np.mean(truth == 2))


def test_reliability_bins_are_those_of_the_calibration_error() -> None:
    known = ResolvedAnswers.of(answers(2_000))
    bins = reliability(known.chances(), known.truth)
    assert bins["rows"].sum() == 2_000
    gap = (bins["rows"] * (bins["stated"] - bins["came_true"]).abs()).sum() / 2_000
    assert gap == pytest.approx(calibration_error(known.chances(), known.truth))
