"""Requests of one process one after the other, for exchanges that count by the second and not by the minute."""

import threading
from datetime import datetime, timedelta

from hybrid_ml.feeds.feed import Clock
from hybrid_ml.feeds.limited_client import Limits


class Pace:
    """`limits` with `seconds` between any two requests of all threads, by `clock`."""

    def __init__(self, limits: Limits, seconds: float, clock: Clock) -> None:
        self._limits, self._seconds, self._clock = limits, seconds, clock
        self._lock = threading.Lock()
        self._next: datetime | None = None

    def reserve(self, weight: int, now: datetime) -> float:
        """See SharedBudget."""
        with self._lock:
            here = self._clock()
            if self._next is not None and timedelta(0) < self._next - here <= timedelta(seconds=self._seconds):
                return (self._next - here).total_seconds()
            if seconds := self._limits.reserve(weight, now):
                return seconds
            self._next = here + timedelta(seconds=self._seconds)
            return 0.0

    def report(self, weight_used: int, now: datetime) -> None:
        """See SharedBudget."""
        self._limits.report(weight_used, now)

    def block(self, seconds: float, now: datetime) -> None:
        """See SharedBudget."""
        self._limits.block(seconds, now)
