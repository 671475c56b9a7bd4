"""The bars of one symbol as they were known at any moment."""

from datetime import datetime

import numpy as np
import pandas as pd

from hybrid_ml.learning.model import HybridModel
from hybrid_ml.learning.rows import Leaves, Rows, make_window
from hybrid_ml.learning.windows import ANALYSIS_BARS
from hybrid_ml.market.bars import closed_before
from hybrid_ml.market.labels import HORIZON_MINUTES


class Past:
    """All bars of a symbol, features made once, and views of them that know nothing of what came later.

    Features look back a bounded number of bars, so a row of the whole history is bit by bit the row a
    live run makes from its last 1,500 bars. Labels that were not known yet are taken out of each view.
    """

    def __init__(self, bars: pd.DataFrame, max_gap_minutes: int) -> None:
        """`bars`: clean ones (BAR_COLUMNS), at least one."""
        self.bars, self.max_gap_minutes = bars, max_gap_minutes
        window = make_window(bars, max_gap_minutes)
        self.rows, self.close = window.rows, window.grid["close"].to_numpy()
        self._recorded = np.flatnonzero(~window.grid["carried"].to_numpy())
        self._times = pd.DatetimeIndex(bars["time"])

    def known(self, as_of: datetime) -> int:
        """How many recorded bars were closed at `as_of`."""
        return int(self._times.searchsorted(pd.Timestamp(closed_before(as_of)), side="right"))

    def newest_bars(self, as_of: datetime, count: int) -> pd.DataFrame:
        """The newest `count` bars closed at `as_of`, as a live run reads them."""
        known = self.known(as_of)
        return self.bars.iloc[max(0, known - count) : known].reset_index(drop=True)

    def view(self, as_of: datetime, base: HybridModel | None, leaves: "LeafCache") -> tuple[Rows, float] | None:
        """What an analysis at `as_of` sees: its rows and the newest close; None before the first bar."""
        known = self.known(as_of)
        if not known:
            return None
        first, last = self._recorded[max(0, known - ANALYSIS_BARS)], self._recorded[known - 1]
        seen = slice(int(first), int(last) + 1)
        returns = self.rows.forward_returns[seen].copy()
        returns[max(0, len(returns) - HORIZON_MINUTES) :] = np.nan
        found = None if base is None else leaves.of(base, self.rows, seen)
        return Rows(self.rows.features[seen], returns, self.rows.times[seen], found), float(self.close[last])


class LeafCache:
    """Leaves of rows in the base that serves: each row is dropped through its trees once, not every ten minutes."""

    CHUNK_ROWS = 2_048

    def __init__(self, num_threads: int = 1) -> None:
        self._num_threads, self._version = num_threads, ""
        self._numbers, self._table = range(0), np.empty((0, 0), dtype=np.uint8)

    def of(self, model: HybridModel, rows: Rows, seen: slice) -> Leaves:
        """The leaves of `rows[seen]` in the base of `model`."""
        if model.base.version != self._version:
            self._version, self._numbers = model.base.version, range(0)
        numbers = range(seen.start // self.CHUNK_ROWS, (seen.stop - 1) // self.CHUNK_ROWS + 1)
        if numbers != self._numbers:
            size = self.CHUNK_ROWS
            kept = {
                number: self._table[place * size : (place + 1) * size] for place, number in enumerate(self._numbers)
            }
            whole = [number for number in numbers if len(kept.get(number, ())) == size]
            self._table = np.concatenate(
                [kept[number] if number in whole else self._look_up(model, rows, number) for number in numbers]
            )
            self._numbers = numbers
        start = seen.start - numbers.start * self.CHUNK_ROWS
        return Leaves(self._version, self._table[start : start + seen.stop - seen.start])

    def _look_up(self, model: HybridModel, rows: Rows, number: int) -> np.ndarray:
        part = rows.features[number * self.CHUNK_ROWS : (number + 1) * self.CHUNK_ROWS]
        return model.leaves(part, self._num_threads).astype(np.uint8)
