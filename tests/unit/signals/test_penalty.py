"""The recent-performance penalty: none for bad luck, at most 0.15."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybrid_ml.signals.penalty import MAXIMUM_PENALTY, RecentSignals, confidence_penalty

SHARES = st.floats(0.0, 1.0)


@pytest.mark.parametrize(
    ("count", "precision", "stated", "penalty"),
    [
        (0, 0.0, 0.9, 0.0),
        (4, 0.0, 0.9, 0.0),
        (5, 0.0, 0.9, 0.15),
        (30, 0.7, 0.7, 0.0),
        (30, 0.9, 0.7, 0.0),
        # 0.5 - 0.4 - sqrt(0.5 * 0.5 / 25) = 0: one standard error of bad luck is free.
        (25, 0.4, 0.5, 0.0),
        # 0.5 - 0.35 - 0.1 = 0.05
        (25, 0.35, 0.5, 0.05),
        # 0.5 - 0.25 - 0.1 = 0.15 is just the most there is.
        (25, 0.25, 0.5, 0.15),
        (25, 0.0, 0.5, 0.15),
    ],
)
def test_the_shortfall_counts_beyond_one_standard_error(
    count: int, precision: float, stated: float, penalty: float
) -> None:
    assert confidence_penalty(RecentSignals(count, precision, stated)) == pytest.approx(penalty, abs=1e-12)


@given(count=st.integers(0, 100), precision=SHARES, stated=SHARES)
def test_a_penalty_lies_between_nothing_and_its_maximum(count: int, precision: float, stated: float) -> None:
    assert 0.0 <= confidence_penalty(RecentSignals(count, precision, stated)) <= MAXIMUM_PENALTY == 0.15


@given(count=st.integers(5, 100), stated=SHARES, precisions=st.tuples(SHARES, SHARES))
def test_worse_results_never_cost_less(count: int, stated: float, precisions: tuple[float, float]) -> None:
    worse, better = sorted(precisions)
    assert confidence_penalty(RecentSignals(count, worse, stated)) >= confidence_penalty(
        RecentSignals(count, better, stated)
    )


@given(precision=SHARES, stated=SHARES, counts=st.tuples(st.integers(5, 100), st.integers(5, 100)))
def test_the_same_shortfall_over_more_signals_never_costs_less(
    precision: float, stated: float, counts: tuple[int, int]
) -> None:
    few, many = sorted(counts)
    assert confidence_penalty(RecentSignals(many, precision, stated)) >= confidence_penalty(
        RecentSignals(few, precision, stated)
    )
