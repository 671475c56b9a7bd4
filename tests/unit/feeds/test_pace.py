"""Requests of one process keep their distance, and the budget of all processes still counts."""

from datetime import UTC, datetime, timedelta

from hybrid_ml.feeds.pace import Pace
from tests.exchange_server import ManualTime

NOW = datetime(2024, 3, 5, 12, tzinfo=UTC)


class Budget:
    """Answers `seconds` to everybody, and counts."""

    def __init__(self) -> None:
        self.seconds, self.asked, self.blocked, self.reported = 0.0, 0, 0.0, 0

    def reserve(self, weight: int, now: datetime) -> float:  # noqa: ARG002
        self.asked += 1
        return self.seconds

    def report(self, weight_used: int, now: datetime) -> None:  # noqa: ARG002
        self.reported = weight_used

    def block(self, seconds: float, now: datetime) -> None:  # noqa: ARG002
        self.blocked = seconds


def test_second_request_waits_for_the_rest_of_its_distance() -> None:
    time, budget = ManualTime(NOW), Budget()
    pace = Pace(budget, 1.0, time.now)
    assert pace.reserve(1, NOW) == 0
    time.wait(0.25)
    assert pace.reserve(1, NOW) == 0.75
    assert budget.asked == 1
    time.wait(0.75)
    assert pace.reserve(1, NOW) == 0
    time.wait(-3_600)  # a clock that was set back
    assert pace.reserve(1, NOW) == 0


def test_budget_of_all_processes_counts() -> None:
    time, budget = ManualTime(NOW), Budget()
    budget.seconds = 30.0
    pace = Pace(budget, 1.0, time.now)
    assert pace.reserve(1, NOW) == 30
    budget.seconds = 0.0
    assert pace.reserve(1, NOW) == 0, "the request that was refused takes no place"
    pace.block(7, NOW + timedelta(seconds=1))
    pace.report(5, NOW)
    assert (budget.blocked, budget.reported) == (7, 5)
