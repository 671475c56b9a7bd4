"""Rows and their splits: no judging row shares a minute with a training label."""

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybrid_ml.learning import rows as rows_module
from hybrid_ml.learning.rows import Rows, labels_known_at, make_window, split_hold_out
from hybrid_ml.market.bars import MAX_GAP_MINUTES, to_grid
from hybrid_ml.market.features import FEATURE_NAMES, make_features
from hybrid_ml.market.labels import HORIZON_MINUTES, forward_returns
from tests.simulated import NOON, bars_at, bars_with_holes, rows_at, simulated_bars

# Runs of minutes with bars followed by a gap: a short gap is filled, a long one ends the session.
STRETCHES = st.tuples(st.integers(0, 70), st.sampled_from([1, 2, 9, 12, 31, 32, 300]))
GRIDS = st.lists(STRETCHES, min_size=1, max_size=5).map(
    lambda stretches: [step for bars, gap in stretches for step in [*[1] * bars, gap]]
)


def at(minute: int) -> pd.Timestamp:
    return pd.Timestamp(NOON + timedelta(minutes=minute))


def leaks(training: Rows, judging: Rows) -> bool:
    """Whether a bar of a training label (its own until the one ten minutes later) is a judging row,
    or is not closed when the first judging row opens; checked minute by minute."""
    if not len(training) or not len(judging):
        return False
    minutes = [time + pd.Timedelta(minutes=later) for time in training.times for later in range(HORIZON_MINUTES + 1)]
    return bool(set(minutes) & set(judging.times)) or max(minutes) >= judging.times[0]


def labelled_on(steps: list[int]) -> Rows:
    """The labelled rows of a grid with these distances between bars, in minutes."""
    grid = to_grid(bars_at(np.cumsum([0, *steps]).tolist()), MAX_GAP_MINUTES)
    features = np.zeros((len(grid), 1), dtype=np.float32)
    return Rows(features, forward_returns(grid), pd.DatetimeIndex(grid.index)).labelled()


@given(steps=GRIDS, training_rows=st.integers(1, 150), hold_out=st.integers(1, 60))
def test_training_labels_do_not_overlap_judging_rows(steps: list[int], training_rows: int, hold_out: int) -> None:
    labelled = labelled_on(steps)
    training, judging = split_hold_out(labelled, training_rows, hold_out)
    assert not leaks(training, judging)
    assert len(judging) == min(hold_out, len(labelled))
    assert len(training) <= training_rows
    assert judging.times.tolist() == labelled.times[len(labelled) - len(judging) :].tolist()


@given(steps=GRIDS, hold_out=st.integers(1, 60))
def test_split_leaves_out_no_more_rows_than_necessary(steps: list[int], hold_out: int) -> None:
    labelled = labelled_on(steps)
    training, judging = split_hold_out(labelled, len(labelled) + 1, hold_out)
    left_out = len(labelled) - len(judging) - len(training)
    if left_out:
        one_more = labelled.take(slice(0, len(training) + 1))
        assert leaks(one_more, judging)


def test_embargo_one_minute_too_short_is_a_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    labelled = labelled_on([1] * 100)
    assert not leaks(*split_hold_out(labelled, 50, 20))
    monkeypatch.setattr(rows_module, "EMBARGO_BARS", HORIZON_MINUTES - 1)
    assert leaks(*split_hold_out(labelled, 50, 20))


def test_training_rows_are_the_newest_before_the_hold_out() -> None:
    labelled = rows_at(list(range(100)))
    training, judging = split_hold_out(labelled, 30, 20)
    assert judging.times.tolist() == [at(m) for m in range(80, 100)]
    assert training.times.tolist() == [at(m) for m in range(40, 70)]
    np.testing.assert_array_equal(training.features[:, 0], np.arange(40, 70))


