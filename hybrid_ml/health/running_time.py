"""Time in which a process ran itself: a laptop that slept and a process that was stopped count no silence."""

import time
from collections.abc import Callable


class RunningTime:
    """Seconds since the first look in which this process ran.

    A step from one look to the next counts `longest_step_seconds` at most: whatever took longer, this process was
    stopped meanwhile, and so, as a rule, was all that it waits for.
    """

    def __init__(self, longest_step_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._longest_step_seconds, self._clock = longest_step_seconds, clock
        self._looked, self._total = clock(), 0.0

    def advance(self) -> float:
        """Count what has passed since the last call; returns the total in seconds."""
        now = self._clock()
        self._total += min(now - self._looked, self._longest_step_seconds)
        self._looked = now
        return self._total
