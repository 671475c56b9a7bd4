"""When the saved model is not to be relied on, and when to train another.

200 rows whose labels overlap by ten minutes are worth about 20: an accuracy on them has a standard
error near 0.1, and a model near the bar would cross it many times a day. So leaving the degraded
state takes more than entering it (a Schmitt trigger), and each training from scratch that gave no
better model makes the next wait twice as long.
"""

from datetime import datetime, timedelta

from hybrid_ml.learning.evaluation import RecentRecord
from hybrid_ml.text.counts import counted

MINIMUM_RECENT_ACCURACY = 0.45
RECOVERED_RECENT_ACCURACY = 0.50
"""What a degraded symbol's model must reach to alert again; docs/reliability.md has what it was chosen by."""
RECENT_ROWS = 200
FEWEST_RECENT_ROWS = 100
"""With fewer unseen rows than this an accuracy says nothing, and nothing is done about it."""
SCRATCH_PERIOD = timedelta(hours=1)
"""A model is trained from scratch at most once in this time; ten minutes later the rows are the same."""
LONGEST_SCRATCH_PERIOD = timedelta(hours=24)


def required_accuracy(was_degraded: bool) -> float:
    """The bar for a symbol whose last answer was, or was not, degraded."""
    return RECOVERED_RECENT_ACCURACY if was_degraded else MINIMUM_RECENT_ACCURACY


def is_below_threshold(recent: RecentRecord, was_degraded: bool = False) -> bool:
    """Whether recent accuracy is known well enough, and is too low. `was_degraded`: the last answer was."""
    return (
        recent.accuracy is not None
        and recent.rows >= FEWEST_RECENT_ROWS
        and recent.accuracy < required_accuracy(was_degraded)
    )


def next_scratch(newest: datetime | None, failed_attempts: int) -> datetime | None:
    """When to train from scratch again at the earliest, None for at once.

    `newest`: the last training from scratch; `failed_attempts`: how many of them were rejected since the
    present champion was made. Each of those says that training anew does not help, so the next waits
    twice as long: 1, 2, 4, ... 24 hours.
    """
    if newest is None:
        return None
    doublings = min(max(failed_attempts - 1, 0), 5)
    return newest + min(LONGEST_SCRATCH_PERIOD, SCRATCH_PERIOD * 2**doublings)


def fallback_reason(problem: str | None, recent: RecentRecord | None, was_degraded: bool = False) -> str | None:
    """Why to train from scratch: `problem` with the saved model, or its recent record; None to go on."""
    if problem is not None:
        return problem
    if recent is not None and is_below_threshold(recent, was_degraded):
        bar = required_accuracy(was_degraded)
        return f"accuracy {recent.accuracy:.3f} on {counted(recent.rows, 'recent row')} is under {bar:.2f}"
    return None
