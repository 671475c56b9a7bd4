"""How long what has failed is left alone."""

from hybrid_ml.pipeline.backoff import backoff_seconds


def test_a_wait_is_twice_the_one_before_up_to_the_longest() -> None:
    assert [backoff_seconds(failures, 30.0) for failures in (1, 2, 3, 5, 6, 7)] == [1, 2, 4, 16, 30, 30]
    assert [backoff_seconds(failures, 300.0, 5.0) for failures in (1, 2, 7, 8)] == [5, 10, 300, 300]
    assert backoff_seconds(10**9, 60.0) == 60.0
