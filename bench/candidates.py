"""Features that were tried and not taken; `bench/experiments.py` measures what they would bring."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hybrid_ml.market.rolling import FloatArray, Rolling, shift

Made = dict[str, FloatArray]


class Grid:
    """What every candidate starts from: log prices on the grid, and how far each bar is into its session."""

    def __init__(self, grid: pd.DataFrame) -> None:
        session = grid["session"].to_numpy()
        starts = np.flatnonzero(np.diff(session, prepend=session[:1] - 1))
        self.in_session = np.arange(len(session)) - np.repeat(starts, np.diff(starts, append=len(session)))
        self.open, self.high, self.low, self.close = (
            np.log(grid[column].to_numpy()) for column in ("open", "high", "low", "close")
        )
        self.volume = grid["volume"].to_numpy()
        self.change = self.within(self.close - shift(self.close, 1), 1)
        self.hour_volatility = np.sqrt(Rolling(self.change**2).mean(60))

    def within(self, values: FloatArray, bars_back: int) -> FloatArray:
        return np.where(self.in_session >= bars_back, values, np.nan)


def _log(values: FloatArray) -> FloatArray:
    return np.where(values > 1e-12, np.log(np.maximum(values, 1e-300)), np.nan)


def mean_moves(grid: Grid) -> Made:
    """Mean absolute one-minute move: less ruled by single jumps than the root mean square."""
    moves = Rolling(np.abs(grid.change))
    return {f"mean_move_{bars}": _log(moves.mean(bars)) for bars in (30, 60, 240)}


def horizon_moves(grid: Grid) -> Made:
    """Mean absolute ten-minute move: volatility on the label's own scale."""
    moves = Rolling(np.abs(grid.within(grid.close - shift(grid.close, 10), 10)))
    return {f"horizon_move_{bars}": _log(moves.mean(bars)) for bars in (60, 240)}


def garman_klass(grid: Grid) -> Made:
    """Volatility from open, high, low and close (Garman and Klass 1980)."""
    variance = 0.5 * (grid.high - grid.low) ** 2 - (2 * np.log(2) - 1) * (grid.close - grid.open) ** 2
    mean = Rolling(variance)
    return {
        f"garman_klass_{bars}": _log(np.sqrt(np.maximum(grid.within(mean.mean(bars), bars), 0))) for bars in (5, 15)
    }


def positions(grid: Grid) -> Made:
    """Place in the recent range, distance from the volume-weighted and the plain mean, longer returns."""
    made: Made = {}
    highs, lows, middles = Rolling(grid.high), Rolling(grid.low), Rolling((grid.high + grid.low) / 2)
    for bars in (5, 479):
        bottom = lows.minimum(bars)
        made[f"stochastic_{bars}"] = grid.within((grid.close - bottom) / (highs.maximum(bars) - bottom) - 0.5, bars)
    traded, volumes = Rolling(np.exp(grid.close) * grid.volume), Rolling(grid.volume)
    mean_price = np.log(traded.sum(240) / volumes.sum(240))
    made["from_vwap_240"] = grid.within((grid.close - mean_price) / (grid.hour_volatility * np.sqrt(240)), 240)
    for bars in (10, 60):
        distance = grid.close - middles.mean(bars)
        made[f"from_middle_{bars}"] = grid.within(distance / (grid.hour_volatility * np.sqrt(bars)), bars)
    for bars in (45, 90, 479):
        move = grid.close - shift(grid.close, bars)
        made[f"return_{bars}"] = grid.within(move / (grid.hour_volatility * np.sqrt(bars)), bars)
    return made


CANDIDATES: dict[str, tuple[Callable[[Grid], Made], bool]] = {
    "mean moves": (mean_moves, False),
    "horizon moves": (horizon_moves, False),
    "Garman-Klass": (garman_klass, False),
    "positions": (positions, True),
}
"""What makes each, and whether its values change their sign when up is down."""


def candidate_features(name: str, grid: pd.DataFrame) -> tuple[NDArray[np.float32], bool]:
    """The candidates `name` of every bar on the grid (n, k), NaN where not known; and whether they are directed."""
    make, directed = CANDIDATES[name]
    with np.errstate(all="ignore"):
        made = np.column_stack(list(make(Grid(grid)).values()))
    return np.where(np.isfinite(made), made, np.nan).astype(np.float32), directed
