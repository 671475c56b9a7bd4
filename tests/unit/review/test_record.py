"""The record under watch: false alarms are rare, a fall is found, and overlapping outcomes count once."""

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from hybrid_ml.review.accuracy_drift import changes, correctness, signal_record
from tests.ledgers import simulated_ledger


def stream(seed: int, *parts: tuple[int, float]) -> np.ndarray:
    shares = np.repeat([share for _, share in parts], [count for count, _ in parts])
    return np.random.default_rng(seed).random(len(shares)) < shares


def test_streams_that_stay_as_they_are_are_rarely_cut() -> None:
    assert sum(bool(changes(stream(seed, (4_320, 0.45)))) for seed in range(200)) <= 12


def test_a_fall_of_fifteen_points_is_found_where_it_is() -> None:
    found = [changes(stream(seed, (500, 0.45), (1_000, 0.30))) for seed in range(100)]
    assert sum(bool(item) for item in found) >= 90
    assert np.median([item[-1] for item in found if item]) == pytest.approx(500, abs=40)


def test_edges_of_streams() -> None:
    assert changes(np.empty(0, dtype=bool)) == []
    assert changes(np.ones(5_000, dtype=bool)) == []
    assert changes(np.repeat([True, False], 300)) == [300]


def test_a_fall_is_told_with_both_sides_and_a_rise_is_no_alarm() -> None:
    fell = correctness(simulated_ledger(count=2_000, honesty=0.0, honest_until=1_000))
    assert fell.answers == 2_000
    assert fell.fallen is not None
    assert fell.fallen.before > 0.55
    assert fell.fallen.after < 0.40
    assert fell.fallen.answers_before + fell.fallen.answers_after == 2_000
    rising = simulated_ledger(count=2_000, honesty=0.0, honest_until=1_000)
    rising["bar_time"] = rising["bar_time"].to_numpy()[::-1]
    rose = correctness(rising)
    assert len(rose.changes) == 1
    assert rose.fallen is None


def test_answers_that_share_minutes_count_once() -> None:
    answers = simulated_ledger(count=300)
    again = pd.concat([answers, answers.assign(bar_time=answers["bar_time"] + timedelta(minutes=9))])
    assert correctness(again) == correctness(answers)
    assert signal_record(again) == signal_record(answers)
    waiting = answers.assign(outcome=None)
    assert correctness(waiting).answers == 0
    assert signal_record(waiting).signals == 0


def test_signals_are_held_against_what_they_stated() -> None:
    answers = simulated_ledger(count=1_000)
    sent = answers[answers["signal"]]
    text = signal_record(answers)
    assert text.signals == len(sent)
    assert text.right == (sent["direction"] == sent["outcome"]).sum()
    assert text.mean_confidence == pytest.approx(sent["confidence"].mean())
    alone = sent.assign(confidence=0.7).iloc[::10]  # further than an hour from one another
    few = signal_record(alone)
    assert few.blocks == few.signals == len(alone)
    assert few.p == pytest.approx(binom.cdf(few.right, few.signals, 0.7), abs=0.05)
    assert few.p >= binom.cdf(few.right, few.signals, 0.7)


def signals_in_runs(seed: int, count: int, run: int) -> pd.DataFrame:
    """Signals without a pause, exactly as right as stated, of which each `run` share an outcome."""
    random = np.random.default_rng(seed)
    stated = np.repeat(random.uniform(0.6, 0.8, count // run), run)
    right = np.repeat(random.random(count // run) < stated[::run], run)
    begins = pd.date_range("2024-01-01", periods=count, freq="10min", tz="UTC")
    outcome = np.where(right, "up", "down")
    return pd.DataFrame(
        {"bar_time": begins, "signal": True, "direction": "up", "outcome": outcome, "confidence": stated}
    )


@pytest.mark.parametrize(("count", "run", "most"), [(60, 1, 0.05), (60, 3, 0.06), (12, 3, 0.06), (300, 6, 0.06)])
def test_false_alarms_of_signals_in_clusters_are_as_rare_as_said(count: int, run: int, most: float) -> None:
    tries = 400
    alarms = sum(signal_record(signals_in_runs(seed, count, run)).alarm for seed in range(tries))
    assert alarms <= most * tries


def test_few_blocks_that_went_wrong_alike_are_no_alarm() -> None:
    hours = signals_in_runs(0, 12, 6).assign(outcome="down", confidence=0.7)
    text = signal_record(hours)
    assert (text.signals, text.right, text.blocks) == (12, 0, 2)
    assert not text.alarm  # a chance of 0.09, were each hour one signal; of independent ones 5e-7


def test_signals_that_state_certainty_and_keep_it_are_no_alarm() -> None:
    assert signal_record(signals_in_runs(0, 12, 1).assign(outcome="up", confidence=1.0)).p == 1.0


def test_honest_signals_rarely_alarm_and_dishonest_ones_do() -> None:
    honest = sum(signal_record(simulated_ledger(count=150, seed=seed)).alarm for seed in range(100))
    assert honest <= binom.ppf(0.999, 100, 0.05)
    hollow = sum(signal_record(simulated_ledger(count=150, seed=seed, honesty=0.3)).alarm for seed in range(50))
    assert hollow >= 48
    assert not signal_record(simulated_ledger(count=1).assign(signal=False)).alarm
