"""The record under watch: false alarms are rare, a fall is found, and overlapping outcomes count once."""

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from hybrid_ml.review.record import changes, correctness, signal_record
from tests.ledgers import simulated_ledger


def stream(seed: int, *parts: tuple[int, float]) -> np.ndarray:
    shares = np.repeat([share for _, share in parts], [count for count, _ in parts])
    return np.random.default_rng(seed).random(len(shares)) < shares


def test_streams_that_stay_as_they_are_are_rarely_cut() -> None:
    assert sum(bool(changes(stream(seed, (4_320, 0.45)))) for seed in range(200)) <= 12


def test_a_fall_of_fifteen_points_is_found_where_it_is() -> None:
    found = [changes(stream(seed, (500, 0.45), (1_000, 0.30))) for seed in range(100)]
    assert sum(bool(each) for each in found) >= 90
    assert np.median([each[-1] for each in found if each]) == pytest.approx(500, abs=40)


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
    told = signal_record(answers)
    assert told.signals == len(sent)
    assert told.right == (sent["direction"] == sent["outcome"]).sum()
    assert told.mean_confidence == pytest.approx(sent["confidence"].mean())
    alike = answers.assign(confidence=0.7)
    assert signal_record(alike).p == pytest.approx(binom.cdf(told.right, told.signals, 0.7))


def test_honest_signals_rarely_alarm_and_dishonest_ones_do() -> None:
    honest = sum(signal_record(simulated_ledger(count=150, seed=seed)).alarm for seed in range(100))
    assert honest <= binom.ppf(0.999, 100, 0.05)
    hollow = sum(signal_record(simulated_ledger(count=150, seed=seed, honesty=0.3)).alarm for seed in range(50))
    assert hollow >= 48
    assert not signal_record(simulated_ledger(count=1).assign(signal=False)).alarm
