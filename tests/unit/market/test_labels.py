"""Labels: the return over the horizon, and the threshold of FLAT."""

from math import isnan, log, nan

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybrid_ml.market.bars import to_grid
from hybrid_ml.market.labels import DOWN, FLAT, FLAT_SHARE, HORIZON_MINUTES, UP, flat_threshold, forward_returns, label
from tests.simulated import bars_at, bars_with_holes, hand_made_bars, perturbed, simulated_bars


def returns_by_hand(grid: pd.DataFrame, horizon: int) -> list[float]:
    """Forward returns by looking up the later minute by its time."""
    close = dict(zip(grid.index, zip(grid["close"], grid["session"], strict=True), strict=True))
    returns = []
    for time, (now, session) in close.items():
        later = close.get(time + pd.Timedelta(minutes=horizon))
        returns.append(log(later[0] / now) if later is not None and later[1] == session else nan)
    return returns


@pytest.mark.parametrize("horizon", [1, HORIZON_MINUTES, 30])
@pytest.mark.parametrize("sessions", [False, True])
def test_forward_returns_equal_a_lookup_of_the_later_bar(horizon: int, sessions: bool) -> None:
    grid = to_grid(simulated_bars(3_200, sessions=sessions))
    np.testing.assert_allclose(forward_returns(grid, horizon), returns_by_hand(grid, horizon), rtol=1e-9, atol=1e-13)


@given(steps=st.lists(st.integers(1, 15), max_size=60), max_gap=st.integers(0, 14))
def test_no_label_crosses_a_session_break(steps: list[int], max_gap: int) -> None:
    grid = to_grid(bars_at(np.cumsum([0, *steps]).tolist()), max_gap)
    np.testing.assert_allclose(
        forward_returns(grid), returns_by_hand(grid, HORIZON_MINUTES), rtol=1e-9, atol=1e-13, strict=True
    )


def test_last_ten_bars_of_a_session_have_no_outcome() -> None:
    grid = to_grid(bars_with_holes(900, {300: 40, 600: 60}))
    unknown = np.isnan(forward_returns(grid))
    sizes = grid["session"].value_counts(sort=False)
    assert unknown.sum() == HORIZON_MINUTES * len(sizes) == 30
    for session in sizes.index:
        assert unknown[(grid["session"] == session).to_numpy()][-HORIZON_MINUTES:].all()


@pytest.mark.parametrize("cut", [10, 500, 1_150])
def test_later_bars_change_no_known_outcome(cut: int) -> None:
    grid = to_grid(bars_with_holes(1_300, {700: 35}))
    before, after = forward_returns(grid), forward_returns(perturbed(grid, slice(cut + 1, None)))
    labelled = cut + 1 - HORIZON_MINUTES
    np.testing.assert_array_equal(after[:labelled], before[:labelled])
    assert after[labelled] != before[labelled]


def test_unknown_outcomes_are_nan_and_known_ones_final() -> None:
    grid = to_grid(simulated_bars(400))
    full, earlier = forward_returns(grid), forward_returns(grid.iloc[:300])
    assert np.isnan(earlier[-HORIZON_MINUTES:]).all()
    np.testing.assert_array_equal(earlier[:-HORIZON_MINUTES], full[: 300 - HORIZON_MINUTES])


def test_grid_shorter_than_the_horizon_has_no_outcome() -> None:
    assert np.isnan(forward_returns(to_grid(hand_made_bars([100.0, 101.0, 102.0])))).tolist() == [True] * 3


def test_threshold_of_constant_prices_is_zero() -> None:
    returns = forward_returns(to_grid(hand_made_bars([100.0] * 50)))
    threshold = flat_threshold(returns, FLAT_SHARE)
    assert threshold == 0.0
    assert label(returns, threshold).tolist() == [FLAT] * 40 + [-1] * 10


def test_threshold_ignores_unknown_outcomes() -> None:
    returns = np.array([nan, 0.4, -0.1, nan, 0.3, -0.2, nan])
    assert flat_threshold(returns, 1 / 3) == flat_threshold(returns[np.isfinite(returns)], 1 / 3) == pytest.approx(0.2)


@given(returns=st.lists(st.floats(-0.1, 0.1), min_size=3, max_size=80), share=st.floats(0.01, 0.9))
def test_threshold_is_a_quantile_of_absolute_returns(returns: list[float], share: float) -> None:
    threshold = flat_threshold(np.array(returns), share)
    sizes = sorted(abs(r) for r in returns)
    position = (len(sizes) - 1) * share
    below, above = sizes[int(position)], sizes[min(int(position) + 1, len(sizes) - 1)]
    assert threshold == pytest.approx(below + (above - below) * (position - int(position)), abs=1e-15)


def test_return_equal_to_the_threshold_is_flat() -> None:
    returns = np.array([-0.2, -0.1, -0.05, 0.0, 0.1, 0.1000001, nan, np.inf])
    assert label(returns, 0.1).tolist() == [DOWN, FLAT, FLAT, FLAT, FLAT, UP, -1, -1]


@given(returns=st.lists(st.floats(allow_nan=True), max_size=40), threshold=st.floats(0, 1e3))
def test_labels_equal_a_plain_comparison(returns: list[float], threshold: float) -> None:
    expected = [
        -1 if isnan(r) or abs(r) == float("inf") else UP if r > threshold else DOWN if -r > threshold else FLAT
        for r in returns
    ]
    assert label(np.array(returns, dtype=np.float64), threshold).tolist() == expected


@pytest.mark.parametrize("share", [0.05, FLAT_SHARE, 1 / 3])
def test_stated_share_of_the_threshold_window_is_flat(share: float) -> None:
    returns = forward_returns(to_grid(simulated_bars(3_000)))
    labels = label(returns, flat_threshold(returns, share))
    labelled = labels[labels >= 0]
    assert np.mean(labelled == FLAT) == pytest.approx(share, abs=1 / len(labelled))
    assert min(np.mean(labelled == DOWN), np.mean(labelled == UP)) > (1 - share) * 0.37
