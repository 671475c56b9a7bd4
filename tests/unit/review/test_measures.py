"""Metrics of the review compared with plain computations."""

import numpy as np
import pandas as pd
import pytest

from hybrid_ml.market.labels import CLASSES
from hybrid_ml.review.ledger_metrics import majority_until_then, measures, running_accuracy
from tests.ledgers import simulated_ledger


def two_symbols() -> pd.DataFrame:
    parts = [simulated_ledger(count=400), simulated_ledger("XYZ", 300, seed=1, preset="aggressive")]
    return pd.concat(parts, ignore_index=True)


def test_review_metrics_equal_plain_computations() -> None:
    answers = two_symbols()
    overall, abc, xyz = measures(answers, fee_bps=3.0)
    assert (abc["symbol"], abc["preset"], xyz["symbol"], xyz["preset"]) == ("ABC", "balanced", "XYZ", "aggressive")
    for part, frame in (
        (overall, answers),
        (abc, answers[answers["symbol"] == "ABC"]),
        (xyz, answers[answers["symbol"] == "XYZ"]),
    ):
        signals, right = frame[frame["signal"]], frame["direction"] == frame["outcome"]
        assert part["answers"] == part["resolved"] == len(frame)
        assert part["accuracy"] == pytest.approx(right.mean())
        assert part["majority_in_hindsight"] == frame["outcome"].value_counts(normalize=True).max()
        assert part["signals"]["count"] == part["signals_in_all"] == len(signals)
        assert part["signals"]["precision"] == pytest.approx(right[frame["signal"]].mean())
        assert part["signals"]["coverage"] == len(signals) / len(frame)
        wrong = ~right
        assert part["signals"]["false_positive_rate"] == pytest.approx((wrong & frame["signal"]).sum() / wrong.sum())
        returns_bps = np.where(signals["direction"] == "up", 1, -1) * signals["forward_return"] * 1e4
        assert part["signals"]["mean_return_bps"] == pytest.approx(returns_bps.mean())
        assert part["signals"]["mean_return_after_fee_bps"] == pytest.approx(returns_bps.mean() - 3)
        assert part["blind_precision"] == max((frame["outcome"] == name).mean() for name in ("down", "up"))
        assert sum(part["shares"].values()) == pytest.approx(1)
        assert sum(item["rows"] for item in part["reliability"]) == len(frame)


def test_void_and_open_answers_are_counted_but_not_evaluated() -> None:
    answers = simulated_ledger(count=10)
    answers.loc[:3, "outcome"] = None
    answers.loc[:1, "void_reason"] = "the session ended before"
    answers.loc[9, "counted"] = "corrected"
    answers.loc[8, "corrected_since"] = True
    overall = measures(answers, 0.0)[0]
    assert (overall["resolved"], overall["void"], overall["open"]) == (6, 2, 2)
    assert (overall["on_corrected_bars"], overall["corrected_since"]) == (1, 1)


def test_ledger_without_outcomes_has_counts_only() -> None:
    (empty,) = measures(simulated_ledger(count=1).iloc[:0], 0.0)
    assert empty["answers"] == empty["resolved"] == 0
    assert "accuracy" not in empty
    unresolved = measures(simulated_ledger(count=5).assign(outcome=None), 0.0)[0]
    assert (unresolved["open"], unresolved["resolved"]) == (5, 0)


def test_majority_uses_only_past_outcomes_of_the_same_symbol() -> None:
    answers = two_symbols().sample(frac=1.0, random_state=0)
    majority = majority_until_then(answers)
    for position, answer in answers.iloc[::37].iterrows():
        resolved = answers[
            (answers["symbol"] == answer["symbol"])
            & (answers["bar_time"] + pd.Timedelta(minutes=11) <= answer["as_of"])
        ]
        counts = [(resolved["outcome"] == name).sum() + (name == "flat") for name in CLASSES]
        assert majority[position] == int(np.argmax(counts))
    newest = answers.sort_values("bar_time").iloc[-1:]
    changed = answers.copy()
    changed.loc[newest.index, "outcome"] = "down"
    pd.testing.assert_series_equal(majority_until_then(changed), majority)


def test_running_accuracy_is_that_of_the_last_answers() -> None:
    answers = two_symbols()
    accuracies = running_accuracy(answers, 350)
    assert list(accuracies) == ["ABC"]
    own_answers = answers[answers["symbol"] == "ABC"]
    frame = accuracies["ABC"]
    assert len(frame) == 51
    right = (own_answers["direction"] == own_answers["outcome"]).to_numpy()
    assert frame["accuracy"].iloc[-1] == pytest.approx(right[-350:].mean())
    assert frame["time"].iloc[0] == own_answers["bar_time"].iloc[349]
    majority = np.array(CLASSES)[majority_until_then(own_answers)]
    assert frame["majority"].iloc[0] == pytest.approx((majority == own_answers["outcome"]).iloc[:350].mean())
