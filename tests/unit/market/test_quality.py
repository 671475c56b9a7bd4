"""Counts over a stretch of bars, and the warnings a person can act on."""

from datetime import timedelta

import pandas as pd
import pytest

from hybrid_ml.market.bars import to_grid
from hybrid_ml.market.quality import measure_quality
from tests.simulated import NOON, bars_at, hand_made_bars, simulated_bars


def grid_of(closes: list[float], carried: int = 0) -> pd.DataFrame:
    grid = to_grid(hand_made_bars(closes))
    grid.loc[grid.index[:carried], "carried"] = True
    return grid


def test_the_counts_are_those_of_the_bars() -> None:
    bars = bars_at([0, 1, 2, 5, 60])
    bars.loc[1, "volume"] = 0.0
    quality = measure_quality(to_grid(bars), NOON + timedelta(minutes=71))
    assert (quality.bars, quality.sessions, quality.age_minutes) == (7, 2, 10.0)
    assert (quality.first, quality.last) == (NOON, NOON + timedelta(minutes=60))
    assert quality.carried_share == pytest.approx(2 / 7)
    assert quality.no_volume_share == pytest.approx(3 / 7)
    assert quality.unchanged_share == pytest.approx(2 / 6)
    assert quality.warnings == []


def test_a_good_market_gives_no_warning() -> None:
    grid = to_grid(simulated_bars(2_000))
    assert measure_quality(grid, grid.index[-1].to_pydatetime() + timedelta(minutes=5)).warnings == []


def test_one_bar_can_be_measured() -> None:
    quality = measure_quality(grid_of([100.0]), NOON + timedelta(minutes=1))
    assert (quality.bars, quality.unchanged_share, quality.warnings) == (1, 0.0, [])


@pytest.mark.parametrize(("hours", "warned"), [(24, False), (25, True), (24 * 100, True)])
def test_old_bars_are_warned_of_after_a_day(hours: int, warned: bool) -> None:
    quality = measure_quality(grid_of([100.0, 101.0]), NOON + timedelta(hours=hours, minutes=2))
    assert quality.warnings == ([f"the newest bar is {hours / 24:,.1f} days old"] if warned else [])


@pytest.mark.parametrize(("carried", "warned"), [(6, False), (7, True)])
def test_a_market_that_hardly_trades_is_warned_of(carried: int, warned: bool) -> None:
    warnings = measure_quality(grid_of([100.0 + n for n in range(10)], carried), NOON).warnings
    assert warnings == (["70% of the minutes had no trade and carry the last close"] if warned else [])


@pytest.mark.parametrize(("unchanged", "warned"), [(7, False), (8, True)])
def test_a_price_that_hardly_moves_is_warned_of(unchanged: int, warned: bool) -> None:
    closes = [100.0] * (unchanged + 1) + [101.0 + n for n in range(10 - unchanged)]
    warnings = measure_quality(grid_of(closes), NOON).warnings
    assert warnings == (["the price did not move in 80% of the minutes"] if warned else [])


def test_every_warning_that_applies_is_given_and_none_twice() -> None:
    grid = grid_of([100.0] * 10, carried=10)
    for _ in range(2):
        assert len(measure_quality(grid, NOON + timedelta(days=9)).warnings) == 3
