"""When the saved model is not used any more, and when to train another.

200 rows whose labels overlap by ten minutes count as about 20: an accuracy on them has a standard
error near 0.1, and a model near the threshold would cross it many times a day. So leaving the degraded
state takes more than entering it (hysteresis), and each training from scratch that gave no
better model doubles the next wait.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from hybrid_ml.text.counts import counted

MINIMUM_RECENT_ACCURACY = 0.45
RECOVERED_RECENT_ACCURACY = 0.50
"""What a degraded symbol's model must reach before alerts are sent again; see docs/reliability.md for the choice."""
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


def required_accuracy(was_degraded: bool) -> float:
    """The threshold for a symbol whose last answer was, or was not, degraded."""
    return RECOVERED_RECENT_ACCURACY if was_degraded else MINIMUM_RECENT_ACCURACY


def is_below_threshold(recent: RecentRecord, was_degraded: bool = False) -> bool:
    """Whether recent accuracy is known well enough, and too low. `was_degraded`: the last answer was."""
    return (
        recent.accuracy is not None
        and recent.rows >= FEWEST_RECENT_ROWS
        and recent.accuracy < required_accuracy(was_degraded)
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


def fallback_reason(problem: str | None, recent: RecentRecord | None, was_degraded: bool = False) -> str | None:
    """Why to train from scratch: `problem` with the saved model, or its recent accuracy; None otherwise."""
    if problem is not None:
        return problem
    if recent is not None and is_below_threshold(recent, was_degraded):
        bar = required_accuracy(was_degraded)
        return f"accuracy {recent.accuracy:.3f} on {counted(recent.rows, 'recent row')} is below {bar:.2f}"
    return None
