"""Simulated bars: a seeded market for demonstrations and tests, always marked as simulated.

Its known properties: volatility that clusters (an AR(1) log volatility with a
half-life of hours, and a daily rhythm) and a weak tendency of the price to
continue a move of the last quarter of an hour. The stream of random numbers starts at EPOCH, so a
longer simulation contains a shorter one bar by bar.
"""

from datetime import UTC, datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

SIMULATED_SYMBOL = "DEMO"
EPOCH = datetime(2024, 1, 1, tzinfo=UTC)
START_PRICE = 100.0
MINUTE_VOLATILITY = 5e-4
LOG_VOLATILITY_SPREAD = 0.7
VOLATILITY_HALF_LIFE_MINUTES = 240
MOMENTUM = 0.6
"""Share of the mean move of the last MOMENTUM_BARS minutes that the next minute is expected to repeat."""
MOMENTUM_BARS = 15
SESSION_OPEN_MINUTE, SESSION_CLOSE_MINUTE = 9 * 60 + 15 - 330, 15 * 60 + 30 - 330
"""With sessions: 09:15 to 15:30 at +05:30, in minutes of the UTC day, Monday to Friday."""


def simulate_bars(
    until: datetime,
    *,
    bars: int,
    seed: int = 7,
    sessions: bool = False,
    missing_share: float = 0.002,
    momentum: float = MOMENTUM,
) -> pd.DataFrame:
    """The last `bars` simulated bars closed before `until` (UTC), as BAR_COLUMNS.

    `missing_share` of the minutes had no trade and are left out, as an exchange would. With
    `sessions` only weekday sessions have bars. Raises ValueError when `until` is before EPOCH.
    """
    minutes = int((until - EPOCH).total_seconds() // 60)
    if minutes < 1:
        raise ValueError(f"the simulated market begins at {EPOCH:%Y-%m-%d}; {until:%Y-%m-%d} is before that")
    frame = _simulate(minutes, seed, momentum)
    keep = np.random.default_rng([seed, 3]).random(minutes) >= missing_share
    if sessions:
        minute_of_day = np.arange(minutes) % 1440
        weekday = frame["time"].dt.day_of_week.to_numpy() < 5
        keep &= weekday & (minute_of_day >= SESSION_OPEN_MINUTE) & (minute_of_day < SESSION_CLOSE_MINUTE)
    return frame[keep].tail(bars).reset_index(drop=True)


def _simulate(minutes: int, seed: int, momentum: float) -> pd.DataFrame:
    volatility = _volatility(minutes, np.random.default_rng([seed, 1]))
    shocks = np.random.default_rng([seed, 0]).standard_normal(minutes) * volatility
    # Each return adds a share of the mean of the earlier returns: an all-pole filter.
    returns = _filtered(shocks, [momentum / MOMENTUM_BARS] * MOMENTUM_BARS)
    log_close = np.log(START_PRICE) + np.cumsum(returns - 0.5 * volatility**2)
    log_open = np.concatenate([[np.log(START_PRICE)], log_close[:-1]])
    shape = np.random.default_rng([seed, 2])
    wicks = np.abs(shape.standard_normal((minutes, 2))) * volatility[:, None] * 0.5
    return pd.DataFrame(
        {
            "time": pd.date_range(EPOCH, periods=minutes, freq="min", unit="us"),
            "open": np.exp(log_open),
            "high": np.exp(np.maximum(log_open, log_close) + wicks[:, 0]),
            "low": np.exp(np.minimum(log_open, log_close) - wicks[:, 1]),
            "close": np.exp(log_close),
            "volume": np.exp(np.random.default_rng([seed, 4]).standard_normal(minutes) * 0.6)
            * (volatility / MINUTE_VOLATILITY)
            * 10,
        }
    )


def _volatility(minutes: int, random: np.random.Generator) -> NDArray[np.float64]:
    """Standard deviation of each minute's return, (minutes,), log-normal around MINUTE_VOLATILITY."""
    persistence = 0.5 ** (1 / VOLATILITY_HALF_LIFE_MINUTES)
    innovations = random.standard_normal(minutes) * LOG_VOLATILITY_SPREAD * np.sqrt(1 - persistence**2)
    clustered = _filtered(innovations, [persistence])
    rhythm = 0.3 * np.sin(2 * np.pi * (np.arange(minutes) % 1440) / 1440)
    return MINUTE_VOLATILITY * np.exp(clustered + rhythm)


def _filtered(shocks: NDArray[np.float64], weights: list[float]) -> NDArray[np.float64]:
    """An autoregressive series, (n,): each value is its shock plus `weights` times those before it, newest first."""
    from scipy.signal import lfilter

    return np.asarray(lfilter([1.0], [1.0, *(-weight for weight in weights)], shocks), dtype=np.float64)
