"""The bars of one symbol as known at any moment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import pandas as pd

from hybrid_ml.learning.model import HybridModel
from hybrid_ml.learning.rows import Leaves, Rows, make_window
from hybrid_ml.learning.windows import ANALYSIS_BARS
from hybrid_ml.market.bars import closed_before, in_sessions
from hybrid_ml.market.entries import find_entries
from hybrid_ml.market.labels import HORIZON_MINUTES
from hybrid_ml.market.leaders import NO_LEADERS, LeaderBars
from hybrid_ml.market.sessions import ALWAYS_OPEN, Sessions


@dataclass(frozen=True)
class CycleView:
    """The rows of a cycle at `now`.

    `seen`: its rows, the last of which is the newest bar of `bar_time` and `close`; the labels of
    the last HORIZON_MINUTES are not known yet, `labelled`: the number of known ones.
    """

    now: datetime
    seen: slice
    bar_time: datetime
    close: float
    labelled: int

    def since(self, first: int) -> "CycleView":
        """The same with rows counted from row `first`."""
        return replace(self, seen=slice(self.seen.start - first, self.seen.stop - first))


def hide_unknown(rows: Rows) -> Rows:
    """`rows` without the labels of the newest HORIZON_MINUTES, which are not known when the last row closes."""
    returns = rows.forward_returns.copy()
    returns[max(0, len(returns) - HORIZON_MINUTES) :] = np.nan
    return replace(rows, forward_returns=returns)


@dataclass(frozen=True)
class CycleBatch:
    """Consecutive cycles and only the rows they need: the work of one worker.

    `before`: the cycle whose adapter is in use at the beginning; None: the base is.
    """

    rows: Rows
    views: list[CycleView]
    before: CycleView | None

    def with_leaves(self, model: HybridModel, num_threads: int = 1) -> "CycleBatch":
        """The same with the leaves of every row in the trees of `model`, computed once instead of in every cycle."""
        places = model.leaves(self.rows.matrix(model.base.leaders), num_threads).astype(np.uint8)
        return replace(self, rows=replace(self.rows, leaves=Leaves(model.base.version, places)))

    def rows_of(self, view: CycleView) -> Rows:
        """The rows of one of its cycles, as known then."""
        return hide_unknown(self.rows.take(view.seen))


class Past:
    """All bars of a symbol, features computed once, and views of them without later information.

    Features depend on a bounded number of bars, so a row of the whole history is bit by bit the row that a
    live run computes from its last 1,500 bars. Labels that were not known yet are removed from each view.
    """

    def __init__(
        self,
        bars: pd.DataFrame,
        max_gap_minutes: int,
        sessions: Sessions = ALWAYS_OPEN,
        leaders: Mapping[str, LeaderBars] = NO_LEADERS,
    ) -> None:
        """`bars`: clean ones (BAR_COLUMNS), at least one in a session; others are left out, as in a live run.

        `leaders`: all bars of every symbol that may lead this one.
        """
        bars = in_sessions(bars, sessions)
        self.bars, self.max_gap_minutes, self.sessions = bars, max_gap_minutes, sessions
        window = make_window(bars, max_gap_minutes, sessions).with_leaders(leaders)
        self.leaders = leaders
        self.rows, self._close = window.rows, window.grid["close"].to_numpy()
        self._recorded = np.flatnonzero(~window.grid["carried"].to_numpy())
        self._labelled = np.flatnonzero(np.isfinite(self.rows.forward_returns))
        self._times = pd.DatetimeIndex(bars["time"])

    def known(self, as_of: datetime) -> int:
        """The number of recorded bars that were closed at `as_of`."""
        return int(self._times.searchsorted(pd.Timestamp(closed_before(as_of)), side="right"))

    def newest_bars(self, as_of: datetime, count: int) -> pd.DataFrame:
        """The newest `count` bars closed at `as_of`, as a live run reads them."""
        known = self.known(as_of)
        return self.bars.iloc[max(0, known - count) : known].reset_index(drop=True)

    def bars_between(self, begins: datetime, ends: datetime) -> pd.DataFrame:
        """Bars that open from `begins` until before `ends`."""
        first, last = (int(self._times.searchsorted(pd.Timestamp(moment))) for moment in (begins, ends))
        return self.bars.iloc[first:last]

    def view_at(self, now: datetime, labelled: int, bars: int = ANALYSIS_BARS) -> CycleView | None:
        """The rows of a cycle at `now`: of its newest `bars` those back to its newest `labelled` rows.

        None before the first bar.
        """
        known = self.known(now)
        if not known:
            return None
        first, last = int(self._recorded[max(0, known - bars)]), int(self._recorded[known - 1])
        begin, end = np.searchsorted(self._labelled, [first, max(first, last + 1 - HORIZON_MINUTES)])
        begin = max(begin, end - labelled)
        start = int(self._labelled[begin]) if begin < end else last
        bar_time: datetime = self.rows.times[last].to_pydatetime()
        return CycleView(now, slice(start, last + 1), bar_time, float(self._close[last]), int(end - begin))

    def labelled_rows(self, as_of: datetime, count: int) -> Rows:
        """The newest `count` rows whose labels were known at `as_of`, fewer when there are no more."""
        view = self.view_at(as_of, count, bars=len(self.bars))
        return self.rows.take(slice(0, 0)) if view is None else hide_unknown(self.rows.take(view.seen)).labelled()

    def batch(self, views: Sequence[CycleView], before: CycleView | None, leaders: Sequence[str]) -> CycleBatch:
        """The rows of `views` (at least one) and of `before`, with the features of `leaders` and of no others."""
        seen = [view.seen for view in views] + ([before.seen] if before else [])
        first, last = min(piece.start for piece in seen), max(piece.stop for piece in seen)
        moved = [view.since(first) for view in views]
        return CycleBatch(
            self.rows.following(leaders).take(slice(first, last)), moved, before.since(first) if before else None
        )

    def place(self, bar_time: datetime) -> int:
        """The position in `rows` of the bar of `bar_time`."""
        return int(self.rows.times.searchsorted(pd.Timestamp(bar_time)))

    def with_entries(self, answers: pd.DataFrame) -> pd.DataFrame:
        """`answers` (column bar_time, bars of the grid) with ENTRY_COLUMNS, as the ledger has them of its outcomes."""
        bar_times = pd.DatetimeIndex(answers["bar_time"])
        place = self.rows.times.searchsorted(bar_times)
        ends = np.minimum(place + HORIZON_MINUTES, len(self._close) - 1)
        close_then = np.where(np.isfinite(self.rows.forward_returns[place]), self._close[ends], np.nan)
        return answers.assign(**find_entries(self.bars, bar_times, close_then).set_index(answers.index))
