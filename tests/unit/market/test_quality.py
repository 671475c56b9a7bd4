"""Data quality: counts over a range of bars, and warnings."""

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


def test_quality_counts_equal_the_bars() -> None:
    bars = bars_at([0, 1, 2, 5, 60])
    bars.loc[1, "volume"] = 0.0
    quality = measure_quality(to_grid(bars), NOON + timedelta(minutes=71))
    assert (quality.bars, quality.sessions, quality.age_minutes) == (7, 2, 10.0)
    assert (quality.first, quality.last) == (NOON, NOON + timedelta(minutes=60))
    assert quality.carried_share == pytest.approx(2 / 7)
    assert quality.no_volume_share == pytest.approx(3 / 7)
    assert quality.unchanged_share == pytest.approx(2 / 6)
    assert quality.warnings == []


def test_good_bars_give_no_warning() -> None:
    grid = to_grid(simulated_bars(2_000))
    assert measure_quality(grid, grid.index[-1].to_pydatetime() + timedelta(minutes=5)).warnings == []


def test_quality_of_a_single_bar_can_be_measured() -> None:
    quality = measure_quality(grid_of([100.0]), NOON + timedelta(minutes=1))
    assert (quality.bars, quality.unchanged_share, quality.warnings) == (1, 0.0, [])


@pytest.mark.parametrize(("hours", "has_warning"), [(24, False), (25, True), (24 * 100, True)])
def test_bars_older_than_a_day_give_a_warning(hours: int, has_warning: bool) -> None:
    quality = measure_quality(grid_of([100.0, 101.0]), NOON + timedelta(hours=hours, minutes=2))
    assert quality.warnings == ([f"the newest bar is {hours / 24:,.1f} days old"] if has_warning else [])


@pytest.mark.parametrize(("carried", "has_warning"), [(6, False), (7, True)])
def test_mostly_missing_minutes_give_a_warning(carried: int, has_warning: bool) -> None:
    warnings = measure_quality(grid_of([100.0 + n for n in range(10)], carried), NOON).warnings
    assert warnings == (["70% of the minutes had no trade and repeat the last close"] if has_warning else [])


@pytest.mark.parametrize(("unchanged", "has_warning"), [(7, False), (8, True)])
def test_mostly_unchanged_prices_give_a_warning(unchanged: int, has_warning: bool) -> None:
    closes = [100.0] * (unchanged + 1) + [101.0 + n for n in range(10 - unchanged)]
    warnings = measure_quality(grid_of(closes), NOON).warnings
    assert warnings == (["the price did not move in 80% of the minutes"] if has_warning else [])


def test_every_applicable_warning_is_given_once() -> None:
    grid = grid_of([100.0] * 10, carried=10)
    for _ in range(2):
        assert len(measure_quality(grid, NOON + timedelta(days=9)).warnings) == 3
