"""Fine-tuning: LightGBM's refit, with a step size that unseen rows decide."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss

from hybrid_ml.learning.comparison import Comparison
from hybrid_ml.learning.fine_tuning import (
    DECAY,
    JUDGING_ROWS,
    MAX_REGRESSION_Z,
    MINIMUM_FINE_TUNE_ROWS,
    REFIT_L2,
    UNDECIDED_STEP,
    FineTuneTrial,
    choose_step,
    fine_tune,
    refit_leaves,
)
from hybrid_ml.learning.model import HybridModel, sum_leaves
from hybrid_ml.learning.model_bytes import pack_file
from hybrid_ml.learning.rows import Rows, Window, make_window
from hybrid_ml.market.bars import MAX_GAP_MINUTES
from hybrid_ml.market.labels import FLAT, UP
from tests.simulated import always_rising, hand_made_bars, moment, simulated_bars, with_returns
from tests.unit.conftest import MARKET_MINUTES

AS_OF = moment(MARKET_MINUTES)
ENDS = range(7_600, MARKET_MINUTES + 1, 100)


def tune(model: HybridModel, rows: Rows, count: int = 1_000) -> FineTuneTrial:
    return fine_tune(model, rows, count=count, as_of=AS_OF)


def refit(model: HybridModel, rows: Rows) -> np.ndarray:
    """The full refit on these rows, as in fine-tuning."""
    labels, leaves = rows.labels(model.base.label_threshold), model.leaves(rows.features)
    return refit_leaves(model.base.leaf_values, leaves, labels, learning_rate=0.05, lambda_l2=REFIT_L2)


def refit_by_lightgbm(model: HybridModel, rows: Rows) -> np.ndarray:
    """`Booster.refit` on these rows, with the L2 the base was trained with, read leaf by leaf."""
    labels = rows.labels(model.base.label_threshold)
    booster = model.base.booster.refit(rows.features, labels, decay_rate=DECAY, num_threads=1)
    table = np.zeros_like(model.base.leaf_values)
    for tree, info in enumerate(booster.dump_model()["tree_info"]):
        for leaf in range(info["num_leaves"]):
            table[tree, leaf] = booster.get_leaf_output(tree, leaf)
    return table


def parts(rows: Rows, count: int) -> tuple[Rows, Rows]:
    """Fitting and judging rows, split by their times."""
    window = rows.labelled().last(count)
    judging = window.last(JUDGING_ROWS)
    before = window.times + pd.Timedelta(minutes=11) <= judging.times[0]
    return window.take(np.flatnonzero(before)), judging


def loss_on(model: HybridModel, rows: Rows) -> float:
    labels = rows.labels(model.base.label_threshold)
    return float(log_loss(labels, model.probabilities(rows.features), labels=[0, 1, 2]))


@pytest.mark.parametrize("count", [40, 300, 1_500])
def test_refit_equals_lightgbm(model: HybridModel, market: Window, count: int) -> None:
    rows = market.rows.labelled().last(count)
    refitted = refit_leaves(
        model.base.leaf_values,
        model.leaves(rows.features),
        rows.labels(model.base.label_threshold),
        learning_rate=model.base.parameters["learning_rate"],
        lambda_l2=model.base.parameters["lambda_l2"],
    )
    assert np.abs(refitted - refit_by_lightgbm(model, rows)).max() < 1e-8
    assert np.abs(refitted - model.base.leaf_values).max() > 1e-4


def test_leaf_without_rows_keeps_its_value_but_for_the_decay(model: HybridModel, market: Window) -> None:
    row = market.rows.labelled().last(1)
    leaves = model.leaves(row.features)
    refitted = refit_leaves(
        model.base.leaf_values, leaves, row.labels(model.base.label_threshold), learning_rate=0.05, lambda_l2=20.0
    )
    reached = np.zeros(refitted.shape, dtype=bool)
    reached[np.arange(len(refitted)), leaves[0]] = True
    np.testing.assert_allclose(refitted[~reached], DECAY * model.base.leaf_values[~reached], rtol=1e-12)
    assert not np.isclose(refitted[reached], DECAY * model.base.leaf_values[reached], rtol=1e-12, atol=0).any()


@pytest.mark.parametrize("count", [500, 700, 1_000])
def test_adapter_is_used_unless_judging_rows_get_worse(model: HybridModel, market: Window, count: int) -> None:
    for end in ENDS:
        rows = market.rows.take(slice(0, end))
        trial = tune(model, rows, count)
        _, judging = parts(rows, count)
        base, adapted = loss_on(model, judging), loss_on(model.with_adapter(trial.adapter), judging)
        assert trial.base_log_loss == pytest.approx(base, abs=1e-9)
        assert trial.adapted_log_loss == pytest.approx(adapted, abs=1e-5)
        assert (trial.refit.gain > 0) == (trial.adapter.step == 1.0)
        rejected = trial.refit.gain <= -MAX_REGRESSION_Z * trial.refit.standard_error
        assert rejected == (trial.adapter.leaf_values is None) == (trial.adapter.step == 0.0)


def test_adapter_is_a_share_of_the_refit_on_rows_before_the_judging_rows(model: HybridModel, market: Window) -> None:
    base = model.base.leaf_values
    adopted = 0
    for end in ENDS:
        rows = market.rows.take(slice(0, end))
        adapter = tune(model, rows).adapter
        fitting, judging = parts(rows, 1_000)
        assert adapter.rows == len(fitting) == 790
        assert adapter.trained_from == fitting.times[0].to_pydatetime()
        assert adapter.trained_until == judging.times[0].to_pydatetime()
        assert adapter.data_until == rows.times[-1].to_pydatetime() + timedelta(minutes=1)
        assert (adapter.parent, adapter.as_of) == (model.base.version, AS_OF)
        assert adapter.metrics["judging_rows"] == JUDGING_ROWS
        assert adapter.step in (0.0, UNDECIDED_STEP, 1.0)
        assert (adapter.leaf_values is None) == (adapter.step == 0.0)
        if adapter.leaf_values is not None and adopted < 3:
            adopted += 1
            assert adapter.leaf_values.dtype == np.float32
            expected = base + adapter.step * (refit(model, fitting) - base)
            np.testing.assert_allclose(adapter.leaf_values, expected, atol=1e-6)
    assert adopted


def with_judging_outcomes(model: HybridModel, rows: Rows, rank: int) -> Rows:
    """Rows with judging outcomes of the class whose score a full refit raises most (2), less (1) or least (0)."""
    fitting, judging = parts(rows, 1_000)
    leaves = model.leaves(judging.features)
    gain = sum_leaves(refit(model, fitting) - model.base.leaf_values, leaves)
    target_class = gain.argsort(axis=1)[:, rank]
    returns = rows.forward_returns.copy()
    labelled = np.flatnonzero(np.isfinite(returns))[-JUDGING_ROWS:]
    returns[labelled] = (target_class - 1) * 2 * model.base.label_threshold
    return with_returns(rows, returns)


def test_full_step_when_judging_rows_improve_and_base_when_they_get_worse(model: HybridModel, market: Window) -> None:
    full = tune(model, with_judging_outcomes(model, market.rows, 2))
    assert full.adapter.step == 1.0
    assert full.adapted_log_loss < full.base_log_loss
    unchanged = tune(model, with_judging_outcomes(model, market.rows, 0))
    assert (unchanged.adapter.step, unchanged.adapter.leaf_values) == (0.0, None)
    assert unchanged.adapted_log_loss == unchanged.base_log_loss == unchanged.adapter.metrics["base_log_loss"]
    assert unchanged.refit.z < -MAX_REGRESSION_Z


def test_judging_rows_do_not_affect_the_refit(model: HybridModel, market: Window) -> None:
    """Another outcome in every twentieth judging row must not change an adapter with the full step."""
    agreeing, mixed = (with_judging_outcomes(model, market.rows, 2) for _ in range(2))
    changed_rows = np.flatnonzero(np.isfinite(mixed.forward_returns))[-JUDGING_ROWS:][::20]
    mixed.forward_returns[changed_rows] = np.where(mixed.forward_returns[changed_rows] == 0, 1.0, 0.0)
    adapters = [tune(model, rows).adapter for rows in (agreeing, mixed)]
    assert adapters[0].metrics != adapters[1].metrics
    assert [adapter.step for adapter in adapters] == [1.0, 1.0]
    np.testing.assert_array_equal(adapters[0].leaf_values, adapters[1].leaf_values)


def test_fine_tuning_always_starts_from_the_base(model: HybridModel, adapted: HybridModel, market: Window) -> None:
    rows = always_rising(market.rows, 5 * model.base.label_threshold)
    from_base, from_adapted = tune(model, rows).adapter, tune(adapted, rows).adapter
    assert adapted.adapted
    assert from_base.leaf_values is not None
    assert from_adapted.packed == from_base.packed
    assert from_adapted.version == from_base.version


def test_repeated_fine_tuning_does_not_grow_the_model(model: HybridModel, market: Window) -> None:
    current, sizes = model, []
    rows = always_rising(market.rows, model.base.label_threshold)
    for end in list(ENDS)[:5]:
        current = current.with_adapter(tune(current, rows.take(slice(0, end))).adapter)
        assert current.base is model.base
        assert current.adapter is not None
        assert current.adapter.leaf_values is not None
        assert current.adapter.leaf_values.shape == model.base.leaf_values.shape
        sizes.append(len(pack_file(current)))
    assert max(sizes) - min(sizes) < 100
    assert max(sizes) < len(pack_file(model)) + 4 * model.base.leaf_values.size + 2_000


def test_fine_tuning_labels_use_the_threshold_of_the_base(model: HybridModel, market: Window) -> None:
    all_flat = HybridModel(replace(model.base, label_threshold=1.0))
    trial = tune(all_flat, market.rows)
    assert trial.adapted_log_loss < trial.base_log_loss
    _, judging = parts(market.rows, 1_000)
    flat = model.probabilities(judging.features)[:, FLAT]
    assert trial.base_log_loss == pytest.approx(-np.log(flat).mean())


def test_constant_prices_can_be_fine_tuned_on(model: HybridModel) -> None:
    moving = simulated_bars(MARKET_MINUTES).tail(1_000)
    last = moving.iloc[-1]
    still = hand_made_bars(
        [last["close"]] * 1_200, start=last["time"].to_pydatetime() + timedelta(minutes=1), volume=0.0
    )
    rows = make_window(pd.concat([moving, still], ignore_index=True), MAX_GAP_MINUTES).rows
    trial = tune(model, rows)
    assert trial.adapted_log_loss < trial.base_log_loss
    assert trial.adapter.leaf_values is not None
    assert np.isfinite(trial.adapter.leaf_values).all()
    before, after = (m.probabilities(rows.latest().features)[0] for m in (model, model.with_adapter(trial.adapter)))
    assert after[FLAT] > before[FLAT]


def test_window_of_one_class_raises_its_probability(model: HybridModel, market: Window) -> None:
    rising = always_rising(market.rows, model.base.label_threshold)
    assert set(rising.labelled().labels(model.base.label_threshold)) == {UP}
    trial = tune(model, rising)
    assert trial.adapter.step == 1.0
    assert trial.adapter.leaf_values is not None
    assert np.isfinite(trial.adapter.leaf_values).all()
    newest = rising.last(300).features
    before, after = (m.probabilities(newest)[:, UP] for m in (model, model.with_adapter(trial.adapter)))
    assert (after > before).all()


def test_all_nan_features_can_be_fine_tuned_on(model: HybridModel, market: Window) -> None:
    unknown = Rows(np.full_like(market.rows.features, np.nan), market.rows.forward_returns, market.rows.times)
    trial = tune(model, unknown)
    assert np.isfinite([trial.base_log_loss, trial.adapted_log_loss]).all()
    assert trial.adapted_log_loss <= trial.base_log_loss
    assert np.isfinite(model.with_adapter(trial.adapter).probabilities(unknown.latest().features)).all()


def test_unlabelled_rows_are_ignored_in_fine_tuning(model: HybridModel, market: Window) -> None:
    rows = always_rising(market.rows, model.base.label_threshold)
    assert np.isnan(rows.forward_returns[-10:]).all()
    labelled, everything = (tune(model, item).adapter.leaf_values for item in (rows.labelled(), rows))
    assert labelled is not None
    np.testing.assert_array_equal(labelled, everything)


def test_fine_tuning_with_too_few_rows_is_refused(model: HybridModel, market: Window) -> None:
    fewest = market.rows.labelled().last(MINIMUM_FINE_TUNE_ROWS)
    assert tune(model, fewest).adapter.rows == MINIMUM_FINE_TUNE_ROWS - JUDGING_ROWS - 10
    with pytest.raises(ValueError, match="needs 500 labelled rows, not 499"):
        tune(model, fewest.last(499))
    with pytest.raises(ValueError, match="needs 500 labelled rows, not 490"):
        tune(model, market.rows.last(500))


@pytest.mark.parametrize(
    ("gain", "standard_error", "step"),
    [
        (0.001, 0.01, 1.0),
        (0.0, 0.01, UNDECIDED_STEP),
        (-0.016, 0.01, UNDECIDED_STEP),
        (-0.017, 0.01, 0.0),
        (0.0, 0.0, 0.0),
        (float("nan"), 0.01, 0.0),
        (float("-inf"), float("nan"), 0.0),
    ],
)
def test_step_size_depends_on_gain_and_standard_error(gain: float, standard_error: float, step: float) -> None:
    assert choose_step(Comparison(gain, standard_error, 200)) == step


def test_judging_rows_seen_by_the_base_reject_the_adapter(model: HybridModel, market: Window) -> None:
    """The base has seen all judging rows but one."""
    rows = always_rising(market.rows, model.base.label_threshold)
    judging = parts(rows, 1_000)[1]
    trained_later = HybridModel(replace(model.base, trained_until=judging.times[1].to_pydatetime()))
    assert tune(model, rows).adapter.step == 1.0
    assert tune(trained_later, rows).adapter.leaf_values is None
