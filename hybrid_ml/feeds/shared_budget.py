"""Requests of all processes within an exchange's limits."""

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Engine

from hybrid_ml.errors import ExchangeUnavailable
from hybrid_ml.store.exchange_budgets import Budget, change_budget

LONGEST_WAIT_SECONDS = 300.0
"""Longer bans are not waited for: the command ends and says when to run it again."""


class SharedBudget:
    """The budget of `feed` in the database; `most_weight` of it a minute is used."""

    def __init__(self, engine: Engine, feed: str, most_weight: int) -> None:
        self._engine, self._feed, self._most_weight = engine, feed, most_weight
        self._reported: tuple[int, datetime] | None = None

    def reserve(self, weight: int, now: datetime) -> float:
        """Take `weight` from the budget; returns 0, or the seconds to wait before asking again.

        Raises ExchangeUnavailable where the exchange has banned this address for longer than LONGEST_WAIT_SECONDS.
        """

        def take(budget: Budget) -> tuple[Budget, float]:
            if self._reported is not None and self._reported[1] >= now.replace(second=0, microsecond=0):
                budget = budget.as_reported(*self._reported)
            seconds = budget.wait_seconds(weight, self._most_weight, now)
            return (budget, seconds) if seconds else (budget.after(weight, now), 0.0)

        seconds = self._change(now, take)
        if seconds > LONGEST_WAIT_SECONDS:
            raise ExchangeUnavailable(
                f"{self._feed} has banned this address for another {seconds:,.0f} s because of too many requests; "
                "run the same command again then, it continues where it ended"
            )
        return seconds

    def report(self, weight_used: int, now: datetime) -> None:
        """Note what the exchange counted for this address in the minute of `now`; stored with the next request."""
        self._reported = weight_used, now

    def block(self, seconds: float, now: datetime) -> None:
        """Let no process send a request for `seconds`."""
        self._change(now, lambda budget: (budget.blocked(seconds, now), 0.0))

    def _change(self, now: datetime, change: Callable[[Budget], tuple[Budget, float]]) -> float:
        with self._engine.begin() as connection:
            return change_budget(connection, self._feed, now, change)
