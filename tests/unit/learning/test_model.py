"""The model's answers, against LightGBM's own and against plain sums."""

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
    """Some rows with full windows and some of a session's first minutes, where most features are NaN."""
    return market.rows.take(np.r_[0:60, 8_000:8_300])


def test_raw_scores_are_those_of_the_booster(model: HybridModel, rows: Rows) -> None:
    expected = model.base.booster.predict(rows.features, raw_score=True, num_threads=1)
    np.testing.assert_allclose(model.raw_scores(model.leaves(rows.features)), expected, rtol=0, atol=1e-12)


def test_probabilities_are_those_of_the_booster(model: HybridModel, rows: Rows) -> None:
    assert np.isnan(rows.features).any()
    cold = HybridModel(replace(model.base, temperature=1.0))
    expected = model.base.booster.predict(rows.features, num_threads=1)
    np.testing.assert_allclose(cold.probabilities(rows.features), expected, rtol=0, atol=1e-12)


def test_one_row_gets_the_same_answer_alone_as_among_others(adapted: HybridModel, rows: Rows) -> None:
    together = adapted.probabilities(rows.features)
    for position in (0, 100, len(rows) - 1):
        alone = adapted.probabilities(rows.features[position : position + 1])
        np.testing.assert_array_equal(alone, together[position : position + 1])


def test_threads_change_no_answer(model: HybridModel, rows: Rows) -> None:
    np.testing.assert_array_equal(
        model.probabilities(rows.features, num_threads=2), model.probabilities(rows.features, num_threads=1)
    )


def test_an_adapter_replaces_the_leaf_values_and_nothing_else(adapted: HybridModel, rows: Rows) -> None:
    assert adapted.adapter is not None
    assert adapted.adapter.leaf_values is not None
    leaves = adapted.base.booster.predict(rows.features[:5], pred_leaf=True, num_threads=1).astype(int)
    for row, places in enumerate(leaves):
        scores = [0.0, 0.0, 0.0]
        for tree, leaf in enumerate(places):
            scores[tree % 3] += float(adapted.adapter.leaf_values[tree, leaf])
        warmed = np.exp(np.array(scores) / adapted.base.temperature)
        chances = warmed / warmed.sum()
        np.testing.assert_allclose(adapted.probabilities(rows.features)[row], chances, atol=1e-9)


def test_the_base_can_be_asked_past_its_adapter(adapted: HybridModel, rows: Rows) -> None:
    base = adapted.with_adapter(None)
    np.testing.assert_array_equal(adapted.base_probabilities(rows.features), base.probabilities(rows.features))
    assert np.abs(adapted.probabilities(rows.features) - base.probabilities(rows.features)).max() > 1e-4


def test_the_temperature_flattens_the_answers_and_keeps_their_order(model: HybridModel, rows: Rows) -> None:
    warm = HybridModel(replace(model.base, temperature=3.0))
    cool, flat = model.probabilities(rows.features), warm.probabilities(rows.features)
    np.testing.assert_array_equal(cool.argsort(axis=1), flat.argsort(axis=1))
    scores = model.base.booster.predict(rows.features, raw_score=True, num_threads=1)
    np.testing.assert_allclose(flat, softmax(scores / 3.0), atol=1e-12)


def test_answers_carry_the_version_of_the_part_that_gave_them(model: HybridModel, adapted: HybridModel) -> None:
    adapter = adapted.adapter
    assert adapter is not None
    assert (model.version, model.kind, model.trained_until) == (model.base.version, "base", model.base.trained_until)
    assert (adapted.version, adapted.kind, adapted.trained_until) == (
        adapter.version,
        "adapter",
        adapter.trained_until,
    )
    assert adapter.trained_until > model.base.trained_until


def test_a_trial_that_found_nothing_leaves_the_base_to_answer(
    model: HybridModel, adapted: HybridModel, rows: Rows
) -> None:
    assert adapted.adapter is not None
    stayed: Adapter = replace(adapted.adapter, leaf_values=None, step=0.0)
    staying = model.with_adapter(stayed)
    assert not staying.adapted
    assert (staying.version, staying.kind, staying.trained_until) == (model.version, model.kind, model.trained_until)
    np.testing.assert_array_equal(staying.probabilities(rows.features), model.probabilities(rows.features))


def test_a_model_is_never_changed_by_adapting_it(model: HybridModel, adapted: HybridModel) -> None:
    assert model.adapter is None
    assert adapted.base is model.base


def test_a_model_tells_what_it_is_in_one_line(model: HybridModel, adapted: HybridModel) -> None:
    assert str(model).startswith(f"HybridModel {model.version} (base of DEMO): 6,000 rows until 2024-01-05")
    assert "900 trees" in str(model)
    assert f"hold-out accuracy {model.base.metrics['accuracy']:.3f}" in str(model)
    assert "adapted at 2024-01-06 23:20" in str(adapted)
    assert "\n" not in str(adapted)


@given(scores=arrays(np.float64, st.tuples(st.integers(1, 6), st.just(3)), elements=st.floats(-1e4, 1e4)))
def test_softmax_gives_probabilities_of_any_scores(scores: np.ndarray) -> None:
    chances = softmax(scores)
    np.testing.assert_allclose(chances.sum(axis=1), 1.0, rtol=1e-12)
    assert (chances >= 0).all()
    assert (np.take_along_axis(chances, scores.argmax(axis=1)[:, None], axis=1)[:, 0] == chances.max(axis=1)).all()
    np.testing.assert_allclose(softmax(scores + 100.0), chances, atol=1e-9)


@given(seed=st.integers(0, 10_000), rounds=st.integers(1, 5), count=st.integers(1, 6), width=st.integers(1, 4))
def test_leaf_values_are_added_up_by_class(seed: int, rounds: int, count: int, width: int) -> None:
    random = np.random.default_rng(seed)
    values = random.normal(size=(3 * rounds, width))
    leaves = random.integers(0, width, (count, 3 * rounds))
    expected = [[sum(values[t, row[t]] for t in range(k, 3 * rounds, 3)) for k in range(3)] for row in leaves]
    np.testing.assert_allclose(sum_leaves(values, leaves), expected, atol=1e-12)
