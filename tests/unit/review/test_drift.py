"""Drift of features: false alarms at the stated rate, and detection of changes."""

from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.stats import binom

from hybrid_ml.market import simulation
from hybrid_ml.market.bars import MAX_GAP_MINUTES, clean_bars
from hybrid_ml.market.simulation import simulate_bars
from hybrid_ml.review.feature_drift import (
    CALENDAR,
    JUDGED,
    FeatureDrift,
    bars_needed,
    feature_drift,
    judge_days,
    summarise_days,
    timeline_begins,
)
from tests.ledgers import REVIEWED_AT

DAYS, RECENT_DAYS, TRIES = 63, 3, 400
ALARM_OF_63 = 3 / 63
"""The false alarm rate with 63 days: p is at most 0.05 for three ranks of 63."""
SINCE = REVIEWED_AT - timedelta(days=RECENT_DAYS)


def days(seed: int, correlation: float, count: int = DAYS) -> NDArray[np.float64]:
    """Summaries (count, 40), correlated from day to day and with one another."""
    random = np.random.default_rng(seed)
    shocks = random.standard_normal((count + 50, 41)) * np.sqrt(1 - correlation**2)
    walk = lfilter([1.0], [1.0, -correlation], shocks, axis=0)[50:]
    return 0.5 + 0.07 * (walk[:, :1] + walk[:, 1:])


def judge(summaries: NDArray[np.float64], recent_days: int = RECENT_DAYS) -> FeatureDrift:
    return judge_days(summaries, recent_days, [(f"f{number}", "level") for number in range(summaries.shape[1])])


