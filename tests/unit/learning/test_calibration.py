"""Temperature scaling: recovers a known temperature, and stays near 1 with few rows."""

import numpy as np
import pytest

from hybrid_ml.learning.calibration import HIGHEST, LOWEST, fit_temperature
from hybrid_ml.learning.model import HybridModel, softmax
from hybrid_ml.learning.training import train_base
from tests.simulated import moment, with_returns
from tests.unit.conftest import ROW_LIMIT, TRAINING_MINUTES, Trained


def draw_labels(scores: np.ndarray, temperature: float, seed: int = 1) -> np.ndarray:
    """Labels drawn from softmax(scores / temperature)."""
    probabilities = softmax(scores / temperature)
    return (np.random.default_rng(seed).random((len(scores), 1)) > probabilities.cumsum(axis=1)).sum(axis=1)


@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.6])
def test_known_temperature_is_recovered(temperature: float) -> None:
    scores = np.random.default_rng(0).normal(size=(100_000, 3))
    assert fit_temperature(scores, draw_labels(scores, temperature)) == pytest.approx(temperature, rel=0.03)


def test_temperature_stays_near_1_with_few_rows() -> None:
    scores = np.random.default_rng(0).normal(size=(100, 3))
    assert 0.8 < fit_temperature(scores, draw_labels(scores, 3.0)) < 1.3
    assert fit_temperature(np.zeros((0, 3)), np.zeros(0, dtype=np.int64)) == pytest.approx(1.0, abs=1e-3)


def test_temperature_stays_within_its_bounds() -> None:
    scores = np.random.default_rng(0).normal(size=(200_000, 3))
    assert fit_temperature(scores, draw_labels(scores, 50.0)) == pytest.approx(HIGHEST, rel=0.01)
    assert fit_temperature(scores, scores.argmax(axis=1)) == pytest.approx(LOWEST, rel=0.01)


def test_temperature_depends_on_calibration_rows_only(trained: Trained) -> None:
    """Other outcomes on the hold-out do not change it; other outcomes on the calibration rows do."""

    def refitted(minutes: slice) -> HybridModel:
        returns = trained.offered.forward_returns.copy()
        labelled = np.flatnonzero(np.isfinite(returns))[minutes]
        returns[labelled] *= np.where(np.arange(len(labelled)) % 2, 5.0, 0.0)
        rows = with_returns(trained.offered, returns)
        return train_base(
            rows, symbol="DEMO", kind="base", row_limit=ROW_LIMIT, week=0, as_of=moment(TRAINING_MINUTES), num_threads=1
        )[0]

    temperature = trained.model.base.temperature
    assert LOWEST < temperature < HIGHEST
    assert refitted(slice(-len(trained.hold_out), None)).base.temperature == temperature
    calibration = slice(-len(trained.hold_out) - 11 - 100, -len(trained.hold_out) - 11)
    assert refitted(calibration).base.temperature != temperature
    assert refitted(calibration).base.leaf_values.tolist() == trained.model.base.leaf_values.tolist()
