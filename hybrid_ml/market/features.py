"""Causal features of one-minute bars, each a function of at most the last LOOK_BACK_BARS bars.

Every window is inside one session; a window that would cross a session break is NaN,
which LightGBM handles itself. The features are scale-free: returns are in units of
recent volatility and volume in units of its own recent average, so one model can be used for any price.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hybrid_ml.market.bars import PRICE_COLUMNS
from hybrid_ml.market.rolling import FloatArray, Rolling, shift

LOOK_BACK_BARS = 480
RETURN_BARS = (1, 2, 3, 5, 10, 15, 30, 60, 120, 240)
VOLATILITY_BARS = (5, 15, 30, 60, 120, 240, 479)
STOCHASTIC_BARS = (15, 60, 240)
STRENGTH_BARS = (7, 14, 30)
EFFICIENCY_BARS = (10, 30, 60)
ZSCORE_BARS = (20, 60, 240)
VOLUME_BARS = (60, 240)
TINY = 1e-12
"""A volatility, a range or a volume below this counts as zero: a ratio with it as denominator is NaN."""


def make_features(grid: pd.DataFrame) -> pd.DataFrame:
    """Features of every bar on the grid, (n, FEATURE_NAMES) float32, indexed by time.

    `grid` is what `to_grid` returns. NaN where a window is not yet full within the session, or
    where the denominator of a ratio is zero (constant prices, no volume).
    """
    in_session = bars_into_session(grid["session"].to_numpy())
    log_close = np.log(grid["close"].to_numpy())
    change = within(log_close - shift(log_close, 1), in_session, 1)
    features: dict[str, FloatArray] = {}
    with np.errstate(invalid="ignore", divide="ignore"):
        volatility = _volatility(features, change)
        _returns(features, log_close, in_session, volatility)
        _ranges(features, grid, in_session, volatility)
        _oscillators(features, grid, change, log_close, in_session)
        _volume(features, grid, change, in_session)
        _shape(features, change)
    _clock(features, grid.index, in_session)
    return pd.DataFrame(features, index=grid.index).astype(np.float32)


def bars_into_session(session: NDArray[np.int64]) -> NDArray[np.int64]:
    """The number of known bars of the same session before each bar, (n,) int64."""
    starts = np.flatnonzero(np.diff(session, prepend=session[:1] - 1))
    return np.arange(len(session)) - np.repeat(starts, np.diff(starts, append=len(session)))


def within(values: FloatArray, in_session: NDArray[np.int64], bars_back: int) -> FloatArray:
    """NaN wherever `bars_back` bars earlier is outside the session."""
    return np.where(in_session >= bars_back, values, np.nan)


def ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    return np.where(denominator > TINY, numerator / denominator, np.nan)


def _volatility(features: dict[str, FloatArray], change: FloatArray) -> dict[int, FloatArray]:
    """Root mean square of one-minute log returns; the NaN at a session's first bar keeps windows inside it."""
    squares = Rolling(change * change)
    volatility = {bars: np.sqrt(squares.mean(bars)) for bars in VOLATILITY_BARS}
    for bars, value in volatility.items():
        features[f"log_volatility_{bars}"] = np.where(value > TINY, np.log(value), np.nan)
    features["volatility_ratio_5_60"] = ratio(volatility[5], volatility[60])
    features["volatility_ratio_15_120"] = ratio(volatility[15], volatility[120])
    features["volatility_ratio_60_479"] = ratio(volatility[60], volatility[479])
    return volatility


def _returns(
    features: dict[str, FloatArray],
    log_close: FloatArray,
    in_session: NDArray[np.int64],
    volatility: dict[int, FloatArray],
) -> None:
    """Log returns over several horizons in units of the hour's volatility scaled to that horizon."""
    for bars in RETURN_BARS:
        move = within(log_close - shift(log_close, bars), in_session, bars)
        features[f"return_{bars}"] = ratio(move, volatility[60] * np.sqrt(bars))


def _ranges(
    features: dict[str, FloatArray],
    grid: pd.DataFrame,
    in_session: NDArray[np.int64],
    volatility: dict[int, FloatArray],
) -> None:
    """High-low range of the bar and its recent mean (Parkinson 1980 measures volatility by it)."""
    opened, high, low, close = (np.log(grid[column].to_numpy()) for column in PRICE_COLUMNS)
    spread = high - low
    ranges = Rolling(spread)
    features["range_1"] = ratio(spread, volatility[60])
    for bars in (10, 60):
        mean_range = within(ranges.mean(bars), in_session, bars - 1)
        features[f"log_range_{bars}"] = np.where(mean_range > TINY, np.log(mean_range), np.nan)
    features["body_share"] = ratio(close - opened, spread)
    features["close_in_bar"] = ratio(close - low, spread)


