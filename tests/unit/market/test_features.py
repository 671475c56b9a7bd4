"""Features: causal, with a bounded look-back, within one session, and equal to plain formulas."""

from collections.abc import Callable
from math import cos, isnan, log, nan, pi, sin, sqrt

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybrid_ml.market.bars import PRICE_COLUMNS, to_grid
from hybrid_ml.market.features import FEATURE_NAMES, LOOK_BACK_BARS, make_features, mirror
from tests.simulated import bars_with_holes, hand_made_bars, perturbed, simulated_bars, wavy_grid

MARKETS: dict[str, Callable[[], pd.DataFrame]] = {
    "without breaks": lambda: simulated_bars(3_600),
    "with sessions": lambda: simulated_bars(11_500, sessions=True),
    "with long gaps": lambda: bars_with_holes(4_200, {1_300: 45, 2_900: 31, 3_950: 90}),
    "with short gaps": lambda: bars_with_holes(3_800, {at: 1 + at % 30 for at in range(200, 3_700, 70)}),
}


@pytest.fixture(scope="module", params=MARKETS)
def bars(request: pytest.FixtureRequest) -> pd.DataFrame:
    return MARKETS[request.param]()


@pytest.fixture(scope="module")
def grid(bars: pd.DataFrame) -> pd.DataFrame:
    return to_grid(bars)


@pytest.fixture(scope="module")
def features(grid: pd.DataFrame) -> np.ndarray:
    return make_features(grid).to_numpy()