@pytest.fixture(scope="module")
def steady() -> pd.DataFrame:
    """63 days, and one more for the look-back, of a market with nearly constant daily volatility."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulation, "LOG_VOLATILITY_SPREAD", 0.25)
        return clean_bars(simulate_bars(REVIEWED_AT, bars=64 * 1_440, seed=5)).bars


def drift_of(bars: pd.DataFrame, as_of: datetime = REVIEWED_AT) -> FeatureDrift:
    return feature_drift(bars, timeline_begins(as_of, RECENT_DAYS, None), as_of, RECENT_DAYS, MAX_GAP_MINUTES)


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.6])
def test_false_alarm_rate_is_as_stated(correlation: float) -> None:
    alarms = sum(judge(days(seed, correlation)).alarm for seed in range(TRIES))
    low, high = binom.interval(0.99, TRIES, ALARM_OF_63)
    # Correlation from day to day makes the newest days, which have no later neighbours, slightly more unusual.
    assert low <= alarms <= high + 0.02 * TRIES * (correlation > 0)


@pytest.mark.parametrize("correlation", [0.0, 0.6])
def test_changed_level_is_detected_and_named(correlation: float) -> None:
    detections = 0
    for seed in range(100):
        summaries = days(seed, correlation)
        summaries[-RECENT_DAYS:, 7] += 0.5
        drift = judge(summaries)
        detections += drift.alarm and any(
            feature.feature == "f7" and feature.now > feature.before for feature in drift.moved
        )
    assert detections >= 95


def test_smallest_p_is_one_over_the_days() -> None:
    summaries = days(0, 0.0)
    summaries[-RECENT_DAYS:] += 1
    assert judge(summaries).p == pytest.approx(1 / DAYS)


def test_too_few_days_give_no_verdict() -> None:
    few = judge(days(0, 0.0, 19))
    assert few.p is None
    assert not few.alarm
    assert few.verdict == "not known: 19 days with enough bars, 20 are needed"
    assert judge(days(0, 0.0, 20)).p is not None
    assert judge(days(0, 0.0, 59), recent_days=10).p is None
    assert judge(days(0, 0.0, 60), recent_days=10).p is not None


def test_constant_columns_cause_no_alarm() -> None:
    constant = np.full((DAYS, 5), 0.5)
    assert judge(constant).p == 1.0
    almost = constant + np.random.default_rng(0).normal(0, 1e-6, constant.shape)
    assert judge(almost).statistic == pytest.approx(0, abs=1e-3)


def test_day_summaries_have_mean_ranks_and_missing_shares() -> None:
    features = np.array([[1, np.nan], [2, np.nan], [3, 5], [1e9, 6], [7, 9]], dtype=np.float32)
    kept_days, summaries = summarise_days(features, np.array([2, 2, 1, 1, 0]))
    assert kept_days.tolist() == [2, 1, 0]
    # Mid-ranks: five ranks in the first column, three in the second.
    expected = [
        [(0.1 + 0.3) / 2, 0.5, 0.0, 1.0],
        [(0.5 + 0.9) / 2, (1 / 6 + 3 / 6) / 2, 0.0, 0.0],
        [0.7, 5 / 6, 0.0, 0.0],
    ]
    assert summaries == pytest.approx(np.array(expected))


def test_days_with_few_rows_are_left_out() -> None:
    rows = np.repeat([3, 2, 1, 0], [100, 30, 50, 100])
    kept_days, _ = summarise_days(np.ones((len(rows), 1), dtype=np.float32), rows)
    assert kept_days.tolist() == [3, 1, 0]  # half of the median day of 75 rows is 37.5
    kept_days, _ = summarise_days(np.ones((220, 1), dtype=np.float32), np.repeat([2, 1, 0], [100, 100, 20]))
    assert kept_days.tolist() == [2, 1]


def test_unchanged_market_causes_no_alarm(steady: pd.DataFrame) -> None:
    drift = drift_of(steady)
    assert drift.days == DAYS
    assert drift.p is not None
    assert drift.p > 0.05


def test_doubled_volatility_is_detected_and_named(steady: pd.DataFrame) -> None:
    newest = (steady["time"] >= SINCE).to_numpy()
    factor = np.where(newest, 2.0, 1.0)
    close = np.log(steady["close"])
    log_prices = close.iloc[0] + (close.diff().fillna(0) * factor).cumsum()
    bars = steady.copy()
    for column in ("open", "high", "low", "close"):
        bars[column] = np.exp(log_prices + factor * (np.log(steady[column]) - close))
    drift = drift_of(bars)
    assert drift.p == pytest.approx(1 / DAYS)
    assert str(drift.moved[0]).endswith(" higher")
    assert all("volatility" in feature.feature or "range" in feature.feature for feature in drift.moved)


def test_minutes_without_trades_are_detected_and_named(steady: pd.DataFrame) -> None:
    idle = (steady["time"] >= SINCE) & (steady["time"].dt.minute % 2 == 0)
    drift = drift_of(steady.assign(volume=steady["volume"].mask(idle, 0.0)))
    assert drift.alarm
    assert str(drift.moved[0]) == "traded_share_30 lower"


def test_volume_that_becomes_zero_is_detected_and_constant_zero_is_not(steady: pd.DataFrame) -> None:
    missing = drift_of(steady.assign(volume=steady["volume"].mask(steady["time"] >= SINCE, 0.0)))
    assert missing.alarm
    assert any("volume" in feature.feature or "traded" in feature.feature for feature in missing.moved)
    always_zero = drift_of(steady.assign(volume=0.0))
    assert always_zero.p is not None
    assert always_zero.p > 0.05
    assert not any("volume" in feature.feature for feature in always_zero.moved)


def test_market_with_sessions_is_judged_by_its_days() -> None:
    bars = clean_bars(simulate_bars(REVIEWED_AT, bars=60_000, sessions=True)).bars
    drift = drift_of(bars)
    assert 40 <= drift.days <= 46
    assert drift.p is not None


def test_missing_recent_bars_give_no_verdict(steady: pd.DataFrame) -> None:
    assert drift_of(steady.iloc[:0]).verdict.startswith("not known: no bar since")
    stopped = drift_of(steady[steady["time"] < REVIEWED_AT - timedelta(days=9)])
    assert stopped.verdict == "not known: the newest whole day ended 9 days ago"
    weekend = drift_of(steady[steady["time"] < REVIEWED_AT - timedelta(days=2)])
    assert weekend.p is not None


def test_timeline_begins_with_the_training_window_within_limits() -> None:
    recent = REVIEWED_AT - timedelta(days=3)
    assert timeline_begins(REVIEWED_AT, 3, None) == recent - timedelta(days=60)
    assert timeline_begins(REVIEWED_AT, 3, recent - timedelta(days=200)) == recent - timedelta(days=60)
    assert timeline_begins(REVIEWED_AT, 3, recent - timedelta(days=50)) == recent - timedelta(days=50)
    assert timeline_begins(REVIEWED_AT, 3, recent - timedelta(days=1)) == recent - timedelta(days=40)
    assert bars_needed(recent, REVIEWED_AT) == 3 * 1_440 + 480


def test_calendar_features_are_not_judged() -> None:
    assert set(JUDGED).isdisjoint(CALENDAR)
    assert len(JUDGED) == 46
