"""Progressive scaling: the number of training rows of a weekly model, week by week."""

from datetime import datetime, timedelta

from hybrid_ml.market.labels import HORIZON_MINUTES

WEEK = timedelta(weeks=1)
FIRST_ROW_LIMIT = 23_000
ROWS_ADDED_A_WEEK = 10_000
FULL_ROW_LIMIT = 80_000
FULL_WEEK = 6
MINIMUM_TRAINING_ROWS = 2_000
"""With fewer labelled rows than this nothing is trained: 900 trees would fit noise."""
MINIMUM_HOLD_OUT_ROWS = 300
MAXIMUM_HOLD_OUT_ROWS = 2_000
MINIMUM_CALIBRATION_ROWS = 150
MAXIMUM_CALIBRATION_ROWS = 1_000

FEWEST_LABELLED_ROWS = MINIMUM_TRAINING_ROWS + MINIMUM_HOLD_OUT_ROWS + MINIMUM_CALIBRATION_ROWS + 2 * HORIZON_MINUTES
"""The minimum of a training with its hold-out, its calibration rows and an embargo before each."""


def row_limit(week: int) -> int:
    """Rows to train on in `week` (0 is the first): 23,000, then 10,000 more a week, 80,000 from week 6."""
    if week < 0:
        raise ValueError(f"weeks count from 0, not {week}")
    return FULL_ROW_LIMIT if week >= FULL_WEEK else FIRST_ROW_LIMIT + ROWS_ADDED_A_WEEK * week


def week_number(first_base_at: datetime | None, as_of: datetime) -> int:
    """Whole weeks between the first base model of a symbol and `as_of`; 0 when there is none before it."""
    if first_base_at is None or as_of < first_base_at:
        return 0
    return (as_of - first_base_at) // WEEK


def hold_out_rows(training_rows: int) -> int:
    """Newest rows kept to evaluate a model trained on `training_rows`: a tenth, 300 to 2,000."""
    return min(MAXIMUM_HOLD_OUT_ROWS, max(MINIMUM_HOLD_OUT_ROWS, training_rows // 10))


def calibration_rows(training_rows: int) -> int:
    """Rows between training and hold-out to fit the temperature on: a twentieth, 150 to 1,000."""
    return min(MAXIMUM_CALIBRATION_ROWS, max(MINIMUM_CALIBRATION_ROWS, training_rows // 20))