def assert_same_bits(actual: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_array_equal(actual, expected, strict=True)


def test_features_are_35_to_60_named_float32_columns(grid: pd.DataFrame) -> None:
    made = make_features(grid)
    assert 35 <= len(FEATURE_NAMES) <= 60
    assert tuple(made.columns) == FEATURE_NAMES
    assert len(set(FEATURE_NAMES)) == len(FEATURE_NAMES)
    assert set(made.dtypes) == {np.dtype(np.float32)}
    pd.testing.assert_index_equal(made.index, grid.index)


def test_every_feature_has_values_and_varies() -> None:
    made = make_features(to_grid(simulated_bars(1_600)))
    for name in FEATURE_NAMES:
        assert made[name].iloc[LOOK_BACK_BARS:].notna().any(), name
        assert made[name].nunique() > 1, name


@pytest.mark.parametrize("cut", [5, 481, 1_700, -2])
def test_later_bars_change_no_feature(grid: pd.DataFrame, features: np.ndarray, cut: int) -> None:
    cut %= len(grid)
    later = perturbed(grid, slice(cut + 1, None))
    assert not np.array_equal(make_features(later).to_numpy()[cut + 1 :], features[cut + 1 :], equal_nan=True)
    assert_same_bits(make_features(later).to_numpy()[: cut + 1], features[: cut + 1])
    assert_same_bits(make_features(grid.iloc[: cut + 1]).to_numpy(), features[: cut + 1])


def test_later_session_break_changes_no_feature(bars: pd.DataFrame, features: np.ndarray) -> None:
    """Bars missing after the cut must not change any row before it."""
    cut = 1_000
    with_gap = to_grid(bars.drop(index=bars.index[cut + 1 : cut + 60]))
    rows_before = int((with_gap.index <= bars["time"].iloc[cut]).sum())
    assert_same_bits(make_features(with_gap).to_numpy()[:rows_before], features[:rows_before])


def test_last_1500_bars_give_the_same_row_as_the_full_history(bars: pd.DataFrame) -> None:
    for end in range(len(bars) - 17, len(bars) + 1):
        history = bars.iloc[:end]
        full = make_features(to_grid(history)).to_numpy()
        recent = make_features(to_grid(history.tail(1_500).reset_index(drop=True))).to_numpy()
        assert_same_bits(recent[-1], full[-1])


def test_rows_with_full_look_back_do_not_depend_on_the_start(grid: pd.DataFrame, features: np.ndarray) -> None:
    for start in (1, 7, 64, 500, 1_021):
        part = make_features(grid.iloc[start:]).to_numpy()
        assert_same_bits(part[LOOK_BACK_BARS:], features[start + LOOK_BACK_BARS :])


@pytest.mark.parametrize("row", [480, 777, 1_500, -1])
def test_bars_older_than_480_change_no_feature(grid: pd.DataFrame, features: np.ndarray, row: int) -> None:
    row %= len(grid)
    older = perturbed(grid, slice(0, row - LOOK_BACK_BARS + 1))
    older["session"] = grid["session"] + (np.arange(len(grid)) > row - LOOK_BACK_BARS)
    assert_same_bits(make_features(older).to_numpy()[row], features[row])


def test_oldest_bar_of_the_look_back_is_used() -> None:
    grid = to_grid(simulated_bars(1_200))
    row = 1_000
    oldest = row - LOOK_BACK_BARS + 1
    perturbed_row = make_features(perturbed(grid, slice(oldest, oldest + 1))).iloc[row]
    changed = [name for name in FEATURE_NAMES if perturbed_row[name] != make_features(grid).iloc[row][name]]
    assert changed == ["log_volatility_479", "volatility_ratio_60_479"]


@pytest.mark.parametrize("market", ["with sessions", "with long gaps"])
def test_no_feature_window_crosses_a_session_break(market: str) -> None:
    grid = to_grid(MARKETS[market]())
    features = make_features(grid).to_numpy()
    starts = np.flatnonzero(np.diff(grid["session"]) != 0) + 1
    assert len(starts) >= 3
    for start in starts:
        assert_same_bits(make_features(perturbed(grid, slice(0, start))).to_numpy()[start:], features[start:])
        assert_same_bits(make_features(grid.iloc[start:]).to_numpy(), features[start:])


def test_feature_is_nan_until_its_window_is_full() -> None:
    grid = to_grid(bars_with_holes(1_600, {700: 40}))
    made = make_features(grid)
    starts = [0, int(np.flatnonzero(np.diff(grid["session"]))[0]) + 1]
    assert starts[1] > 600
    bars_needed = {
        "return_1": 61,  # measured in units of the volatility of 60 returns
        "return_240": 241,
        "log_volatility_5": 6,
        "log_volatility_479": 480,
        "log_range_10": 10,
        "stochastic_60": 60,
        "relative_strength_14": 15,
        "efficiency_30": 31,
        "zscore_20": 20,
        "volume_zscore_60": 60,
        "volume_ratio_5_60": 60,
        "signed_volume_15": 16,
        "traded_share_30": 30,
        "autocorrelation_30": 32,
        "skewness_60": 61,
    }
    for start in starts:
        for name, bars_before in bars_needed.items():
            is_known = made[name].iloc[start : start + 481].notna().to_numpy()
            assert not is_known[: bars_before - 1].any(), name
            assert is_known[bars_before - 1 :].all(), name


def test_session_bars_are_counted_up_to_the_look_back() -> None:
    grid = to_grid(bars_with_holes(1_500, {600: 40}))
    session_bars = make_features(grid)["session_bars"]
    start = int(np.flatnonzero(np.diff(grid["session"]))[0]) + 1
    assert session_bars.iloc[:481].tolist() == [*range(480), 479]
    assert session_bars.iloc[start : start + 3].tolist() == [0, 1, 2]


class ByHand:
    """Some features of a grid, computed bar by bar with `math` only."""

    def __init__(self, grid: pd.DataFrame) -> None:
        self.open, self.high, self.low, self.close = (grid[column].tolist() for column in PRICE_COLUMNS)
        self.volume, self.session, self.times = grid["volume"].tolist(), grid["session"].tolist(), list(grid.index)

    def inside(self, row: int, bars: int) -> bool:
        """Whether the `bars` bars up to `row` are in its session."""
        return row - bars + 1 >= 0 and self.session[row - bars + 1] == self.session[row]

    def change(self, row: int) -> float:
        return log(self.close[row] / self.close[row - 1]) if self.inside(row, 2) else nan

    def changes(self, row: int, bars: int) -> list[float]:
        return [self.change(r) if r > 0 else nan for r in range(row - bars + 1, row + 1)]

    def volatility(self, row: int, bars: int) -> float:
        return sqrt(sum(c * c for c in self.changes(row, bars)) / bars)

    def return_over(self, row: int, bars: int) -> float:
        if not self.inside(row, bars + 1):
            return nan
        return log(self.close[row] / self.close[row - bars]) / (self.volatility(row, 60) * sqrt(bars))

    def log_range(self, row: int, bars: int) -> float:
        if not self.inside(row, bars):
            return nan
        return log(sum(log(self.high[r] / self.low[r]) for r in range(row - bars + 1, row + 1)) / bars)

    def stochastic(self, row: int, bars: int) -> float:
        if not self.inside(row, bars):
            return nan
        top, bottom = max(self.high[row - bars + 1 : row + 1]), min(self.low[row - bars + 1 : row + 1])
        return log(self.close[row] / bottom) / log(top / bottom)

    def relative_strength(self, row: int, bars: int) -> float:
        changes = self.changes(row, bars)
        return sum(c if isnan(c) else max(c, 0.0) for c in changes) / sum(abs(c) for c in changes)

    def efficiency(self, row: int, bars: int) -> float:
        return sum(self.changes(row, bars)) / sum(abs(c) for c in self.changes(row, bars))

    def zscore(self, values: list[float], row: int, bars: int) -> float:
        if not self.inside(row, bars):
            return nan
        window = values[row - bars + 1 : row + 1]
        mean = sum(window) / bars
        return (window[-1] - mean) / sqrt(sum((value - mean) ** 2 for value in window) / bars)

    def volume_ratio(self, row: int) -> float:
        if not self.inside(row, 60):
            return nan
        return (sum(self.volume[row - 4 : row + 1]) / 5) / (sum(self.volume[row - 59 : row + 1]) / 60)

    def signed_volume(self, row: int, bars: int) -> float:
        window = range(row - bars + 1, row + 1)
        signs = [nan if isnan(c) else (c > 0) - (c < 0) for c in self.changes(row, bars)]
        return sum(s * self.volume[r] for s, r in zip(signs, window, strict=True)) / sum(self.volume[r] for r in window)

    def traded_share(self, row: int, bars: int) -> float:
        if not self.inside(row, bars):
            return nan
        return sum(self.volume[r] > 0 for r in range(row - bars + 1, row + 1)) / bars

    def autocorrelation(self, row: int, bars: int) -> float:
        now, before = self.changes(row, bars), self.changes(row - 1, bars)
        return sum(a * b for a, b in zip(now, before, strict=True)) / sum(c * c for c in now)

    def skewness(self, row: int) -> float:
        cubes = sum(c**3 for c in self.changes(row, 60)) / 60
        return (abs(cubes) ** (1 / 3) if cubes > 0 else -(abs(cubes) ** (1 / 3))) / self.volatility(row, 60)

    def minute_angle(self, row: int) -> float:
        return 2 * pi * (self.times[row].hour * 60 + self.times[row].minute) / 1440

    def all(self, row: int) -> dict[str, float]:
        """All features checked here, NaN if the window is not full."""
        spread = log(self.high[row] / self.low[row])
        levels, log_volume = [log(c) for c in self.close], [log(1 + v) for v in self.volume]
        return {
            "log_volatility_15": log(self.volatility(row, 15)),
            "log_volatility_479": log(self.volatility(row, 479)),
            "volatility_ratio_5_60": self.volatility(row, 5) / self.volatility(row, 60),
            "return_1": self.return_over(row, 1),
            "return_30": self.return_over(row, 30),
            "return_240": self.return_over(row, 240),
            "range_1": spread / self.volatility(row, 60),
            "log_range_10": self.log_range(row, 10),
            "body_share": log(self.close[row] / self.open[row]) / spread,
            "close_in_bar": log(self.close[row] / self.low[row]) / spread,
            "stochastic_15": self.stochastic(row, 15),
            "stochastic_240": self.stochastic(row, 240),
            "relative_strength_14": self.relative_strength(row, 14),
            "efficiency_30": self.efficiency(row, 30),
            "zscore_60": self.zscore(levels, row, 60),
            "volume_zscore_60": self.zscore(log_volume, row, 60),
            "volume_ratio_5_60": self.volume_ratio(row),
            "signed_volume_15": self.signed_volume(row, 15),
            "traded_share_30": self.traded_share(row, 30),
            "autocorrelation_120": self.autocorrelation(row, 120),
            "skewness_60": self.skewness(row),
            "day_sine": sin(self.minute_angle(row)),
            "day_cosine": cos(self.minute_angle(row)),
            "weekday": float(self.times[row].weekday()),
        }


@pytest.mark.parametrize("row", [485, 600, 701, 725, 1_000, 1_300, 1_399])
def test_features_equal_plain_loops(row: int) -> None:
    """The gap starts a session at row 701, so these rows have full, partly full and empty windows."""
    grid = to_grid(bars_with_holes(1_500, {699: 60}))
    assert grid["session"].iloc[[690, 725]].tolist() == [0, 1]
    made = make_features(grid).iloc[row]
    for name, expected in ByHand(grid).all(row).items():
        assert made[name] == pytest.approx(expected, rel=2e-5, abs=2e-6, nan_ok=True), name


# Computed once by the plain loops above on `wavy_grid(600)`.
FROZEN = {
    "log_volatility_15": -5.34770438,
    "log_volatility_479": -5.32445933,
    "volatility_ratio_5_60": 0.925366432,
    "return_1": -0.569801863,
    "return_30": -0.570042674,
    "return_240": 0.789149944,
    "range_1": 1.29224135,
    "log_range_10": -5.02412979,
    "body_share": -0.440940743,
    "close_in_bar": 0.239836401,
    "stochastic_15": 0.079974913,
    "stochastic_240": 0.762399426,
    "relative_strength_14": 0.341736767,
    "efficiency_30": -0.113547289,
    "zscore_60": -0.547588035,
    "volume_zscore_60": 0.594253089,
    "volume_ratio_5_60": 0.896385542,
    "signed_volume_15": -0.128205128,
    "traded_share_30": 0.9,
    "autocorrelation_120": 0.769936185,
    "skewness_60": 0.489151229,
    "day_sine": -0.503773977,
    "day_cosine": 0.863835505,
    "weekday": 1,
}


@pytest.mark.parametrize("name", FROZEN)
def test_features_of_a_fixed_grid_equal_frozen_values(name: str) -> None:
    assert make_features(wavy_grid(600))[name].iloc[-1] == pytest.approx(FROZEN[name], rel=2e-5)


def test_constant_prices_give_nan_ratios_and_no_infinity() -> None:
    made = make_features(to_grid(hand_made_bars([100.0] * 700, volume=0.0)))
    unknown = {name for name in FEATURE_NAMES if made[name].isna().all()}
    assert {"log_volatility_60", "return_10", "stochastic_15", "zscore_20", "volume_zscore_60"} <= unknown
    assert np.isfinite(made.drop(columns=sorted(unknown)).iloc[LOOK_BACK_BARS:].to_numpy()).all()
    assert set(made["traded_share_30"].iloc[29:]) == {0.0}


@given(
    closes=st.lists(st.sampled_from([1e-8, 1.0, 1.0000001, 3.0, 1e7]), min_size=20, max_size=90),
    volume=st.sampled_from([0.0, 1e-9, 5.0, 1e15]),
)
def test_features_are_never_infinite(closes: list[float], volume: float) -> None:
    assert not np.isinf(make_features(to_grid(hand_made_bars(closes, volume=volume))).to_numpy()).any()


def test_price_level_does_not_change_features() -> None:
    grid = to_grid(simulated_bars(1_000))
    scaled = grid.copy()
    scaled[PRICE_COLUMNS] *= 4_096.0
    np.testing.assert_allclose(
        make_features(scaled).to_numpy(), make_features(grid).to_numpy(), rtol=1e-4, atol=1e-5, equal_nan=True
    )


def test_time_features_use_utc() -> None:
    made = make_features(to_grid(hand_made_bars([100.0, 101.0])))
    assert made["day_cosine"].iloc[0] == pytest.approx(-1.0)
    assert made["day_sine"].iloc[1] == pytest.approx(sin(pi + 2 * pi / 1440), abs=1e-6)
    assert made["weekday"].tolist() == [1.0, 1.0]  # 5 March 2024 was a Tuesday


def test_making_features_does_not_change_the_grid() -> None:
    grid = to_grid(simulated_bars(600))
    before = grid.copy(deep=True)
    make_features(grid)
    pd.testing.assert_frame_equal(grid, before)


def test_mirrored_row_equals_features_of_reciprocal_prices(grid: pd.DataFrame, features: np.ndarray) -> None:
    inverted = grid.copy()
    inverted[["open", "close"]] = 1 / grid[["open", "close"]]
    inverted["high"], inverted["low"] = 1 / grid["low"], 1 / grid["high"]
    reciprocal = make_features(inverted).to_numpy()
    np.testing.assert_allclose(mirror(features), reciprocal, rtol=2e-3, atol=2e-3)
    assert mirror(features).dtype == np.float32
    changes = np.nanmax(np.abs(reciprocal - features), axis=0) > 0.1
    directed = ("return", "body", "close_in", "stoch", "relative", "effic", "zscore", "signed", "skew")
    assert [name for name, changed in zip(FEATURE_NAMES, changes, strict=True) if changed] == [
        name for name in FEATURE_NAMES if name.startswith(directed)
    ]


def test_mirroring_twice_restores_the_row(features: np.ndarray) -> None:
    np.testing.assert_allclose(mirror(mirror(features)), features, rtol=1e-5, atol=1e-6)
