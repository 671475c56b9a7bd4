"""Error rates of the rule "better" on simulated data with known probabilities.

The simulated volatility is known, so the true probabilities of DOWN, FLAT and UP over the next ten
minutes are known, and outcomes overlap as real ones do. Forecasts are the truth with known errors.
"""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.stats import norm

from hybrid_ml.learning.comparison import Comparison, compare, standard_error_of_mean
from hybrid_ml.learning.promotion import CAUTION
from hybrid_ml.market.labels import HORIZON_MINUTES

TERCILE = 1.36
"""About a third of the simulated outcomes are smaller."""
SIMULATIONS = 300
Forecast = Callable[[NDArray[np.float64], np.random.Generator], NDArray[np.float64]]


def slow_noise(random: np.random.Generator, count: int, decay: float, size: float) -> NDArray[np.float64]:
    return lfilter([1.0], [1.0, -decay], random.normal(0.0, size, count + 1_000))[1_000:]


def simulate(random: np.random.Generator, rows: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ten-minute returns from each minute on, overlapping, and their true standard deviations."""
    volatility = np.exp(slow_noise(random, rows + HORIZON_MINUTES, 0.995, 0.05))
    returns = random.normal(size=len(volatility)) * volatility
    ahead = np.lib.stride_tricks.sliding_window_view
    return (
        ahead(returns, HORIZON_MINUTES)[:rows].sum(axis=1),
        np.sqrt(ahead(volatility**2, HORIZON_MINUTES)[:rows].sum(axis=1)),
    )


def losses(returns: NDArray[np.float64], deviation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log loss of a forecast with this standard deviation, in nats per row."""
    flat = np.clip(2 * norm.cdf(TERCILE / deviation) - 1, 1e-3, 1 - 2e-3)
    return np.where(np.abs(returns) <= TERCILE, -np.log(flat), -np.log((1 - flat) / 2))


def outcomes(incumbent: Forecast, challenger: Forecast, rows: int) -> list[Comparison]:
    comparisons = []
    for seed in range(SIMULATIONS):
        random = np.random.default_rng(seed)
        returns, truth = simulate(random, rows)
        seed_of_noise = random.integers(1 << 30)
        forecasts = [forecast(truth, np.random.default_rng(seed_of_noise)) for forecast in (incumbent, challenger)]
        comparisons.append(compare(losses(returns, forecasts[0]), losses(returns, forecasts[1])))
    return comparisons


def exact(truth: NDArray[np.float64], _: np.random.Generator) -> NDArray[np.float64]:
    return truth


def underestimating(truth: NDArray[np.float64], _: np.random.Generator) -> NDArray[np.float64]:
    """About 0.011 nats worse than the truth, as 23,000 rows are against 80,000 on real bars."""
    return truth * 0.8


def with_errors(sign: float) -> Forecast:
    """Slowly varying errors of the same size with either sign, so that neither forecast is better."""
    return lambda truth, random: truth * np.exp(sign * slow_noise(random, len(truth), 0.98, 0.05))


@pytest.mark.parametrize("rows", [200, 2_000])
def test_standard_error_matches_the_spread_of_gains(rows: int) -> None:
    """Over many simulations the gain in standard errors has a spread of about 1, although outcomes overlap tenfold."""
    comparisons = outcomes(with_errors(1.0), with_errors(-1.0), rows)
    spread = np.std([comparison.z for comparison in comparisons])
    assert 0.9 < spread < 1.25
    ratio = np.std([comparison.gain for comparison in comparisons]) / np.mean(
        [comparison.standard_error for comparison in comparisons]
    )
    assert 0.8 < ratio < 1.3


def share_promoted(comparisons: list[Comparison]) -> float:
    return float(np.mean([comparison.is_better(CAUTION) for comparison in comparisons]))


def test_error_rates_of_promotion_are_within_bounds() -> None:
    """2,000 unseen rows, as a weekly challenger meets: docs/reliability.md has the figures."""
    equal = share_promoted(outcomes(with_errors(1.0), with_errors(-1.0), 2_000))
    worse = share_promoted(outcomes(exact, underestimating, 2_000))
    better = share_promoted(outcomes(underestimating, exact, 2_000))
    assert equal < 0.25
    assert worse < 0.01
    assert better > 0.65


def test_standard_error_of_independent_values_is_the_usual_one() -> None:
    values = np.random.default_rng(0).normal(size=200_000)
    assert standard_error_of_mean(values) == pytest.approx(values.std() / np.sqrt(len(values)), rel=0.05)


def test_repeated_values_do_not_reduce_the_standard_error() -> None:
    values = np.random.default_rng(0).normal(size=2_000)
    once, repeated = standard_error_of_mean(values), standard_error_of_mean(np.repeat(values, HORIZON_MINUTES))
    assert 0.75 * once < repeated < 1.1 * once


@pytest.mark.parametrize(
    ("incumbent", "challenger", "better"),
    [([], [], False), ([2.0], [1.0], False), ([1.0, 1.0], [1.0, 1.0], False), ([2.0, 2.0], [1.0, 1.0], True)],
)
def test_comparison_needs_two_rows_and_a_gain(incumbent: list[float], challenger: list[float], better: bool) -> None:
    assert compare(np.array(incumbent), np.array(challenger)).is_better(CAUTION) is better


def test_nan_losses_are_never_better() -> None:
    broken = np.full(50, np.nan)
    assert not compare(np.ones(50), broken).is_better(CAUTION)
    assert not compare(broken, np.ones(50)).is_better(CAUTION)
