"""The number of bars that a run needs."""

from collections.abc import Callable

import pandas as pd

from hybrid_ml.learning.fine_tuning import MAXIMUM_FINE_TUNE_ROWS
from hybrid_ml.learning.rows import EMBARGO_BARS, Window, make_window
from hybrid_ml.learning.scaling import MAXIMUM_CALIBRATION_ROWS, MAXIMUM_HOLD_OUT_ROWS
from hybrid_ml.market.features import LOOK_BACK_BARS
from hybrid_ml.market.sessions import ALWAYS_OPEN, Sessions

ANALYSIS_BARS = MAXIMUM_FINE_TUNE_ROWS + LOOK_BACK_BARS + 2 * EMBARGO_BARS
SESSION_BREAKS_ALLOWANCE = 1.1
"""Rows lost to the unlabelled end of each session: ten of 375 for an index."""


def training_bars(row_limit: int) -> int:
    """How many bars to load for a training on `row_limit` rows, in a market with breaks as usual."""
    return int(_labelled_rows(row_limit) * SESSION_BREAKS_ALLOWANCE) + LOOK_BACK_BARS


def is_enough_to_train(window: Window, row_limit: int) -> bool:
    """Whether `window` has `row_limit` labelled rows, their calibration rows and hold-out."""
    return len(window.rows.labelled()) >= _labelled_rows(row_limit)


def _labelled_rows(row_limit: int) -> int:
    return row_limit + MAXIMUM_CALIBRATION_ROWS + MAXIMUM_HOLD_OUT_ROWS + 3 * EMBARGO_BARS


def training_window(
    newest_bars: Callable[[int], pd.DataFrame],
    row_limit: int,
    max_gap_minutes: int,
    sessions: Sessions = ALWAYS_OPEN,
) -> Window:
    """The window of a training on bars that are all available, as in a replay; all of them where they are too few.

    `newest_bars` returns the newest so many clean bars, fewer when there are no more.
    """
    count = training_bars(row_limit)
    while True:
        bars = newest_bars(count)
        window = make_window(bars, max_gap_minutes, sessions)
        if len(bars) < count or is_enough_to_train(window, row_limit):
            return window
        count *= 2
