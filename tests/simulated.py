"""Seeded simulated markets and hand-made bars for all tests. No data of a real market."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from hybrid_ml.learning.rows import Rows, Window, make_window
from hybrid_ml.market.bars import MAX_GAP_MINUTES, PRICE_COLUMNS, VALUE_COLUMNS, clean_bars, to_grid
from hybrid_ml.market.simulation import EPOCH, simulate_bars

SEED = 7
NOON = datetime(2024, 3, 5, 12, tzinfo=UTC)
PREDICTABLE_UNTIL = datetime(2024, 3, 5, tzinfo=UTC)
"""A base trained on the 9,000 bars before is right in three quarters of the newest rows."""


def moment(minutes: int) -> datetime:
    """The moment `minutes` after the simulated market began."""
    return EPOCH + timedelta(minutes=minutes)


def simulated_bars(minutes: int, *, seed: int = SEED, sessions: bool = False) -> pd.DataFrame:
    """All clean bars of the simulated market's first `minutes`."""
    return clean_bars(simulate_bars(moment(minutes), bars=minutes, seed=seed, sessions=sessions)).bars


def bars_until(until: datetime, count: int, **options: Any) -> pd.DataFrame:
    """`count` clean bars, the newest closed at `until` (a whole minute), with the prices of the same period always.

    The simulated market of today may be one whose model is poor, and that of tomorrow another one.
    """
    bars = clean_bars(simulate_bars(PREDICTABLE_UNTIL, bars=count, **options)).bars
    return bars.assign(time=bars["time"] + (pd.Timestamp(until) - pd.Timestamp(PREDICTABLE_UNTIL)))


def bars_with_holes(minutes: int, holes: dict[int, int], *, seed: int = SEED) -> pd.DataFrame:
    """Simulated bars without `length` bars from position `start` on, for each start and length in `holes`."""
    bars = simulated_bars(minutes, seed=seed)
    keep = np.ones(len(bars), dtype=bool)
    for start, length in holes.items():
        keep[start : start + length] = False
    return bars[keep].reset_index(drop=True)


def simulated_window(minutes: int, *, seed: int = SEED, sessions: bool = False) -> Window:
    """The rows of the simulated market's first `minutes`."""
    return make_window(simulated_bars(minutes, seed=seed, sessions=sessions), MAX_GAP_MINUTES)


def hand_made_bars(closes: list[float], *, start: datetime = NOON, volume: float = 1.0) -> pd.DataFrame:
    """One bar a minute from `start` on; open, high and low are the close."""
    frame = pd.DataFrame({"time": pd.date_range(start, periods=len(closes), freq="min", unit="us")})
    for column in PRICE_COLUMNS:
        frame[column] = np.asarray(closes, dtype=np.float64)
    frame["volume"] = volume
    return frame


def bars_at(minutes: list[int]) -> pd.DataFrame:
    """A bar at each of these minutes after NOON, all its numbers different."""
    count = len(minutes)
    times = pd.Timestamp(NOON) + pd.to_timedelta(np.asarray(minutes, dtype=np.int64), unit="min")
    frame = pd.DataFrame({"time": times.as_unit("us")})
    frame["open"] = 100.0 + np.arange(count)
    frame["high"] = frame["open"] + 0.7
    frame["low"] = frame["open"] - 0.6
    frame["close"] = frame["open"] + 0.3
    frame["volume"] = 1.0 + np.arange(count)
    return frame


def wavy_grid(count: int) -> pd.DataFrame:
    """A grid made by formulas, without random numbers, so that frozen values hold on any machine."""
    step = np.arange(count)
    close = 100.0 * np.exp(0.01 * np.sin(0.7 * step) + 0.004 * np.cos(0.11 * step) + 0.0003 * step)
    frame = pd.DataFrame({"time": pd.date_range(NOON, periods=count, freq="min", unit="us")})
    frame["open"] = np.concatenate([[100.0], close[:-1]])
    frame["close"] = close
    frame["high"] = frame[["open", "close"]].max(axis=1) * (1 + 0.0004 * (1 + step % 5))
    frame["low"] = frame[["open", "close"]].min(axis=1) * (1 - 0.0003 * (1 + step % 7))
    frame["volume"] = np.where(step % 13 == 0, 0.0, 10.0 + step * 37 % 11)
    return to_grid(frame)


def perturbed(grid: pd.DataFrame, where: slice, *, seed: int = 1) -> pd.DataFrame:
    """`grid` with other prices and volumes at the positions in `where`."""
    changed = grid.copy()
    count = len(changed.iloc[where])
    factor = np.exp(np.random.default_rng(seed).normal(0.2, 0.3, (count, 1)))
    for column in VALUE_COLUMNS:
        position = changed.columns.get_loc(column)
        changed.iloc[where, position] = changed.iloc[where, position].to_numpy() * factor[:, 0]
    return changed


def rows_at(minutes: list[int]) -> Rows:
    """Rows at these minutes after NOON with one arbitrary feature, all labelled."""
    times = (pd.Timestamp(NOON) + pd.to_timedelta(np.asarray(minutes, dtype=np.int64), unit="min")).as_unit("us")
    values = np.arange(len(minutes), dtype=np.float64)
    return Rows(values.astype(np.float32)[:, None], values * 1e-4, times)


def with_returns(rows: Rows, returns: np.ndarray) -> Rows:
    """The same rows with other outcomes."""
    return Rows(rows.features, np.asarray(returns, dtype=np.float64), rows.times)


def always_rising(rows: Rows, threshold: float) -> Rows:
    """The same rows with every known outcome UP by `threshold`, so that fine-tuning always changes the model."""
    return with_returns(rows, np.abs(rows.forward_returns) + 2 * threshold)


def reciprocal(bars: pd.DataFrame) -> pd.DataFrame:
    """`bars` with one divided by every price: what rose falls as much, high and low change places."""
    return bars.assign(open=1 / bars["open"], high=1 / bars["low"], low=1 / bars["high"], close=1 / bars["close"])


def following_bars(leader: pd.DataFrame, *, seed: int, share: float = 0.7, delay_minutes: int = 5) -> pd.DataFrame:
    """Bars of a market that repeats `share` of its leader's moves over the next `delay_minutes`, and has own noise."""
    moves = np.diff(np.log(leader["close"].to_numpy()), prepend=np.log(leader["close"].iloc[0]))
    echo = np.convolve(moves, np.full(delay_minutes, share / delay_minutes))[: len(moves)]
    echo = np.concatenate([[0.0], echo[:-1]])
    noise = np.random.default_rng(seed).standard_normal(len(moves)) * moves.std() * 0.5
    close = 100 * np.exp(np.cumsum(echo + noise))
    opened = np.concatenate([[100.0], close[:-1]])
    return leader.assign(
        open=opened, close=close, high=np.maximum(opened, close) * 1.0001, low=np.minimum(opened, close) * 0.9999
    )
