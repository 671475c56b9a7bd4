"""Labelled rows: features with the return that followed, and splits without shared minutes.

Positions count grid bars, so "an embargo of one horizon" is a distance in bars: the label of a row
is known HORIZON_MINUTES later, and no judging row may begin before every training label is known.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hybrid_ml.errors import DataUnavailable
from hybrid_ml.market.bars import BAR_LENGTH, to_grid
from hybrid_ml.market.features import make_features
from hybrid_ml.market.labels import HORIZON_MINUTES, forward_returns, label
from hybrid_ml.market.leaders import LeaderBars, leader_features, with_leaders
from hybrid_ml.market.sessions import ALWAYS_OPEN, Sessions
from hybrid_ml.text.counts import counted

EMBARGO_BARS = HORIZON_MINUTES


@dataclass(frozen=True)
class Leaves:
    """The leaves of rows in the trees of the base `version`: (n, trees) leaf numbers, any integer type."""

    version: str
    places: NDArray[Any]


@dataclass(frozen=True)
class Rows:
    """Feature rows of consecutive grid bars, oldest first.

    `features`: (n, features) float32, NaN allowed. `forward_returns`: (n,) float64 log returns over
    the horizon, NaN where not known. `times`: (n,) bar open times, UTC. `leaves`: the leaves of the rows
    in a base's trees, when they have been computed already. `leader_features`: those of each leader that was
    read, (n, LEADER_FEATURES) float32.
    """

    features: NDArray[np.float32]
    forward_returns: NDArray[np.float64]
    times: pd.DatetimeIndex
    leaves: Leaves | None = None
    leader_features: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.times)

    def take(self, positions: NDArray[np.intp] | slice) -> "Rows":
        """The rows at `positions`, in that order."""
        leaves = None if self.leaves is None else Leaves(self.leaves.version, self.leaves.places[positions])
        blocks = {leader: block[positions] for leader, block in self.leader_features.items()}
        return Rows(self.features[positions], self.forward_returns[positions], self.times[positions], leaves, blocks)

    def matrix(self, leaders: Sequence[str]) -> NDArray[np.float32]:
        """The columns of a model with `leaders`; one of them that was not read is absent, as if it had no bars."""
        return with_leaders(self.features, self.leader_features, leaders)

    def following(self, leaders: Sequence[str]) -> "Rows":
        """The same with the features of `leaders` only."""
        return replace(
            self, leader_features={name: block for name, block in self.leader_features.items() if name in leaders}
        )

    def absent(self, leaders: Sequence[str]) -> list[str]:
        """Those of `leaders` of which the newest row knows nothing."""
        blocks = self.leader_features
        return [leader for leader in leaders if leader not in blocks or np.isnan(blocks[leader][-1:]).all()]

    def labelled(self) -> "Rows":
        """Only rows whose outcome is known."""
        known = np.isfinite(self.forward_returns)
        count = int(np.count_nonzero(known))
        # Usually the unknown ones are the last ten, and a slice copies nothing.
        return self.take(slice(0, count) if known[:count].all() else np.flatnonzero(known))

    def latest(self) -> "Rows":
        """The last row: the one whose next ten minutes are predicted."""
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
    """A period of the grid (see `to_grid`) and the row of every bar in it."""

    grid: pd.DataFrame
    rows: Rows

    def with_leaders(self, leaders: Mapping[str, LeaderBars]) -> "Window":
        """The same with the features of each of `leaders`."""
        return replace(self, rows=add_leaders(self.rows, leaders))

    @property
    def bar_time(self) -> datetime:
        """Open time of the newest bar."""
        newest: datetime = self.rows.times[-1].to_pydatetime()
        return newest

    @property
    def close(self) -> float:
        """Close of the newest bar."""
        return float(self.grid["close"].iloc[-1])


def make_window(bars: pd.DataFrame, max_gap_minutes: int, sessions: Sessions = ALWAYS_OPEN) -> Window:
    """The grid and the rows of clean `bars` (BAR_COLUMNS), of which at least one must be in a session.

    Raises CalendarEnded as `to_grid` does, and DataUnavailable where all bars are outside of the sessions.
    """
    grid = to_grid(bars, max_gap_minutes, sessions)
    if grid.empty:
        raise DataUnavailable(
            f"none of {counted(len(bars), 'bar')} is in a session of calendar {sessions.calendar}; choose the symbol's "
            "calendar with `hybrid-ml sessions set`"
        )
    features = np.ascontiguousarray(make_features(grid).to_numpy())
    return Window(grid, Rows(features, forward_returns(grid), pd.DatetimeIndex(grid.index)))


def add_leaders(rows: Rows, leaders: Mapping[str, LeaderBars]) -> Rows:
    """`rows` with the features of each of `leaders`; a leader's bar that closed later than a row's is not used."""
    added = {leader: leader_features(rows.features, rows.times, bars) for leader, bars in leaders.items()}
    return replace(rows, leader_features={**rows.leader_features, **added})


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
