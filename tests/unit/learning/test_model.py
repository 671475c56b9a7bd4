"""The model's probabilities compared with LightGBM and with plain sums."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hybrid_ml.learning.model import Adapter, HybridModel, softmax, sum_leaves
from hybrid_ml.learning.rows import Rows, Window


@pytest.fixture(scope="module")
def rows(market: Window) -> Rows:
    """Rows with full windows, and rows of a session's first minutes, where most features are NaN."""
    return market.rows.take(np.r_[0:60, 8_000:8_300])


def test_raw_scores_equal_the_booster(model: HybridModel, rows: Rows) -> None:
    expected = model.base.booster.predict(rows.features, raw_score=True, num_threads=1)
    np.testing.assert_allclose(model.raw_scores(model.leaves(rows.features)), expected, rtol=0, atol=1e-12)


def test_probabilities_equal_the_booster(model: HybridModel, rows: Rows) -> None:
    assert np.isnan(rows.features).any()
    cold = HybridModel(replace(model.base, temperature=1.0))
    expected = model.base.booster.predict(rows.features, num_threads=1)
    np.testing.assert_allclose(cold.probabilities(rows.features), expected, rtol=0, atol=1e-12)


def test_single_row_gets_the_same_probabilities_as_in_a_batch(adapted: HybridModel, rows: Rows) -> None:
    batch = adapted.probabilities(rows.features)
    for position in (0, 100, len(rows) - 1):
        single = adapted.probabilities(rows.features[position : position + 1])
        np.testing.assert_array_equal(single, batch[position : position + 1])


def test_number_of_threads_does_not_change_probabilities(model: HybridModel, rows: Rows) -> None:
    np.testing.assert_array_equal(
        model.probabilities(rows.features, num_threads=2), model.probabilities(rows.features, num_threads=1)
    )


def test_adapter_replaces_only_the_leaf_values(adapted: HybridModel, rows: Rows) -> None:
    assert adapted.adapter is not None
    assert adapted.adapter.leaf_values is not None
    leaves = adapted.base.booster.predict(rows.features[:5], pred_leaf=True, num_threads=1).astype(int)
    for row, row_leaves in enumerate(leaves):
        scores = [0.0, 0.0, 0.0]
        for tree, leaf in enumerate(row_leaves):
            scores[tree % 3] += float(adapted.adapter.leaf_values[tree, leaf])
        exponentials = np.exp(np.array(scores) / adapted.base.temperature)
        probabilities = exponentials / exponentials.sum()
        np.testing.assert_allclose(adapted.probabilities(rows.features)[row], probabilities, atol=1e-9)


def test_base_probabilities_ignore_the_adapter(adapted: HybridModel, rows: Rows) -> None:
    base = adapted.with_adapter(None)
    np.testing.assert_array_equal(adapted.base_probabilities(rows.features), base.probabilities(rows.features))
    assert np.abs(adapted.probabilities(rows.features) - base.probabilities(rows.features)).max() > 1e-4


def test_temperature_flattens_probabilities_and_keeps_their_order(model: HybridModel, rows: Rows) -> None:
    warm = HybridModel(replace(model.base, temperature=3.0))
    cool, flat = model.probabilities(rows.features), warm.probabilities(rows.features)
    np.testing.assert_array_equal(cool.argsort(axis=1), flat.argsort(axis=1))
    scores = model.base.booster.predict(rows.features, raw_score=True, num_threads=1)
    np.testing.assert_allclose(flat, softmax(scores / 3.0), atol=1e-12)


def test_version_is_that_of_the_adapter_if_there_is_one(model: HybridModel, adapted: HybridModel) -> None:
    adapter = adapted.adapter
    assert adapter is not None
    assert (model.version, model.kind, model.trained_until) == (model.base.version, "base", model.base.trained_until)
    assert (adapted.version, adapted.kind, adapted.trained_until) == (
        adapter.version,
        "adapter",
        adapter.trained_until,
    )
    assert adapter.trained_until > model.base.trained_until


def test_rejected_adapter_leaves_the_base_in_use(model: HybridModel, adapted: HybridModel, rows: Rows) -> None:
    assert adapted.adapter is not None
    rejected: Adapter = replace(adapted.adapter, leaf_values=None, step=0.0)
    unadapted = model.with_adapter(rejected)
    assert not unadapted.adapted
    assert (unadapted.version, unadapted.kind, unadapted.trained_until) == (
        model.version,
        model.kind,
        model.trained_until,
    )
    np.testing.assert_array_equal(unadapted.probabilities(rows.features), model.probabilities(rows.features))


def test_with_adapter_does_not_change_the_model(model: HybridModel, adapted: HybridModel) -> None:
    assert model.adapter is None
    assert adapted.base is model.base


def test_str_of_a_model_is_one_line(model: HybridModel, adapted: HybridModel) -> None:
    assert str(model).startswith(f"HybridModel {model.version} (base of DEMO): 6,000 rows until 2024-01-05")
    assert "900 trees" in str(model)
    assert f"hold-out accuracy {model.base.metrics['accuracy']:.3f}" in str(model)
    assert "adapted at 2024-01-06 23:20" in str(adapted)
    assert "\n" not in str(adapted)


@given(scores=arrays(np.float64, st.tuples(st.integers(1, 6), st.just(3)), elements=st.floats(-1e4, 1e4)))
def test_softmax_gives_probabilities_for_any_scores(scores: np.ndarray) -> None:
    probabilities = softmax(scores)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-12)
    assert (probabilities >= 0).all()
    assert (
        np.take_along_axis(probabilities, scores.argmax(axis=1)[:, None], axis=1)[:, 0] == probabilities.max(axis=1)
    ).all()
    np.testing.assert_allclose(softmax(scores + 100.0), probabilities, atol=1e-9)


@given(seed=st.integers(0, 10_000), rounds=st.integers(1, 5), count=st.integers(1, 6), width=st.integers(1, 4))
def test_leaf_values_are_summed_by_class(seed: int, rounds: int, count: int, width: int) -> None:
    random = np.random.default_rng(seed)
    values = random.normal(size=(3 * rounds, width))
    leaves = random.integers(0, width, (count, 3 * rounds))
    expected = [[sum(values[t, row[t]] for t in range(k, 3 * rounds, 3)) for k in range(3)] for row in leaves]
    np.testing.assert_allclose(sum_leaves(values, leaves), expected, atol=1e-12)
