"""Wilson intervals compared with scipy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from hybrid_ml.learning.intervals import wilson, wilson_edges


def test_wilson_interval_equals_scipy() -> None:
    expected = binomtest(13, 20).proportion_ci(0.9, method="wilson")
    assert wilson(13, 20) == pytest.approx([expected.low, expected.high], abs=1e-3)


@given(count=st.integers(1, 10_000), share=st.floats(0, 1), z=st.floats(0, 6))
def test_wilson_interval_lies_in_0_to_1_and_contains_the_share(count: int, share: float, z: float) -> None:
    right = round(share * count)
    low, high = wilson(right, count, z)
    assert 0.0 <= low <= high <= 1.0
    assert low - 1e-9 <= right / count <= high + 1e-9


def test_wilson_interval_at_0_and_1_stays_within_bounds() -> None:
    assert wilson(0, 5)[0] == 0.0
    assert wilson(5, 5)[1] == 1.0
    assert wilson(13, 20, 3.0)[0] < wilson(13, 20)[0]


def test_vectorized_wilson_edges_equal_single_ones() -> None:
    low, high = wilson_edges(np.array([0, 13, 5]), np.array([5, 20, 5]))
    assert [list(pair) for pair in zip(low, high, strict=True)] == [wilson(0, 5), wilson(13, 20), wilson(5, 5)]
