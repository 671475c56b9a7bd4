"""How many bars a run looks back on."""

from collections.abc import Callable

import pandas as pd

from hybrid_ml.learning.fine_tuning import MAXIMUM_FINE_TUNE_ROWS
from hybrid_ml.learning.rows import EMBARGO_BARS, Window, make_window
from hybrid_ml.learning.scaling import MAXIMUM_CALIBRATION_ROWS, MAXIMUM_HOLD_OUT_ROWS
from hybrid_ml.market.features import LOOK_BACK_BARS

ANALYSIS_BARS = MAXIMUM_FINE_TUNE_ROWS + LOOK_BACK_BARS + 2 * EMBARGO_BARS
SESSION_BREAKS_ALLOWANCE = 1.1
"""Rows lost to the unlabelled end of each session: ten of 375 for an index."""


def training_window(newest_bars: Callable[[int], pd.DataFrame], row_limit: int, max_gap_minutes: int) -> Window:
    """Bars enough for `row_limit` labelled rows, their calibration rows and hold-out, or all there are.

    `newest_bars` gives the newest so many clean bars, fewer when there are no more.
    """
    needed = row_limit + MAXIMUM_CALIBRATION_ROWS + MAXIMUM_HOLD_OUT_ROWS + 3 * EMBARGO_BARS
    count = int(needed * SESSION_BREAKS_ALLOWANCE) + LOOK_BACK_BARS
    while True:
        bars = newest_bars(count)
        window = make_window(bars, max_gap_minutes)
        if len(window.rows.labelled()) >= needed or len(bars) < count:
            return window
        count *= 2
