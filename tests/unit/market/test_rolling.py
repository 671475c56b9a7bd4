"""Rolling statistics: equal to pandas, and bit-identical wherever the history starts."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybrid_ml.market.rolling import FloatArray, Rolling, shift

WINDOWS = [1, 2, 3, 5, 7, 16, 60, 100, 240, 479, 480]
STATISTICS: dict[str, Callable[[Rolling, int], FloatArray]] = {
    "sum": Rolling.sum,
    "mean": Rolling.mean,
    "maximum": Rolling.maximum,
    "minimum": Rolling.minimum,
    "mean again": lambda rolling, window: rolling.mean_and_deviation(window)[0],
    "deviation": lambda rolling, window: rolling.mean_and_deviation(window)[1],
}


def by_pandas(values: FloatArray, name: str, window: int) -> FloatArray:
    rolling = pd.Series(values).rolling(window)
    result = {
        "sum": rolling.sum,
        "mean": rolling.mean,
        "maximum": rolling.max,
        "minimum": rolling.min,
        "mean again": rolling.mean,
        "deviation": lambda: rolling.std(ddof=0),
    }[name]()
    return result.to_numpy()


def series(count: int = 1_500, seed: int = 5) -> FloatArray:
    return np.random.default_rng(seed).normal(3.0, 2.0, count)


@pytest.mark.parametrize("name", STATISTICS)
@pytest.mark.parametrize("window", WINDOWS)
def test_statistics_equal_pandas(name: str, window: int) -> None:
    values = series()
    np.testing.assert_allclose(
        STATISTICS[name](Rolling(values), window), by_pandas(values, name, window), rtol=1e-9, atol=1e-7
    )


@given(
    values=st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=1, max_size=60),
    window=st.integers(1, 70),
    name=st.sampled_from(sorted(STATISTICS)),
)
def test_every_window_equals_the_statistic_of_its_values(values: list[float], window: int, name: str) -> None:
    function = {"sum": np.sum, "maximum": np.max, "minimum": np.min, "deviation": np.std}.get(name, np.mean)
    result = STATISTICS[name](Rolling(np.array(values)), window)
    for bar, value in enumerate(result):
        if bar + 1 < window:
            assert np.isnan(value)
        else:
            assert value == pytest.approx(function(values[bar + 1 - window : bar + 1]), rel=1e-9, abs=1e-6)


@pytest.mark.parametrize("name", STATISTICS)
@pytest.mark.parametrize("window", WINDOWS)
def test_window_is_bit_identical_wherever_history_starts(name: str, window: int) -> None:
    values = series()
    full = STATISTICS[name](Rolling(values), window)
    for start in (1, 2, 3, 63, 500, 1_019):
        part = STATISTICS[name](Rolling(values[start:]), window)
        np.testing.assert_array_equal(part[window - 1 :], full[start + window - 1 :])


@given(
    values=st.lists(st.floats(-1e300, 1e300), min_size=2, max_size=50),
    start=st.integers(1, 49),
    window=st.integers(1, 20),
    name=st.sampled_from(sorted(STATISTICS)),
)
def test_values_before_the_window_change_no_bit(values: list[float], start: int, window: int, name: str) -> None:
    start = min(start, len(values) - 1)
    with np.errstate(over="ignore", invalid="ignore"):
        full = STATISTICS[name](Rolling(np.array(values)), window)
        part = STATISTICS[name](Rolling(np.array(values[start:])), window)
    np.testing.assert_array_equal(part[window - 1 :], full[start + window - 1 :])


@pytest.mark.parametrize("name", STATISTICS)
def test_outlier_before_the_window_has_no_effect(name: str) -> None:
    values = series(200)
    with_outlier = values.copy()
    with_outlier[50] = 1e18
    window = 30
    after = slice(50 + window, None)
    np.testing.assert_array_equal(
        STATISTICS[name](Rolling(with_outlier), window)[after], STATISTICS[name](Rolling(values), window)[after]
    )


@pytest.mark.parametrize("name", STATISTICS)
@pytest.mark.parametrize("window", [1, 6, 7, 8])
def test_only_windows_with_nan_are_nan(name: str, window: int) -> None:
    values = series(60)
    values[30] = np.nan
    result = np.isnan(STATISTICS[name](Rolling(values), window))
    expected = np.zeros(60, dtype=bool)
    expected[: window - 1] = expected[30 : 30 + window] = True
    assert result.tolist() == expected.tolist()


@pytest.mark.parametrize("constant", [0.0, 0.1, 1 / 3, 1e-9, 123456.789, -7e12])
@pytest.mark.parametrize("window", [2, 20, 60, 240])
def test_deviation_of_a_constant_window_is_zero(constant: float, window: int) -> None:
    mean, deviation = Rolling(np.full(300, constant)).mean_and_deviation(window)
    assert set(deviation[window - 1 :]) == {0.0}
    assert set(mean[window - 1 :]) == {constant}


def test_deviation_is_exact_with_a_large_mean() -> None:
    values = series(400)
    _, deviation = Rolling(values + 1e9).mean_and_deviation(60)
    expected = [np.std(values[end - 60 : end]) for end in range(60, 401)]
    np.testing.assert_allclose(deviation[59:], expected, rtol=1e-6)


@pytest.mark.parametrize("name", STATISTICS)
def test_window_longer_than_the_series_is_nan(name: str) -> None:
    assert np.isnan(STATISTICS[name](Rolling(series(10)), 11)).all()


@pytest.mark.parametrize("name", ["sum", "mean", "mean again", "deviation"])
@pytest.mark.parametrize("window", [0, -3])
def test_window_of_no_bars_is_refused(name: str, window: int) -> None:
    with pytest.raises(ValueError, match=f"at least one bar, not {window}"):
        STATISTICS[name](Rolling(series(10)), window)


def test_computing_one_window_does_not_change_another() -> None:
    values = series(300)
    fresh = Rolling(values).sum(37)
    used = Rolling(values)
    for window in (200, 5, 64):
        used.sum(window), used.maximum(window), used.mean_and_deviation(window)
    np.testing.assert_array_equal(used.sum(37), fresh)


@pytest.mark.parametrize("bars", [0, 1, 4, 5])
def test_shift_moves_values_later_and_starts_with_nan(bars: int) -> None:
    values = np.arange(5.0)
    np.testing.assert_array_equal(shift(values, bars), np.concatenate([np.full(bars, np.nan), values])[:5])
