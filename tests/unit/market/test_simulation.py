"""The simulated market: reproducible, realistic in shape, with the configured momentum."""

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


def test_longer_simulation_repeats_a_shorter_one() -> None:
    shorter = simulate_bars(moment(1_000), bars=5_000)
    longer = simulate_bars(moment(4_000), bars=5_000)
    assert len(longer) > len(shorter) > 900
    pd.testing.assert_frame_equal(longer.head(len(shorter)), shorter)


def test_fewer_bars_are_the_newest_of_more_bars() -> None:
    many, few = (simulate_bars(moment(2_000), bars=count) for count in (1_500, 200))
    assert len(few) == 200
    pd.testing.assert_frame_equal(many.tail(200).reset_index(drop=True), few)


def test_same_seed_gives_same_bars() -> None:
    first, again, other = (simulate_bars(moment(500), bars=500, seed=seed) for seed in (3, 3, 4))
    pd.testing.assert_frame_equal(first, again)
    assert not np.isin(other["close"], first["close"]).any()


@pytest.mark.parametrize("seconds", [0, 1, 59])
def test_last_simulated_bar_has_closed(seconds: int) -> None:
    until = EPOCH + timedelta(minutes=100, seconds=seconds)
    bars = simulate_bars(until, bars=1_000, missing_share=0.0)
    assert bars["time"].iloc[-1] == pd.Timestamp(EPOCH + timedelta(minutes=99))
    assert len(bars) == 100


@pytest.mark.parametrize("seed", [1, 7])
def test_every_simulated_row_is_a_valid_bar(seed: int) -> None:
    bars = simulate_bars(moment(20_000), bars=20_000, seed=seed)
    assert list(bars.columns) == BAR_COLUMNS
    assert clean_bars(bars).reasons == {}


def test_missing_share_of_minutes_has_no_bar() -> None:
    assert len(simulate_bars(moment(20_000), bars=20_000, missing_share=0.1)) == pytest.approx(18_000, abs=150)
    assert len(simulate_bars(moment(20_000), bars=20_000, missing_share=0.0)) == 20_000


def test_session_bars_are_in_trading_hours_on_weekdays() -> None:
    bars = simulate_bars(moment(21_000), bars=21_000, sessions=True, missing_share=0.0)
    local_times = bars["time"].dt.tz_convert("Asia/Kolkata")
    assert sorted(local_times.dt.day_of_week.unique()) == [0, 1, 2, 3, 4]
    assert f"{local_times.dt.time.min():%H:%M}" == "09:15"
    assert f"{local_times.dt.time.max():%H:%M}" == "15:29"
    assert set(local_times.dt.date.value_counts()) == {375}


@pytest.mark.parametrize("until", [EPOCH, datetime(2020, 1, 1, tzinfo=UTC)])
def test_simulation_before_its_epoch_is_refused(until: datetime) -> None:
    with pytest.raises(ValueError, match="begins at 2024-01-01"):
        simulate_bars(until, bars=10)


def test_momentum_correlates_past_and_next_returns() -> None:
    correlations = {}
    for momentum in (0.0, 0.6):
        returns = minute_returns(momentum)
        before = np.convolve(returns, np.ones(MOMENTUM_BARS), "valid")[:-1]
        correlations[momentum] = correlation(np.sign(before), np.sign(returns[MOMENTUM_BARS:]))
    assert abs(correlations[0.0]) < 0.02
    assert correlations[0.6] > 0.05


def test_volatility_is_autocorrelated() -> None:
    size = np.abs(minute_returns(0.0))
    assert correlation(size[:-60], size[60:]) > 0.15
