"""When a request may be sent: the weight of the minute, refusals, and clocks that disagree."""

from datetime import UTC, datetime, timedelta

from hybrid_ml.store.exchange_budgets import Budget

MINUTE = datetime(2024, 3, 5, 12, tzinfo=UTC)
MOST = 100


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def test_requests_wait_for_the_next_minute_once_the_weight_is_used() -> None:
    budget = Budget(MINUTE)
    for _ in range(50):
        assert budget.wait_seconds(2, MOST, MINUTE + seconds(10)) == 0
        budget = budget.after(2, MINUTE + seconds(10))
    assert budget.weight_used == MOST
    assert budget.wait_seconds(2, MOST, MINUTE + seconds(10)) == 50
    assert budget.wait_seconds(2, MOST, MINUTE + seconds(60)) == 0
    assert budget.after(2, MINUTE + seconds(60)) == Budget(MINUTE + seconds(60), 2)


def test_weight_that_other_programs_used_counts() -> None:
    budget = Budget(MINUTE, 10).as_reported(99, MINUTE)
    assert budget.wait_seconds(2, MOST, MINUTE) == 60


def test_report_below_our_own_count_does_not_lower_it() -> None:
    assert Budget(MINUTE, 80).as_reported(20, MINUTE).weight_used == 80


def test_request_heavier_than_the_budget_is_sent_in_an_unused_minute() -> None:
    assert Budget(MINUTE).wait_seconds(MOST + 1, MOST, MINUTE) == 0


def test_refusal_stops_every_request_until_it_is_over() -> None:
    budget = Budget(MINUTE).blocked(119.2, MINUTE)
    assert budget.wait_seconds(1, MOST, MINUTE) == 120
    assert budget.wait_seconds(1, MOST, MINUTE + seconds(119)) == 1
    assert budget.wait_seconds(1, MOST, MINUTE + seconds(120)) == 0


def test_shorter_refusal_does_not_end_a_longer_one() -> None:
    budget = Budget(MINUTE).blocked(120, MINUTE).blocked(5, MINUTE)
    assert budget.blocked_until == MINUTE + seconds(120)


def test_clock_that_is_behind_counts_in_the_newer_minute() -> None:
    budget = Budget(MINUTE, 90).after(5, MINUTE - seconds(1))
    assert budget == Budget(MINUTE, 95)


def test_minute_of_a_clock_far_ahead_does_not_stop_the_others() -> None:
    ahead = Budget(MINUTE + timedelta(days=400), MOST)
    assert ahead.wait_seconds(2, MOST, MINUTE) == 0
    assert ahead.after(2, MINUTE) == Budget(MINUTE, 2)
