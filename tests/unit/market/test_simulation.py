"""The simulated market: repeatable, shaped like a market, with what is said to be planted in it."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from hybrid_ml.market.bars import BAR_COLUMNS, clean_bars
from hybrid_ml.market.simulation import EPOCH, MOMENTUM_BARS, simulate_bars
from tests.simulated import moment


def minute_returns(momentum: float) -> np.ndarray:
    bars = simulate_bars(moment(30_000), bars=30_000, momentum=momentum, missing_share=0.0)
    return np.diff(np.log(bars["close"].to_numpy()))


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.corrcoef(first, second)[0, 1])


def test_a_longer_simulation_repeats_a_shorter_one_bar_by_bar() -> None:
    shorter = simulate_bars(moment(1_000), bars=5_000)
    longer = simulate_bars(moment(4_000), bars=5_000)
    assert len(longer) > len(shorter) > 900
    pd.testing.assert_frame_equal(longer.head(len(shorter)), shorter)


def test_fewer_bars_are_the_newest_of_more() -> None:
    many, few = (simulate_bars(moment(2_000), bars=count) for count in (1_500, 200))
    assert len(few) == 200
    pd.testing.assert_frame_equal(many.tail(200).reset_index(drop=True), few)


def test_the_seed_decides_everything() -> None:
    first, again, other = (simulate_bars(moment(500), bars=500, seed=seed) for seed in (3, 3, 4))
    pd.testing.assert_frame_equal(first, again)
    assert not np.isin(other["close"], first["close"]).any()


@pytest.mark.parametrize("seconds", [0, 1, 59])
def test_the_last_bar_has_closed_when_the_simulation_ends(seconds: int) -> None:
    until = EPOCH + timedelta(minutes=100, seconds=seconds)
    bars = simulate_bars(until, bars=1_000, missing_share=0.0)
    assert bars["time"].iloc[-1] == pd.Timestamp(EPOCH + timedelta(minutes=99))
    assert len(bars) == 100


@pytest.mark.parametrize("seed", [1, 7])
def test_every_simulated_row_is_a_good_bar(seed: int) -> None:
    bars = simulate_bars(moment(20_000), bars=20_000, seed=seed)
    assert list(bars.columns) == BAR_COLUMNS
    assert clean_bars(bars).reasons == {}


def test_the_missing_share_of_minutes_has_no_bar() -> None:
    assert len(simulate_bars(moment(20_000), bars=20_000, missing_share=0.1)) == pytest.approx(18_000, abs=150)
    assert len(simulate_bars(moment(20_000), bars=20_000, missing_share=0.0)) == 20_000


def test_with_sessions_bars_lie_in_trading_hours_on_weekdays_only() -> None:
    bars = simulate_bars(moment(21_000), bars=21_000, sessions=True, missing_share=0.0)
    local = bars["time"].dt.tz_convert("Asia/Kolkata")
    assert sorted(local.dt.day_of_week.unique()) == [0, 1, 2, 3, 4]
    assert f"{local.dt.time.min():%H:%M}" == "09:15"
    assert f"{local.dt.time.max():%H:%M}" == "15:29"
    assert set(local.dt.date.value_counts()) == {375}


@pytest.mark.parametrize("until", [EPOCH, datetime(2020, 1, 1, tzinfo=UTC)])
def test_nothing_can_be_simulated_before_the_market_began(until: datetime) -> None:
    with pytest.raises(ValueError, match="begins at 2024-01-01"):
        simulate_bars(until, bars=10)


def test_a_move_of_a_quarter_of_an_hour_tends_to_go_on_where_that_is_planted() -> None:
    found = {}
    for momentum in (0.0, 0.6):
        returns = minute_returns(momentum)
        before = np.convolve(returns, np.ones(MOMENTUM_BARS), "valid")[:-1]
        found[momentum] = correlation(np.sign(before), np.sign(returns[MOMENTUM_BARS:]))
    assert abs(found[0.0]) < 0.02
    assert found[0.6] > 0.05


def test_volatility_comes_in_clusters() -> None:
    size = np.abs(minute_returns(0.0))
    assert correlation(size[:-60], size[60:]) > 0.15
