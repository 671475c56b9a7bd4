"""Returns of signals, as a person could have had them, compared with plain loops."""

from datetime import UTC, datetime, timedelta
from statistics import mean, median, stdev

import numpy as np
import pandas as pd
import pytest

from hybrid_ml.evaluation.day_blocks import t_over_days
from hybrid_ml.evaluation.outcome_metrics import ResolvedAnswers, followed_signals, signals
from hybrid_ml.evaluation.signal_returns import drawdown_bps, equity, measure_entries, measure_followed
from tests.unit.test_replay_worth import answers

MIDNIGHT = datetime(2024, 3, 5, tzinfo=UTC)
FEE_BPS = 3.0


def followed(*rows: tuple[int, float | None, int | None]) -> pd.DataFrame:
    """Signals UP by hour, return from the entry in basis points, and minutes until the entry; None: not traded."""
    frame = pd.DataFrame(
        {
            "bar_time": [MIDNIGHT + timedelta(hours=hour) for hour, _, _ in rows],
            "entry_return": [np.nan if gained is None else gained / 1e4 for _, gained, _ in rows],
            "entry_time": [
                None if late is None else MIDNIGHT + timedelta(hours=hour, minutes=late) for hour, _, late in rows
            ],
            "tradable": [late is not None for _, _, late in rows],
        }
    )
    frame["entry_time"] = pd.to_datetime(frame["entry_time"], utc=True)
    return frame.assign(forward_return=1e-4, right=True, along=1, guess=-1)


@pytest.mark.parametrize("fee_bps", [0.0, FEE_BPS])
def test_returns_equal_plain_loops(fee_bps: float) -> None:
    known = ResolvedAnswers.of(answers(600))
    measured = signals(known, fee_bps)
    sent = known.frame[known.frame["signal"]]
    gained, guessed, by_day, total, highest, fall = [], [], {}, 0.0, 0.0, 0.0
    guess = 1 if (known.truth == 2).sum() >= (known.truth == 0).sum() else -1
    for row in sent.itertuples():
        by_day.setdefault(row.bar_time.date(), 0.0)
        if row.tradable:
            one = (1 if row.p_up > row.p_down else -1) * row.entry_return * 1e4
            gained.append(one)
            guessed.append(guess * row.entry_return * 1e4)
            by_day[row.bar_time.date()] += one - fee_bps
            total += one - fee_bps
            highest = max(highest, total)
            fall = max(fall, highest - total)
    entry, days = measured["entry"], known.frame["bar_time"].dt.date.nunique()
    sums = [*by_day.values(), *[0.0] * (days - len(by_day))]
    assert measured["per_day"] == len(sent) / days
    assert entry["traded"] == len(gained)
    assert entry["not_tradable"] == sum(flag is False for flag in sent["tradable"]) > 0
    assert entry["unknown"] == sum(flag is None for flag in sent["tradable"]) > 0
    assert entry["traded"] + entry["not_tradable"] + entry["unknown"] == measured["count"]
    assert entry["mean_return_bps"] == pytest.approx(mean(gained))
    assert entry["median_return_bps"] == pytest.approx(median(gained))
    assert entry["mean_return_after_fee_bps"] == pytest.approx(mean(gained) - fee_bps)
    assert entry["median_return_after_fee_bps"] == pytest.approx(median(gained) - fee_bps)
    assert entry["guess_mean_return_after_fee_bps"] == pytest.approx(mean(guessed) - fee_bps)
    low, high = entry["mean_return_after_fee_interval_bps"]
    assert low < entry["mean_return_after_fee_bps"] < high
    assert entry["t"] == pytest.approx(mean(sums) / (stdev(sums) / len(sums) ** 0.5))
    assert (entry["total_bps"], entry["drawdown_bps"]) == (pytest.approx(total), pytest.approx(fall))


def test_stale_share_is_of_signals_whose_entry_is_known() -> None:
    frame = followed((0, 5.0, 1), (1, 5.0, 2), (2, 5.0, 10), (3, None, None), (4, 5.0, 1))
    frame["tradable"] = [True, True, True, False, None]
    entry = measure_entries(frame, 1, FEE_BPS)
    assert (entry["traded"], entry["not_tradable"], entry["unknown"], entry["stale_share"]) == (3, 1, 1, 0.75)


def test_signals_that_nobody_could_follow_have_counts_only() -> None:
    frame = followed((0, None, None), (1, None, None))
    counts = {"traded": 0, "not_tradable": 2, "unknown": 0, "stale_share": 1.0}
    assert measure_entries(frame, 1, FEE_BPS) == counts
    old = {"traded": 0, "not_tradable": 0, "unknown": 2, "stale_share": None}
    assert measure_entries(frame.assign(tradable=None), 1, FEE_BPS) == old
    assert equity(frame, FEE_BPS).empty
    assert measure_followed(frame.iloc[:0], 3, FEE_BPS) == {"count": 0, "per_day": 0.0}


def test_equity_adds_one_unit_a_signal_in_order_of_time() -> None:
    frame = followed((2, -7.0, 1), (0, 5.0, 3), (1, None, None), (3, 8.0, 1))
    line = equity(frame, FEE_BPS)
    assert line["total_bps"].tolist() == pytest.approx([2.0, -8.0, -3.0])
    assert line["guess_total_bps"].tolist() == pytest.approx([-8.0, -4.0, -15.0])
    assert line["time"].iloc[0] == MIDNIGHT + timedelta(minutes=3)


@pytest.mark.parametrize(
    ("totals", "fall"), [([1.0, 4.0, 2.0, 3.0, 1.5], 2.5), ([-1.0, -3.0], 3.0), ([1.0, 2.0], 0.0), ([], 0.0)]
)
def test_drawdown_is_the_deepest_fall_from_the_highest_value_until_then(totals: list[float], fall: float) -> None:
    assert drawdown_bps(np.array(totals)) == fall


def test_t_over_days_counts_days_without_a_signal() -> None:
    values, days = np.array([4.0, -1.0, 2.0]), np.array([7, 7, 9])
    sums = [3.0, 2.0, 0.0, 0.0]
    assert t_over_days(values, days, 4) == pytest.approx(mean(sums) / (stdev(sums) / 2))
    assert t_over_days(values[:2], days[:2], 1) is None
    assert t_over_days(np.array([2.0, 2.0]), np.array([1, 2]), 2) is None
    assert t_over_days(np.empty(0), np.empty(0), 5) is None


def test_t_over_days_exceeds_two_by_chance_about_one_time_in_twenty() -> None:
    """Signals of one day share an outcome, so a t over signals would be far too large."""
    beyond = 0
    for seed in range(300):
        random = np.random.default_rng(seed)
        days = np.repeat(np.arange(30), 20)
        values = np.repeat(random.normal(0, 1, 30), 20) + random.normal(0, 0.2, len(days))
        beyond += abs(t_over_days(values, days, 30) or 0.0) > 2.0
    assert 0.02 < beyond / 300 < 0.09


def test_followed_signals_keep_the_answers_order_and_rightness() -> None:
    known = ResolvedAnswers.of(answers(200))
    frame = followed_signals(known)
    sent = known.frame[known.frame["signal"]]
    assert frame["bar_time"].tolist() == sent["bar_time"].tolist()
    named = np.where(sent["p_up"] > sent["p_down"], "up", "down")
    assert frame["right"].tolist() == (named == sent["outcome"]).tolist()
