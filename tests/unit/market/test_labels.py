"""What is asked: the return over the horizon, and the tercile that tells FLAT from a move."""

from math import isnan, log, nan

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybrid_ml.market.bars import to_grid
from hybrid_ml.market.labels import DOWN, FLAT, HORIZON_MINUTES, UP, forward_returns, label, tercile_threshold
from tests.simulated import bars_at, bars_with_holes, hand_made_bars, perturbed, simulated_bars


def returns_by_hand(grid: pd.DataFrame, horizon: int) -> list[float]:
    """Look each later minute up by its time."""
    close = dict(zip(grid.index, zip(grid["close"], grid["session"], strict=True), strict=True))
    found = []
    for time, (now, session) in close.items():
        later = close.get(time + pd.Timedelta(minutes=horizon))
        found.append(log(later[0] / now) if later is not None and later[1] == session else nan)
    return found


@pytest.mark.parametrize("horizon", [1, HORIZON_MINUTES, 30])
@pytest.mark.parametrize("sessions", [False, True])
def test_forward_returns_are_what_looking_up_the_later_bar_gives(horizon: int, sessions: bool) -> None:
    grid = to_grid(simulated_bars(3_200, sessions=sessions))
    np.testing.assert_allclose(forward_returns(grid, horizon), returns_by_hand(grid, horizon), rtol=1e-9, atol=1e-13)


@given(steps=st.lists(st.integers(1, 15), max_size=60), max_gap=st.integers(0, 14))
def test_no_label_crosses_a_session_break(steps: list[int], max_gap: int) -> None:
    grid = to_grid(bars_at(np.cumsum([0, *steps]).tolist()), max_gap)
    np.testing.assert_allclose(
        forward_returns(grid), returns_by_hand(grid, HORIZON_MINUTES), rtol=1e-9, atol=1e-13, strict=True
    )


def test_the_last_ten_bars_of_every_session_have_no_outcome() -> None:
    grid = to_grid(bars_with_holes(900, {300: 40, 600: 60}))
    unknown = np.isnan(forward_returns(grid))
    sizes = grid["session"].value_counts(sort=False)
    assert unknown.sum() == HORIZON_MINUTES * len(sizes) == 30
    for session in sizes.index:
        assert unknown[(grid["session"] == session).to_numpy()][-HORIZON_MINUTES:].all()


@pytest.mark.parametrize("cut", [10, 500, 1_150])
def test_what_comes_later_changes_no_outcome_that_was_known(cut: int) -> None:
    grid = to_grid(bars_with_holes(1_300, {700: 35}))
    before, after = forward_returns(grid), forward_returns(perturbed(grid, slice(cut + 1, None)))
    known = cut + 1 - HORIZON_MINUTES
    np.testing.assert_array_equal(after[:known], before[:known])
    assert after[known] != before[known]


def test_outcomes_that_are_not_known_yet_are_nan_and_the_others_final() -> None:
    grid = to_grid(simulated_bars(400))
    whole, earlier = forward_returns(grid), forward_returns(grid.iloc[:300])
    assert np.isnan(earlier[-HORIZON_MINUTES:]).all()
    np.testing.assert_array_equal(earlier[:-HORIZON_MINUTES], whole[: 300 - HORIZON_MINUTES])


def test_a_grid_shorter_than_the_horizon_has_no_outcome() -> None:
    assert np.isnan(forward_returns(to_grid(hand_made_bars([100.0, 101.0, 102.0])))).tolist() == [True] * 3


def test_the_threshold_of_constant_prices_is_exactly_zero() -> None:
    returns = forward_returns(to_grid(hand_made_bars([100.0] * 50)))
    threshold = tercile_threshold(returns)
    assert threshold == 0.0
    assert label(returns, threshold).tolist() == [FLAT] * 40 + [-1] * 10


def test_the_threshold_ignores_outcomes_that_are_not_known() -> None:
    returns = np.array([nan, 0.4, -0.1, nan, 0.3, -0.2, nan])
    assert tercile_threshold(returns) == tercile_threshold(returns[np.isfinite(returns)]) == pytest.approx(0.2)


@given(returns=st.lists(st.floats(-0.1, 0.1), min_size=3, max_size=80))
def test_the_threshold_is_the_lower_tercile_of_the_size_of_moves(returns: list[float]) -> None:
    threshold = tercile_threshold(np.array(returns))
    sizes = sorted(abs(r) for r in returns)
    place = (len(sizes) - 1) / 3
    below, above = sizes[int(place)], sizes[min(int(place) + 1, len(sizes) - 1)]
    assert threshold == pytest.approx(below + (above - below) * (place - int(place)), abs=1e-15)


def test_labels_compare_with_the_threshold_and_equal_is_flat() -> None:
    returns = np.array([-0.2, -0.1, -0.05, 0.0, 0.1, 0.1000001, nan, np.inf])
    assert label(returns, 0.1).tolist() == [DOWN, FLAT, FLAT, FLAT, FLAT, UP, -1, -1]


@given(returns=st.lists(st.floats(allow_nan=True), max_size=40), threshold=st.floats(0, 1e3))
def test_labels_are_what_a_plain_comparison_gives(returns: list[float], threshold: float) -> None:
    expected = [
        -1 if isnan(r) or abs(r) == float("inf") else UP if r > threshold else DOWN if -r > threshold else FLAT
        for r in returns
    ]
    assert label(np.array(returns, dtype=np.float64), threshold).tolist() == expected


def test_a_third_of_the_window_the_threshold_is_learnt_on_is_flat() -> None:
    returns = forward_returns(to_grid(simulated_bars(3_000)))
    labels = label(returns, tercile_threshold(returns))
    known = labels[labels >= 0]
    assert np.mean(known == FLAT) == pytest.approx(1 / 3, abs=1 / len(known))
    assert min(np.mean(known == DOWN), np.mean(known == UP)) > 0.25
