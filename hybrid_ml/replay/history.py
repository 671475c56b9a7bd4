"""The bars of one symbol as they were known at any moment."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import pandas as pd

from hybrid_ml.learning.model import HybridModel
from hybrid_ml.learning.rows import Leaves, Rows, make_window
from hybrid_ml.learning.windows import ANALYSIS_BARS
from hybrid_ml.market.bars import closed_before
from hybrid_ml.market.labels import HORIZON_MINUTES


@dataclass(frozen=True)
class CycleView:
    """What a cycle at `now` looks at.

    `seen`: its rows, the last of which is the newest bar of `bar_time` and `close`; the labels of
    the last HORIZON_MINUTES are not known yet, `labelled` of the others are.
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
    """`rows` without the labels of the newest HORIZON_MINUTES, which nobody knew when the last row closed."""
    returns = rows.forward_returns.copy()
    returns[max(0, len(returns) - HORIZON_MINUTES) :] = np.nan
    return replace(rows, forward_returns=returns)


@dataclass(frozen=True)
class CycleBatch:
    """A stretch of cycles and the rows they look at, no more: what a worker is sent.

    `before`: what the cycle looked at whose adapter serves when the stretch begins; None: the base does.
    """

    rows: Rows
    sights: list[CycleView]
    before: CycleView | None

    def with_leaves(self, model: HybridModel, num_threads: int = 1) -> "CycleBatch":
        """The same with every row dropped through the trees of `model` once, not once a cycle."""
        places = model.leaves(self.rows.features, num_threads).astype(np.uint8)
        return replace(self, rows=replace(self.rows, leaves=Leaves(model.base.version, places)))

    def view(self, sight: CycleView) -> Rows:
        """The rows of one of its sights, as known then."""
        return hide_unknown(self.rows.take(sight.seen))


class Past:
    """All bars of a symbol, features made once, and views of them that know nothing of what came later.

    Features look back a bounded number of bars, so a row of the whole history is bit by bit the row a
    live run makes from its last 1,500 bars. Labels that were not known yet are taken out of each view.
    """

    def __init__(self, bars: pd.DataFrame, max_gap_minutes: int) -> None:
        """`bars`: clean ones (BAR_COLUMNS), at least one."""
        self.bars, self.max_gap_minutes = bars, max_gap_minutes
        window = make_window(bars, max_gap_minutes)
        self.rows, self._close = window.rows, window.grid["close"].to_numpy()
        self._recorded = np.flatnonzero(~window.grid["carried"].to_numpy())
        self._labelled = np.flatnonzero(np.isfinite(self.rows.forward_returns))
        self._times = pd.DatetimeIndex(bars["time"])

    def known(self, as_of: datetime) -> int:
        """How many recorded bars were closed at `as_of`."""
        return int(self._times.searchsorted(pd.Timestamp(closed_before(as_of)), side="right"))

    def newest_bars(self, as_of: datetime, count: int) -> pd.DataFrame:
        """The newest `count` bars closed at `as_of`, as a live run reads them."""
        known = self.known(as_of)
        return self.bars.iloc[max(0, known - count) : known].reset_index(drop=True)

    def bars_between(self, begins: datetime, ends: datetime) -> pd.DataFrame:
        """Bars that open from `begins` until before `ends`."""
        first, last = (int(self._times.searchsorted(pd.Timestamp(moment))) for moment in (begins, ends))
        return self.bars.iloc[first:last]

    def sight(self, now: datetime, labelled: int, bars: int = ANALYSIS_BARS) -> CycleView | None:
        """What a cycle at `now` looks at: of its newest `bars` those back to its newest `labelled` rows.

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
        sight = self.sight(as_of, count, bars=len(self.bars))
        return self.rows.take(slice(0, 0)) if sight is None else hide_unknown(self.rows.take(sight.seen)).labelled()

    def stretch(self, sights: Sequence[CycleView], before: CycleView | None) -> CycleBatch:
        """The rows that `sights` (at least one) and `before` look at."""
        seen = [sight.seen for sight in sights] + ([before.seen] if before else [])
        first, last = min(piece.start for piece in seen), max(piece.stop for piece in seen)
        moved = [sight.since(first) for sight in sights]
        return CycleBatch(self.rows.take(slice(first, last)), moved, before.since(first) if before else None)

    def place(self, bar_time: datetime) -> int:
        """The position in `rows` of the bar of `bar_time`."""
        return int(self.rows.times.searchsorted(pd.Timestamp(bar_time)))