def _oscillators(
    features: dict[str, FloatArray],
    grid: pd.DataFrame,
    change: FloatArray,
    log_close: FloatArray,
    in_session: NDArray[np.int64],
) -> None:
    """Stochastic %K (Lane), relative strength over plain sums (Cutler), Kaufman's efficiency ratio, z-scores."""
    highs, lows = Rolling(np.log(grid["high"].to_numpy())), Rolling(np.log(grid["low"].to_numpy()))
    for bars in STOCHASTIC_BARS:
        top, bottom = highs.maximum(bars), lows.minimum(bars)
        position = ratio(log_close - bottom, top - bottom)
        features[f"stochastic_{bars}"] = within(position, in_session, bars - 1)
    gains, moves = Rolling(np.maximum(change, 0.0)), Rolling(np.abs(change))
    for bars in STRENGTH_BARS:
        features[f"relative_strength_{bars}"] = ratio(gains.sum(bars), moves.sum(bars))
    for bars in EFFICIENCY_BARS:
        features[f"efficiency_{bars}"] = ratio(log_close - shift(log_close, bars), moves.sum(bars))
    levels = Rolling(log_close)
    for bars in ZSCORE_BARS:
        mean, deviation = levels.mean_and_deviation(bars)
        features[f"zscore_{bars}"] = within(ratio(log_close - mean, deviation), in_session, bars - 1)


def _volume(
    features: dict[str, FloatArray], grid: pd.DataFrame, change: FloatArray, in_session: NDArray[np.int64]
) -> None:
    """Traded volume relative to its recent average, its direction, and how often there was none."""
    volume = grid["volume"].to_numpy()
    log_volume = np.log1p(volume)
    volumes, log_volumes = Rolling(volume), Rolling(log_volume)
    for bars in VOLUME_BARS:
        mean, deviation = log_volumes.mean_and_deviation(bars)
        features[f"volume_zscore_{bars}"] = within(ratio(log_volume - mean, deviation), in_session, bars - 1)
    features["volume_ratio_5_60"] = within(ratio(volumes.mean(5), volumes.mean(60)), in_session, 59)
    signed = Rolling(np.sign(change) * volume)
    for bars in (15, 60):
        features[f"signed_volume_{bars}"] = ratio(signed.sum(bars), volumes.sum(bars))
    features["traded_share_30"] = within(Rolling((volume > 0).astype(np.float64)).mean(30), in_session, 29)


def _shape(features: dict[str, FloatArray], change: FloatArray) -> None:
    """Lag-one autocorrelation of one-minute returns (bounce or trend), and the cube root of their skewness."""
    products, squares, cubes = (
        Rolling(change * shift(change, 1)),
        Rolling(change * change),
        Rolling(change * change * change),
    )
    for bars in (30, 120):
        features[f"autocorrelation_{bars}"] = ratio(products.sum(bars), squares.sum(bars))
    features["skewness_60"] = ratio(np.cbrt(cubes.mean(60)), np.sqrt(squares.mean(60)))


def _clock(features: dict[str, FloatArray], times: pd.Index, in_session: NDArray[np.int64]) -> None:
    """Time of day and of week in UTC, and bars since the session began (capped at the look-back)."""
    stamps = pd.DatetimeIndex(times)
    angle = 2 * np.pi * (stamps.hour.to_numpy() * 60 + stamps.minute.to_numpy()) / 1440
    features["day_sine"], features["day_cosine"] = np.sin(angle), np.cos(angle)
    features["weekday"] = stamps.day_of_week.to_numpy().astype(np.float64)
    features["session_bars"] = np.minimum(in_session, LOOK_BACK_BARS - 1).astype(np.float64)


def _feature_names() -> tuple[str, ...]:
    """Column order of `make_features`, derived from the function itself so that the two cannot differ."""
    bar = pd.DataFrame(
        {"open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0, "volume": 0.0, "session": 0, "carried": False},
        index=pd.DatetimeIndex(["2020-01-01T00:00:00Z"], name="time"),
    )
    return tuple(make_features(bar).columns)


FEATURE_NAMES = _feature_names()

_DIRECTED = ("return_", "body_share", "efficiency_", "zscore_", "signed_volume_", "skewness_")
_SHARES_OF_THE_WAY_UP = ("close_in_bar", "stochastic_", "relative_strength_")
_SIGN = np.array([-1 if name.startswith(_DIRECTED + _SHARES_OF_THE_WAY_UP) else 1 for name in FEATURE_NAMES])
_OFFSET = np.array([name.startswith(_SHARES_OF_THE_WAY_UP) for name in FEATURE_NAMES])


def mirror(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """`features` (n, FEATURE_NAMES) as they would be with the reciprocal of every price: up becomes down.

    Directed ones change their sign, shares of the way up become shares of the way down, the others
    (volatility, volume, clock) stay. NaN stays NaN.
    """
    mirrored: NDArray[np.float32] = (_OFFSET + _SIGN * features).astype(np.float32)
    return mirrored
