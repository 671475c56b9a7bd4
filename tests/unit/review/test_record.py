"""Drift of accuracy: rare false alarms, detection of a fall, and overlapping outcomes counted once."""

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


def test_constant_streams_rarely_cause_a_change() -> None:
    assert sum(bool(changes(stream(seed, (4_320, 0.45)))) for seed in range(200)) <= 12


def test_fall_of_fifteen_points_is_detected_at_its_position() -> None:
    results = [changes(stream(seed, (500, 0.45), (1_000, 0.30))) for seed in range(100)]
    assert sum(bool(item) for item in results) >= 90
    assert np.median([item[-1] for item in results if item]) == pytest.approx(500, abs=40)


def test_changes_of_empty_constant_and_split_streams() -> None:
    assert changes(np.empty(0, dtype=bool)) == []
    assert changes(np.ones(5_000, dtype=bool)) == []
    assert changes(np.repeat([True, False], 300)) == [300]


def test_fall_has_both_accuracies_and_a_rise_is_no_alarm() -> None:
    falling = correctness(simulated_ledger(count=2_000, calibration=0.0, calibrated_until=1_000))
    assert falling.answers == 2_000
    assert falling.fallen is not None
    assert falling.fallen.before > 0.55
    assert falling.fallen.after < 0.40
    assert falling.fallen.answers_before + falling.fallen.answers_after == 2_000
    rising = simulated_ledger(count=2_000, calibration=0.0, calibrated_until=1_000)
    rising["bar_time"] = rising["bar_time"].to_numpy()[::-1]
    rise = correctness(rising)
    assert len(rise.changes) == 1
    assert rise.fallen is None


def test_overlapping_answers_count_once() -> None:
    answers = simulated_ledger(count=300)
    overlapping = pd.concat([answers, answers.assign(bar_time=answers["bar_time"] + timedelta(minutes=9))])
    assert correctness(overlapping) == correctness(answers)
    assert signal_record(overlapping) == signal_record(answers)
    unresolved = answers.assign(outcome=None)
    assert correctness(unresolved).answers == 0
    assert signal_record(unresolved).signals == 0


def test_signals_are_compared_with_their_confidence() -> None:
    answers = simulated_ledger(count=1_000)
    signals = answers[answers["signal"]]
    record = signal_record(answers)
    assert record.signals == len(signals)
    assert record.right == (signals["direction"] == signals["outcome"]).sum()
    assert record.mean_confidence == pytest.approx(signals["confidence"].mean())
    separate = signals.assign(confidence=0.7).iloc[::10]  # more than an hour apart
    record_of_separate = signal_record(separate)
    assert record_of_separate.blocks == record_of_separate.signals == len(separate)
    assert record_of_separate.p == pytest.approx(
        binom.cdf(record_of_separate.right, record_of_separate.signals, 0.7), abs=0.05
    )
    assert record_of_separate.p >= binom.cdf(record_of_separate.right, record_of_separate.signals, 0.7)


def signals_in_runs(seed: int, count: int, run: int) -> pd.DataFrame:
    """Consecutive calibrated signals, of which every `run` share an outcome."""
    random = np.random.default_rng(seed)
    confidence = np.repeat(random.uniform(0.6, 0.8, count // run), run)
    right = np.repeat(random.random(count // run) < confidence[::run], run)
    begins = pd.date_range("2024-01-01", periods=count, freq="10min", tz="UTC")
    outcome = np.where(right, "up", "down")
    return pd.DataFrame(
        {"bar_time": begins, "signal": True, "direction": "up", "outcome": outcome, "confidence": confidence}
    )


@pytest.mark.parametrize(("count", "run", "max_share"), [(60, 1, 0.05), (60, 3, 0.06), (12, 3, 0.06), (300, 6, 0.06)])
def test_clustered_signals_have_the_stated_false_alarm_rate(count: int, run: int, max_share: float) -> None:
    tries = 150
    alarms = sum(signal_record(signals_in_runs(seed, count, run)).alarm for seed in range(tries))
    assert alarms <= max_share * tries


def test_few_wrong_blocks_are_no_alarm() -> None:
    hours = signals_in_runs(0, 12, 6).assign(outcome="down", confidence=0.7)
    record = signal_record(hours)
    assert (record.signals, record.right, record.blocks) == (12, 0, 2)
    assert not record.alarm  # p is 0.09 with one signal per hour, and 5e-7 with independent signals


def test_certain_and_correct_signals_are_no_alarm() -> None:
    assert signal_record(signals_in_runs(0, 12, 1).assign(outcome="up", confidence=1.0)).p == 1.0


def test_calibrated_signals_rarely_alarm_and_overconfident_ones_do() -> None:
    false_alarms = sum(signal_record(simulated_ledger(count=150, seed=seed)).alarm for seed in range(40))
    assert false_alarms <= binom.ppf(0.999, 40, 0.05)
    alarms = sum(signal_record(simulated_ledger(count=150, seed=seed, calibration=0.3)).alarm for seed in range(20))
    assert alarms >= 19
    assert not signal_record(simulated_ledger(count=1).assign(signal=False)).alarm
