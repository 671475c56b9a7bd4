"""Labelled rows: features beside the return that followed, and the splits that keep a judge honest.

Positions count grid bars, so "an embargo of one horizon" is a distance in bars: the label of a row
is known HORIZON_MINUTES later, and no judging row may begin before every training label is closed.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hybrid_ml.market.bars import BAR_LENGTH, to_grid
from hybrid_ml.market.features import make_features
from hybrid_ml.market.labels import HORIZON_MINUTES, forward_returns, label

EMBARGO_BARS = HORIZON_MINUTES


@dataclass(frozen=True)
class Leaves:
    """Where rows fall in the trees of the base `version`: (n, trees) leaf numbers, any integer type."""

    version: str
    places: NDArray[Any]


@dataclass(frozen=True)
class Rows:
    """Feature rows of consecutive grid bars, oldest first.

    `features`: (n, features) float32, NaN allowed. `forward_returns`: (n,) float64 log returns over
    the horizon, NaN where not known. `times`: (n,) bar open times, UTC. `leaves`: where the rows fall
    in a base's trees, when somebody has looked that up already.
    """

    features: NDArray[np.float32]
    forward_returns: NDArray[np.float64]
    times: pd.DatetimeIndex
    leaves: Leaves | None = None

    def __len__(self) -> int:
        return len(self.times)

    def take(self, positions: NDArray[np.intp] | slice) -> "Rows":
        """The rows at `positions`, in that order."""
        leaves = None if self.leaves is None else Leaves(self.leaves.version, self.leaves.places[positions])
        return Rows(self.features[positions], self.forward_returns[positions], self.times[positions], leaves)

    def labelled(self) -> "Rows":
        """Only rows whose outcome is known."""
        known = np.isfinite(self.forward_returns)
        count = int(np.count_nonzero(known))
        # Mostly the unknown ones are the last ten: a slice copies nothing.
        return self.take(slice(0, count) if known[:count].all() else np.flatnonzero(known))

    def latest(self) -> "Rows":
        """The last row: the one the next ten minutes are asked about."""
        return self.take(slice(len(self) - 1, len(self)))

    def newer_than(self, moment: datetime) -> "Rows":
        """Rows whose bar opens at or after `moment`."""
        return self.take(slice(int(self.times.searchsorted(pd.Timestamp(moment))), len(self)))

    def last(self, count: int) -> "Rows":
        """The newest `count` rows, or all when there are fewer."""
        return self.take(slice(max(0, len(self) - count), len(self)))

    def labels(self, threshold: float) -> NDArray[np.int64]:
        """DOWN, FLAT or UP against `threshold`, (n,) int64, -1 where the outcome is not known."""
        return label(self.forward_returns, threshold)


@dataclass(frozen=True)
class Window:
    """A stretch of the grid (see `to_grid`) and the row of every bar in it."""

    grid: pd.DataFrame
    rows: Rows

    @property
    def bar_time(self) -> datetime:
        """Open time of the newest bar."""
        newest: datetime = self.rows.times[-1].to_pydatetime()
        return newest

    @property
    def close(self) -> float:
        """Close of the newest bar."""
        return float(self.grid["close"].iloc[-1])


def make_window(bars: pd.DataFrame, max_gap_minutes: int) -> Window:
    """The grid and the rows of clean `bars` (BAR_COLUMNS), of which there must be at least one."""
    grid = to_grid(bars, max_gap_minutes)
    features = np.ascontiguousarray(make_features(grid).to_numpy())
    return Window(grid, Rows(features, forward_returns(grid), pd.DatetimeIndex(grid.index)))


def labels_known_at(rows: Rows) -> datetime:
    """When the last label of `rows` became known: the close of its last bar plus the horizon.

    A bar that opens at or after this moment shares no minute with any label of `rows`; this is the
    embargo. Raises IndexError when there are no rows.
    """
    last: datetime = rows.times[-1].to_pydatetime()
    return last + BAR_LENGTH * (1 + HORIZON_MINUTES)


def split_hold_out(labelled: Rows, training_rows: int, hold_out: int) -> tuple[Rows, Rows]:
    """Training rows and the newest `hold_out` rows, one horizon apart.

    At most `training_rows`, the most recent ones; both parts may come back shorter when there are
    not enough rows.
    """
    judge = labelled.last(hold_out)
    if not len(judge):
        return judge, judge
    embargo = judge.times[0] - pd.Timedelta(minutes=1 + EMBARGO_BARS)
    end = int(labelled.times.searchsorted(embargo, side="right"))
    return labelled.take(slice(max(0, end - training_rows), end)), judge
