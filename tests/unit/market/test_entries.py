"""Entries: the first price after an answer's bar that a person could have had, compared with a plain loop."""

from datetime import timedelta
from math import log, nan

import numpy as np
import pandas as pd
import pytest

from hybrid_ml.market.bars import MAX_GAP_MINUTES
from hybrid_ml.market.entries import ENTRY_COLUMNS, find_entries
from hybrid_ml.replay.history import Past
from tests.entries import entry_by_hand, prices_of
from tests.simulated import NOON, bars_at, bars_with_holes, simulated_bars


def entries(minutes: list[int], close_then: float = 110.0) -> pd.Series:
    """The entry of an answer about the bar at NOON, with bars at these minutes after it."""
    return find_entries(bars_at(minutes), pd.DatetimeIndex([NOON]), np.array([close_then])).iloc[0]


@pytest.mark.parametrize(
    ("minutes", "later"),
    [
        ([0, 1, 2, 10], 1),  # the minute directly after the bar
        ([0, 2, 10], 2),  # none in that minute: a stale price
        ([0, 9, 10], 9),
        ([0, 10, 11], 10),  # the last minute of the horizon
        ([0, 11, 12], None),  # the horizon is over
        ([0], None),  # the last bar of all
    ],
)
def test_entry_is_the_open_of_the_next_traded_minute(minutes: list[int], later: int | None) -> None:
    found = entries(minutes)
    assert found["tradable"] is (later is not None)
    if later is None:
        assert found[["entry_time", "entry_price", "entry_return"]].isna().all()
        return
    price = bars_at(minutes)["open"].iloc[minutes.index(later)]
    assert found["entry_time"] == NOON + timedelta(minutes=later)
    assert found["entry_price"] == price
    assert found["entry_return"] == pytest.approx(log(110.0 / price), abs=1e-15)


def test_answer_without_outcome_has_no_entry() -> None:
    found = entries([0, 1, 2], close_then=nan)
    assert found["tradable"] is None
    assert found[["entry_time", "entry_price", "entry_return"]].isna().all()


@pytest.mark.parametrize("max_gap_minutes", [3, MAX_GAP_MINUTES])
def test_entries_equal_a_plain_loop(max_gap_minutes: int) -> None:
    holes = {100: 1, 103: 9, 200: 10, 300: 12, 500: 29, 600: 31, 900: 300, 1_400: 5, 1_410: 9}
    bars = bars_with_holes(2_000, holes)
    past = Past(bars, max_gap_minutes)
    answers = pd.DataFrame({"bar_time": bars["time"]}).sample(frac=1, random_state=1)  # in any order, any index
    found = past.with_entries(answers)
    assert found.index.equals(answers.index)
    prices = prices_of(bars)
    for row in found.itertuples():
        expected = entry_by_hand(prices, row.bar_time, max_gap_minutes)
        if expected is None:
            assert row.tradable is None
            assert pd.isna(row.entry_time)
            continue
        time, price, gained = expected
        assert row.tradable is (time is not None)
        assert (None if pd.isna(row.entry_time) else row.entry_time) == time
        assert row.entry_price == pytest.approx(price, abs=0, nan_ok=True)
        assert row.entry_return == pytest.approx(gained, abs=1e-13, nan_ok=True)
    stale = found["entry_time"] > found["bar_time"] + pd.Timedelta(minutes=1)
    if max_gap_minutes == MAX_GAP_MINUTES:
        assert stale.sum() >= 5
        assert (found["tradable"] == False).sum() >= 3  # noqa: E712  # None is neither
    assert found["tradable"].isna().sum() >= 10


def test_no_entry_crosses_a_session_break() -> None:
    bars = simulated_bars(3_000, sessions=True)
    past = Past(bars, MAX_GAP_MINUTES)
    found = past.with_entries(pd.DataFrame({"bar_time": bars["time"]}))
    last = bars["time"].diff(-1).abs() > pd.Timedelta(minutes=MAX_GAP_MINUTES + 1)
    assert last.sum() >= 1
    assert found.loc[last, ENTRY_COLUMNS].isna().all(axis=None)


def test_finished_answers_keep_their_other_columns() -> None:
    past = Past(simulated_bars(300), MAX_GAP_MINUTES)
    answers = pd.DataFrame({"bar_time": past.bars["time"].iloc[::10], "signal": True})
    found = past.with_entries(answers)
    assert list(found.columns) == ["bar_time", "signal", *ENTRY_COLUMNS]
    assert str(found["entry_time"].dtype) == "datetime64[us, UTC]"
