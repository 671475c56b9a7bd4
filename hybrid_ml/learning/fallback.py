"""When the saved model is not to be relied on."""

from datetime import timedelta

from hybrid_ml.learning.evaluation import RecentRecord

MINIMUM_RECENT_ACCURACY = 0.45
RECENT_ROWS = 200
FEWEST_RECENT_ROWS = 100
"""With fewer unseen rows than this an accuracy says nothing, and nothing is done about it."""
SCRATCH_PERIOD = timedelta(hours=1)
"""A model is trained from scratch at most once in this time; ten minutes later the rows are the same."""


def is_under_the_bar(recent: RecentRecord) -> bool:
    """Whether recent accuracy is known well enough, and is too low."""
    return (
        recent.accuracy is not None and recent.rows >= FEWEST_RECENT_ROWS and recent.accuracy < MINIMUM_RECENT_ACCURACY
    )


def fallback_reason(problem: str | None, recent: RecentRecord | None) -> str | None:
    """Why to train from scratch: `problem` with the saved model, or its recent record; None to go on."""
    if problem is not None:
        return problem
    if recent is not None and is_under_the_bar(recent):
        return f"accuracy {recent.accuracy:.3f} on {recent.rows} recent rows is under {MINIMUM_RECENT_ACCURACY:.2f}"
    return None
