"""Comparison of methods with replayed answers: paired metrics, and None where there is no value."""

import numpy as np
import pandas as pd
import pytest

from hybrid_ml.market.labels import CLASSES
from hybrid_ml.replay.baselines import PRIOR_COLUMNS, PROBABILITY_COLUMNS, empty_frame
from hybrid_ml.replay.method_comparison import compare_methods, gain_of_larger_window
from tests.unit.test_replay_worth import answers


def baseline(method: str, frame: pd.DataFrame, probabilities: np.ndarray) -> pd.DataFrame:
    rows = frame[["bar_time", "threshold", "outcome", *PRIOR_COLUMNS]].assign(method=method)
    rows[PROBABILITY_COLUMNS] = probabilities
    return rows


def outcomes_of(frame: pd.DataFrame) -> np.ndarray:
    return frame["outcome"].map(CLASSES.index).to_numpy()


def test_comparison_without_baselines_has_answers_and_base() -> None:
    own, base = compare_methods(answers(), empty_frame())
    assert (own["method"], base["method"]) == ("hybrid-ml", "base alone")
    assert base["skill"] == pytest.approx(0.0)
    assert base["skill_lead"] == pytest.approx(own["skill"])
    assert gain_of_larger_window(empty_frame()) is None


def test_certain_guess_has_only_an_accuracy() -> None:
    frame = answers()
    guess = baseline("majority", frame, np.eye(3)[np.full(len(frame), 2)])
    record = compare_methods(frame, guess)[2]
    assert record["accuracy"] == np.mean(outcomes_of(frame) == 2)
    assert record["log_loss"] is record["skill"] is record["calibration_error"] is None
    own = frame[PROBABILITY_COLUMNS].to_numpy().argmax(axis=1) == outcomes_of(frame)
    assert record["accuracy_lead"] == pytest.approx(own.mean() - record["accuracy"])
    assert record["skill_lead"] is None


def test_leads_are_computed_on_common_bars() -> None:
    frame = answers()
    second_half = baseline("logistic regression", frame.iloc[300:], np.full((300, 3), 1 / 3)).iloc[::-1]
    second_half.loc[second_half.index[:10], "outcome"] = None
    second_half.loc[second_half.index[10:20], PROBABILITY_COLUMNS] = np.nan
    record = compare_methods(frame, second_half)[2]
    common = frame.iloc[300:580]
    losses = -np.log(common[PROBABILITY_COLUMNS].to_numpy()[np.arange(280), outcomes_of(common)])
    assert (record["rows"], record["shared_rows"], record["same_question"]) == (280, 280, 1.0)
    assert record["skill_lead"] == pytest.approx(np.log(3) - losses.mean())
    low, high = record["skill_lead_interval"]
    assert low < record["skill_lead"] < high


def test_share_of_equal_thresholds_is_reported() -> None:
    frame = answers()
    other = baseline("daily retrain", frame, np.full((len(frame), 3), 1 / 3))
    other.loc[other.index[:150], "threshold"] = 0.0012
    assert compare_methods(frame, other)[2]["same_question"] == 0.75


def test_method_without_common_bars_has_no_lead() -> None:
    frame = answers()
    later = baseline("chained updates", frame, np.full((len(frame), 3), 1 / 3))
    later["bar_time"] += pd.Timedelta(days=400)
    record = compare_methods(frame, later)[2]
    assert (record["shared_rows"], record["accuracy_lead"], record["skill_lead"]) == (0, None, None)


def test_gain_of_the_larger_window_is_the_paired_difference_of_losses() -> None:
    frame = answers()
    outcomes, rows = outcomes_of(frame), np.arange(len(frame))
    better = np.full((len(frame), 3), 0.3)
    better[rows, outcomes] = 0.4
    worse = np.full((len(frame), 3), 1 / 3)
    two_windows = pd.concat(
        [baseline("80,000 rows", frame.iloc[50:], better[50:]), baseline("23,000 rows", frame, worse)]
    )
    gain = gain_of_larger_window(two_windows)
    assert gain is not None
    assert gain["rows"] == 550
    assert gain["gain"] == pytest.approx(np.log(0.4) - np.log(1 / 3))
    assert gain["gain_interval"] == pytest.approx([gain["gain"]] * 2)
    assert gain["accuracy_large"] == 1.0
    assert gain_of_larger_window(two_windows[two_windows["method"] == "23,000 rows"]) is None


def test_constant_confidence_uses_all_rows_for_precision() -> None:
    frame = answers()
    prior = baseline("class prior", frame, np.tile([0.4, 0.3, 0.3], (len(frame), 1)))
    record = compare_methods(frame, prior)[2]
    assert record["precision_at_1_percent"] == np.mean(outcomes_of(frame) == 0)
