"""The penalty: none within chance, at most 0.15, zero after results have recovered."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybrid_ml.signals.penalty import (
    MAXIMUM_PENALTY,
    NO_PENALTY,
    SIGNALS_CONSIDERED,
    Penalty,
    RecentSignals,
    confidence_penalty,
)

SHARES = st.floats(0.0, 1.0)


def amount(count: int, precision: float, stated: float) -> float:
    return confidence_penalty(RecentSignals(count, precision, stated)).amount


@pytest.mark.parametrize(
    ("count", "precision", "stated", "penalty"),
    [
        (0, 0.0, 0.9, 0.0),
        (4, 0.0, 0.9, 0.0),
        (5, 0.0, 0.9, 0.15),
        (30, 0.7, 0.7, 0.0),
        (30, 0.9, 0.7, 0.0),
        # Bound by chance: 1.645 * sqrt(0.5 * 0.5 / 25) + 0.5 / 25 = 0.1645 + 0.02.
        (25, 0.3155, 0.5, 0.0),
        (25, 0.28, 0.5, 0.0355),
        (25, 0.1655, 0.5, 0.15),
        (25, 0.0, 0.5, 0.15),
        (30, 1.0, 1.0, 0.0),
    ],
)
def test_penalty_is_the_shortfall_beyond_chance(count: int, precision: float, stated: float, penalty: float) -> None:
    assert amount(count, precision, stated) == pytest.approx(penalty, abs=1e-12)


def test_penalty_has_an_explanation_and_no_penalty_has_none() -> None:
    penalty = confidence_penalty(RecentSignals(30, 9 / 30, 0.65))
    assert penalty.explanation == "9 of the last 30 confident answers right, 0.65 stated, up to 0.16 may be chance"
    assert confidence_penalty(RecentSignals(30, 0.6, 0.65)) == NO_PENALTY == Penalty(0.0, "")


@given(count=st.integers(0, 100), precision=SHARES, stated=SHARES)
def test_penalty_is_between_0_and_its_maximum(count: int, precision: float, stated: float) -> None:
    assert 0.0 <= amount(count, precision, stated) <= MAXIMUM_PENALTY == 0.15


@given(count=st.integers(5, 100), stated=SHARES, precisions=st.tuples(SHARES, SHARES))
def test_lower_precision_never_lowers_the_penalty(count: int, stated: float, precisions: tuple[float, float]) -> None:
    worse, better = sorted(precisions)
    assert amount(count, worse, stated) >= amount(count, better, stated)


@given(precision=SHARES, stated=SHARES, counts=st.tuples(st.integers(5, 100), st.integers(5, 100)))
def test_more_answers_with_the_same_shortfall_never_lower_the_penalty(
    precision: float, stated: float, counts: tuple[int, int]
) -> None:
    few, many = sorted(counts)
    assert amount(many, precision, stated) >= amount(few, precision, stated)


@given(stated=st.lists(st.floats(0.45, 0.95), min_size=SIGNALS_CONSIDERED, max_size=SIGNALS_CONSIDERED))
def test_penalty_decreases_with_right_answers_to_zero(stated: list[float]) -> None:
    right = np.zeros(SIGNALS_CONSIDERED)
    amounts = []
    for recovered in range(SIGNALS_CONSIDERED + 1):
        right[:recovered] = 1.0
        amounts.append(amount(SIGNALS_CONSIDERED, float(right.mean()), float(np.mean(stated))))
    assert amounts[0] == MAXIMUM_PENALTY
    assert amounts == sorted(amounts, reverse=True)
    assert amounts[-1] == 0.0


@pytest.mark.parametrize("count", [5, 7, 14, 21, SIGNALS_CONSIDERED])
@pytest.mark.parametrize(("lowest", "highest"), [(0.45, 0.7), (0.6, 0.8), (0.85, 0.99), (0.97, 0.99)])
def test_calibrated_signals_are_rarely_penalised(count: int, lowest: float, highest: float) -> None:
    random = np.random.default_rng(count)
    records = 4_000
    stated = random.uniform(lowest, highest, (records, count))
    precision = (random.random((records, count)) < stated).mean(axis=1)
    penalised = sum(
        amount(count, share, confidence) > 0 for share, confidence in zip(precision, stated.mean(axis=1), strict=True)
    )
    assert penalised / records < 0.065  # one in twenty, plus discretisation and the error of 4,000 samples


def test_overconfident_signals_are_penalised() -> None:
    random = np.random.default_rng(0)
    right = random.random((1_000, SIGNALS_CONSIDERED)) < 0.33  # stated 0.65, right by chance only
    penalised = [amount(SIGNALS_CONSIDERED, float(record.mean()), 0.65) > 0 for record in right]
    assert np.mean(penalised) > 0.95
