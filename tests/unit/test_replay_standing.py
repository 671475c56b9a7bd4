"""Other methods beside the replayed answers: by hand, in pairs, and silent where nothing can be said."""

import numpy as np
import pandas as pd
import pytest

from hybrid_ml.market.labels import CLASSES
from hybrid_ml.replay.baselines import CHANCES, PRIORS, empty_frame
from hybrid_ml.replay.method_comparison import compare_methods, gain_of_larger_window
from tests.unit.test_replay_worth import answers


def rival(method: str, frame: pd.DataFrame, chances: np.ndarray) -> pd.DataFrame:
    made = frame[["bar_time", "threshold", "outcome", *PRIORS]].assign(method=method)
    made[CHANCES] = chances
    return made


def truth_of(frame: pd.DataFrame) -> np.ndarray:
    return frame["outcome"].map(CLASSES.index).to_numpy()


def test_without_rivals_there_are_the_answers_and_their_base() -> None:
    own, base = compare_methods(answers(), empty_frame())
    assert (own["method"], base["method"]) == ("hybrid-ml", "base alone")
    assert base["skill"] == pytest.approx(0.0)
    assert base["skill_lead"] == pytest.approx(own["skill"])
    assert gain_of_larger_window(empty_frame()) is None


def test_a_sure_guess_has_an_accuracy_and_nothing_else() -> None:
    frame = answers()
    guess = rival("majority", frame, np.eye(3)[np.full(len(frame), 2)])
    record = compare_methods(frame, guess)[2]
    assert record["accuracy"] == np.mean(truth_of(frame) == 2)
    assert record["log_loss"] is record["skill"] is record["calibration_error"] is None
    own = frame[CHANCES].to_numpy().argmax(axis=1) == truth_of(frame)
    assert record["accuracy_lead"] == pytest.approx(own.mean() - record["accuracy"])
    assert record["skill_lead"] is None


def test_leads_are_taken_on_the_bars_both_answered() -> None:
    frame = answers()
    half = rival("logistic regression", frame.iloc[300:], np.full((300, 3), 1 / 3)).iloc[::-1]
    half.loc[half.index[:10], "outcome"] = None
    half.loc[half.index[10:20], CHANCES] = np.nan
    record = compare_methods(frame, half)[2]
    shared = frame.iloc[300:580]
    losses = -np.log(shared[CHANCES].to_numpy()[np.arange(280), truth_of(shared)])
    assert (record["rows"], record["shared_rows"], record["same_question"]) == (280, 280, 1.0)
    assert record["skill_lead"] == pytest.approx(np.log(3) - losses.mean())
    low, high = record["skill_lead_interval"]
    assert low < record["skill_lead"] < high


def test_another_threshold_is_another_question() -> None:
    frame = answers()
    other = rival("daily retrain", frame, np.full((len(frame), 3), 1 / 3))
    other.loc[other.index[:150], "threshold"] = 0.0012
    assert compare_methods(frame, other)[2]["same_question"] == 0.75


def test_a_method_without_a_shared_bar_leads_nothing() -> None:
    frame = answers()
    later = rival("chained updates", frame, np.full((len(frame), 3), 1 / 3))
    later["bar_time"] += pd.Timedelta(days=400)
    record = compare_methods(frame, later)[2]
    assert (record["shared_rows"], record["accuracy_lead"], record["skill_lead"]) == (0, None, None)


def test_the_gain_of_the_larger_window_is_the_difference_of_paired_losses() -> None:
    frame = answers()
    truth, rows = truth_of(frame), np.arange(len(frame))
    better = np.full((len(frame), 3), 0.3)
    better[rows, truth] = 0.4
    worse = np.full((len(frame), 3), 1 / 3)
    both = pd.concat([rival("80,000 rows", frame.iloc[50:], better[50:]), rival("23,000 rows", frame, worse)])
    gain = gain_of_larger_window(both)
    assert gain is not None
    assert gain["rows"] == 550
    assert gain["gain"] == pytest.approx(np.log(0.4) - np.log(1 / 3))
    assert gain["gain_interval"] == pytest.approx([gain["gain"]] * 2)
    assert gain["accuracy_large"] == 1.0
    assert gain_of_larger_window(both[both["method"] == "23,000 rows"]) is None


def test_a_guess_that_is_always_as_sure_has_no_surest_rows() -> None:
    frame = answers()
    prior = rival("class prior", frame, np.tile([0.4, 0.3, 0.3], (len(frame), 1)))
    record = compare_methods(frame, prior)[2]
    assert record["precision_at_1_percent"] == np.mean(truth_of(frame) == 0)