def test_embargo_counts_minutes_not_rows() -> None:
    labelled = rows_at([*range(50), *range(500, 530)])
    training, judging = split_hold_out(labelled, 1_000, 30)
    assert (len(training), len(judging)) == (50, 30)


def test_split_of_too_few_rows_gives_shorter_parts() -> None:
    assert [len(part) for part in split_hold_out(rows_at(list(range(25))), 100, 20)] == [0, 20]
    assert [len(part) for part in split_hold_out(rows_at(list(range(5))), 100, 20)] == [0, 5]
    assert [len(part) for part in split_hold_out(rows_at([]), 100, 20)] == [0, 0]


def test_labels_are_known_when_the_bar_ten_minutes_later_has_closed() -> None:
    assert labels_known_at(rows_at([0, 1, 7])) == NOON + timedelta(minutes=7 + 1 + HORIZON_MINUTES)
    with pytest.raises(IndexError):
        labels_known_at(rows_at([]))


def test_newer_than_compares_with_the_opening_of_the_bar() -> None:
    rows = rows_at([0, 1, 2, 10, 11])
    assert rows.newer_than(NOON + timedelta(minutes=2)).times.tolist() == [at(2), at(10), at(11)]
    assert rows.newer_than(NOON + timedelta(minutes=2, seconds=1)).times.tolist() == [at(10), at(11)]
    assert len(rows.newer_than(NOON - timedelta(days=1))) == 5
    assert len(rows.newer_than(NOON + timedelta(minutes=12))) == 0


@pytest.mark.parametrize(("count", "minutes"), [(0, []), (2, [10, 11]), (5, [0, 1, 2, 10, 11]), (9, [0, 1, 2, 10, 11])])
def test_last_returns_the_newest_rows_or_all(count: int, minutes: list[int]) -> None:
    assert rows_at([0, 1, 2, 10, 11]).last(count).times.tolist() == [at(m) for m in minutes]


def test_latest_returns_one_row() -> None:
    assert rows_at([3, 8]).latest().times.tolist() == [at(8)]
    assert rows_at([3]).latest().features.shape == (1, 1)


def test_only_rows_with_known_outcome_are_labelled() -> None:
    rows = rows_at([0, 1, 2, 3])
    returns = np.array([0.1, np.nan, -0.1, np.nan])
    labelled = Rows(rows.features, returns, rows.times).labelled()
    assert labelled.times.tolist() == [at(0), at(2)]
    assert labelled.features[:, 0].tolist() == [0.0, 2.0]
    assert labelled.labels(0.05).tolist() == [2, 0]


def test_window_has_one_row_per_minute_of_the_grid() -> None:
    bars = bars_with_holes(900, {400: 50})
    window = make_window(bars, MAX_GAP_MINUTES)
    grid = to_grid(bars, MAX_GAP_MINUTES)
    pd.testing.assert_frame_equal(window.grid, grid)
    np.testing.assert_array_equal(window.rows.features, make_features(grid).to_numpy())
    np.testing.assert_array_equal(window.rows.forward_returns, forward_returns(grid))
    assert window.rows.features.shape == (len(grid), len(FEATURE_NAMES))
    assert window.bar_time == bars["time"].iloc[-1].to_pydatetime()
    assert window.close == bars["close"].iloc[-1]


def test_max_gap_decides_the_end_of_a_session() -> None:
    bars = bars_at([0, 6])
    assert make_window(bars, 5).grid["session"].nunique() == 1
    assert make_window(bars, 4).grid["session"].nunique() == 2


def test_later_bars_do_not_change_earlier_labelled_rows() -> None:
    bars = simulated_bars(1_200)
    earlier = make_window(bars.iloc[:1_000], MAX_GAP_MINUTES).rows.labelled()
    later = make_window(bars, MAX_GAP_MINUTES).rows.take(slice(0, len(earlier)))
    np.testing.assert_array_equal(later.features, earlier.features)
    np.testing.assert_array_equal(later.forward_returns, earlier.forward_returns)
