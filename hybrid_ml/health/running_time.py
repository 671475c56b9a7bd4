"""Running time of a process: time in which the machine or the process was suspended is not counted."""

import time
from collections.abc import Callable


class RunningTime:
    """Seconds since the first call in which this process ran.

    A step from one call to the next counts `longest_step_seconds` at most: in a longer one this process was
    suspended, and usually so was everything that it waits for.
    """

    def __init__(self, longest_step_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._longest_step_seconds, self._clock = longest_step_seconds, clock
        self._last_call, self._total = clock(), 0.0

    def advance(self) -> float:
        """Add the time since the last call; returns the total in seconds."""
        now = self._clock()
        self._total += min(now - self._last_call, self._longest_step_seconds)
        self._last_call = now
        return self._total
