"""When the saved model is not used any more, and when to train another.

200 rows whose labels overlap by ten minutes count as about 20: an accuracy on them has a standard
error near 0.1, and a model near the threshold crosses it many times a day. So each training from scratch
that gave no better model doubles the next wait, and no alert depends on this accuracy.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from hybrid_ml.text.counts import counted

MINIMUM_RECENT_ACCURACY = 0.45
RECENT_ROWS = 200
FEWEST_RECENT_ROWS = 100
"""With fewer unseen rows than this the accuracy is ignored."""
SCRATCH_PERIOD = timedelta(hours=1)
"""A model is trained from scratch at most once in this time; ten minutes later the rows are the same."""
LONGEST_SCRATCH_PERIOD = timedelta(hours=24)


@dataclass(frozen=True)
class RecentRecord:
    """Accuracy of a model on the newest labelled rows it has not seen.

    `accuracy` and `majority_accuracy` are None when no such row exists.
    """

    rows: int
    accuracy: float | None
    majority_accuracy: float | None


def is_below_threshold(recent: RecentRecord) -> bool:
    """Whether recent accuracy is known well enough, and too low."""
    return (
        recent.accuracy is not None and recent.rows >= FEWEST_RECENT_ROWS and recent.accuracy < MINIMUM_RECENT_ACCURACY
    )


def next_scratch(newest: datetime | None, failed_attempts: int) -> datetime | None:
    """When to train from scratch again at the earliest, None for at once.

    `newest`: the last training from scratch; `failed_attempts`: how many of them were rejected since the
    present champion was made. Each of those shows that training anew does not help, so the next waits
    twice as long: 1, 2, 4, ... 24 hours.
    """
    if newest is None:
        return None
    doublings = min(max(failed_attempts - 1, 0), 5)
    return newest + min(LONGEST_SCRATCH_PERIOD, SCRATCH_PERIOD * 2**doublings)


def fallback_reason(problem: str | None, recent: RecentRecord | None) -> str | None:
    """Why to train from scratch: `problem` with the saved model, or its recent accuracy; None otherwise."""
    if problem is not None:
        return problem
    if recent is not None and is_below_threshold(recent):
        rows = counted(recent.rows, "recent row")
        return f"accuracy {recent.accuracy:.3f} on {rows} is below {MINIMUM_RECENT_ACCURACY:.2f}"
    return None
