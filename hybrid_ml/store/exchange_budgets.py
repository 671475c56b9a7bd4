"""The request weight of an exchange's current minute, and its refusals, shared by all processes on this database.

Exchanges limit an address, not a process: without a shared count, two backfills beside each other would be banned.
Every time is of the exchange's clock, whose minutes it counts by; programs at several addresses share one budget,
which only makes them slower.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection, text

from hybrid_ml.store.sql import query

UPDATE = text("""
    UPDATE exchange_budgets SET minute = :minute, weight_used = :weight_used, blocked_until = :blocked_until
    WHERE feed = :feed
""")


@dataclass(frozen=True)
class Budget:
    """Weight used in `minute`; no request before `blocked_until`."""

    minute: datetime
    weight_used: int = 0
    blocked_until: datetime | None = None

    def at(self, now: datetime) -> "Budget":
        """The budget of the minute of `now`, which begins with nothing used.

        A process whose clock is a little behind counts in the newer minute. A minute further ahead was written by one
        that did not know the exchange's clock yet, and does not count.
        """
        minute = now.replace(second=0, microsecond=0)
        is_known = timedelta(0) <= self.minute - minute <= timedelta(minutes=1)
        return self if is_known else replace(self, minute=minute, weight_used=0)

    def wait_seconds(self, weight: int, most_weight: int, now: datetime) -> float:
        """How long to wait before a request of `weight`; 0: it may be sent now."""
        if self.blocked_until is not None and now < self.blocked_until:
            return (self.blocked_until - now).total_seconds()
        if self.at(now).weight_used + weight > most_weight and self.at(now).weight_used > 0:
            return (self.at(now).minute + timedelta(minutes=1) - now).total_seconds()
        return 0.0

    def after(self, weight: int, now: datetime) -> "Budget":
        """With a request of `weight`."""
        current = self.at(now)
        return replace(current, weight_used=current.weight_used + weight)

    def as_reported(self, weight_used: int, now: datetime) -> "Budget":
        """With what the exchange counted; never less than our own count, since other requests may be on their way."""
        current = self.at(now)
        return replace(current, weight_used=max(current.weight_used, weight_used))

    def blocked(self, seconds: float, now: datetime) -> "Budget":
        """With no request for `seconds`; an earlier refusal that lasts longer stays."""
        until = now + timedelta(seconds=math.ceil(seconds))
        return replace(self.at(now), blocked_until=max(until, self.blocked_until or until))


def change_budget(
    connection: Connection, feed: str, now: datetime, change: Callable[[Budget], tuple[Budget, float]]
) -> float:
    """Apply `change` to the feed's budget, in the caller's transaction; returns the seconds to wait that it states."""
    minute = now.replace(second=0, microsecond=0)
    # A count that a crash of the server loses is stated again by the next answer, so that no request waits for a disk.
    connection.execute(text("SET LOCAL synchronous_commit = off"))
    row = connection.execute(query("lock_budget"), {"feed": feed, "minute": minute}).one()
    before = Budget(row.minute, row.weight_used, row.blocked_until)
    after, wait_seconds = change(before)
    if after != before:
        connection.execute(UPDATE, {"feed": feed, **vars(after)})
    return wait_seconds
