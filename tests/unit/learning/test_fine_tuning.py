"""Fine-tuning: LightGBM's own refit, walked only as far as unseen rows agree."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss

from hybrid_ml.learning.comparison import Comparison
from hybrid_ml.learning.fine_tuning import (
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
    """The whole refit on these rows as fine-tuning makes it."""
    labels, leaves = rows.labels(model.base.label_threshold), model.leaves(rows.features)
    return refit_leaves(model.base.leaf_values, leaves, labels, learning_rate=0.05, lambda_l2=REFIT_L2)


def refit_by_lightgbm(model: HybridModel, rows: Rows) -> np.ndarray:
    """`Booster.refit` on these rows, with the L2 the base was trained with, read leaf by leaf."""
    labels = rows.labels(model.base.label_threshold)
    booster = model.base.booster.refit(rows.features, labels, decay_rate=0.9, num_threads=1)
    table = np.zeros_like(model.base.leaf_values)
    for tree, info in enumerate(booster.dump_model()["tree_info"]):
        for leaf in range(info["num_leaves"]):
            table[tree, leaf] = booster.get_leaf_output(tree, leaf)
    return table


def parts(rows: Rows, count: int) -> tuple[Rows, Rows]:
    """Fitting and judging rows found by their times."""
    window = rows.labelled().last(count)
    judging = window.last(JUDGING_ROWS)
    before = window.times + pd.Timedelta(minutes=11) <= judging.times[0]
    return window.take(np.flatnonzero(before)), judging


def loss_on(model: HybridModel, rows: Rows) -> float:
    labels = rows.labels(model.base.label_threshold)
    return float(log_loss(labels, model.probabilities(rows.features), labels=[0, 1, 2]))


@pytest.mark.parametrize("count", [40, 300, 1_500])
def test_refitting_leaves_is_what_lightgbm_does(model: HybridModel, market: Window, count: int) -> None:
    rows = market.rows.labelled().last(count)
    refitted = refit_leaves(
        model.base.leaf_values,
        model.leaves(rows.features),
        rows.labels(model.base.label_threshold),
        learning_rate=model.base.parameters["learning_rate"],
        lambda_l2=model.base.parameters["lambda_l2"],
    )
    assert np.abs(refitted - refit_by_lightgbm(model, rows)).max() < 1e-8
    assert np.abs(refitted - model.base.leaf_values).max() > 1e-3


def test_a_leaf_that_no_row_reaches_keeps_nine_tenths_of_its_value(model: HybridModel, market: Window) -> None:
    row = market.rows.labelled().last(1)
    leaves = model.leaves(row.features)
    refitted = refit_leaves(
        model.base.leaf_values, leaves, row.labels(model.base.label_threshold), learning_rate=0.05, lambda_l2=20.0
    )
    reached = np.zeros(refitted.shape, dtype=bool)
    reached[np.arange(len(refitted)), leaves[0]] = True
    np.testing.assert_allclose(refitted[~reached], 0.9 * model.base.leaf_values[~reached], rtol=1e-12)
    assert not np.isclose(refitted[reached], 0.9 * model.base.leaf_values[reached], rtol=1e-12, atol=0).any()


@pytest.mark.parametrize("count", [500, 700, 1_000])
def test_an_adapter_serves_unless_the_judging_rows_speak_against_it(
    model: HybridModel, market: Window, count: int
) -> None:
    for end in ENDS:
        rows = market.rows.take(slice(0, end))
        trial = tune(model, rows, count)
        _, judging = parts(rows, count)
        base, adapted = loss_on(model, judging), loss_on(model.with_adapter(trial.adapter), judging)
        assert trial.base_log_loss == pytest.approx(base, abs=1e-9)
        assert trial.adapted_log_loss == pytest.approx(adapted, abs=1e-5)
        assert (trial.refit.gain > 0) == (trial.adapter.step == 1.0)
        doubtful = trial.refit.gain <= -MAX_REGRESSION_Z * trial.refit.standard_error
        assert doubtful == (trial.adapter.leaf_values is None) == (trial.adapter.step == 0.0)


def test_an_adapter_is_a_share_of_the_refit_on_rows_that_closed_before_the_judges(
    model: HybridModel, market: Window
) -> None:
    base = model.base.leaf_values
    moved = 0
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
        if adapter.leaf_values is not None and moved < 3:
            moved += 1
            assert adapter.leaf_values.dtype == np.float32
            expected = base + adapter.step * (refit(model, fitting) - base)
            np.testing.assert_allclose(adapter.leaf_values, expected, atol=1e-6)
    assert moved


def judged_by(model: HybridModel, rows: Rows, place: int) -> Rows:
    """Rows whose judges' outcomes are the class whose chance a full refit changes the most (2), less (1), least (0)."""
    fitting, judging = parts(rows, 1_000)
    leaves = model.leaves(judging.features)
    gain = sum_leaves(refit(model, fitting) - model.base.leaf_values, leaves)
    wanted = gain.argsort(axis=1)[:, place]
    returns = rows.forward_returns.copy()
    known = np.flatnonzero(np.isfinite(returns))[-JUDGING_ROWS:]
    returns[known] = (wanted - 1) * 2 * model.base.label_threshold
    return with_returns(rows, returns)


def test_where_the_judges_agree_the_whole_way_is_gone_and_where_they_do_not_the_base_stays(
    model: HybridModel, market: Window
) -> None:
    gone = tune(model, judged_by(model, market.rows, 2))
    assert gone.adapter.step == 1.0
    assert gone.adapted_log_loss < gone.base_log_loss
    stayed = tune(model, judged_by(model, market.rows, 0))
    assert (stayed.adapter.step, stayed.adapter.leaf_values) == (0.0, None)
    assert stayed.adapted_log_loss == stayed.base_log_loss == stayed.adapter.metrics["base_log_loss"]
    assert stayed.refit.z < -MAX_REGRESSION_Z


def test_the_judging_rows_have_no_part_in_the_refit(model: HybridModel, market: Window) -> None:
    """Every twentieth judge sees another outcome; the adapter, gone the whole way, must be the same."""
    agreeing, mixed = (judged_by(model, market.rows, 2) for _ in range(2))
    turned = np.flatnonzero(np.isfinite(mixed.forward_returns))[-JUDGING_ROWS:][::20]
    mixed.forward_returns[turned] = np.where(mixed.forward_returns[turned] == 0, 1.0, 0.0)
    adapters = [tune(model, rows).adapter for rows in (agreeing, mixed)]
    assert adapters[0].metrics != adapters[1].metrics
    assert [adapter.step for adapter in adapters] == [1.0, 1.0]
    np.testing.assert_array_equal(adapters[0].leaf_values, adapters[1].leaf_values)


def test_every_fine_tune_starts_from_the_base(model: HybridModel, adapted: HybridModel, market: Window) -> None:
    rows = always_rising(market.rows, 5 * model.base.label_threshold)
    from_base, from_adapted = tune(model, rows).adapter, tune(adapted, rows).adapter
    assert adapted.adapted
    assert from_base.leaf_values is not None
    assert from_adapted.packed == from_base.packed
    assert from_adapted.version == from_base.version


def test_no_number_of_fine_tunes_makes_the_model_grow(model: HybridModel, market: Window) -> None:
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


def test_labels_are_those_of_the_bases_threshold(model: HybridModel, market: Window) -> None:
    deaf = HybridModel(replace(model.base, label_threshold=1.0))
    trial = tune(deaf, market.rows)
    assert trial.adapted_log_loss < trial.base_log_loss
    _, judging = parts(market.rows, 1_000)
    flat = model.probabilities(judging.features)[:, FLAT]
    assert trial.base_log_loss == pytest.approx(-np.log(flat).mean())


def test_prices_that_stopped_moving_can_be_fine_tuned_on(model: HybridModel) -> None:
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


def test_a_window_of_one_class_moves_the_answers_towards_it(model: HybridModel, market: Window) -> None:
    rising = always_rising(market.rows, model.base.label_threshold)
    assert set(rising.labelled().labels(model.base.label_threshold)) == {UP}
    trial = tune(model, rising)
    assert trial.adapter.step == 1.0
    assert trial.adapter.leaf_values is not None
    assert np.isfinite(trial.adapter.leaf_values).all()
    newest = rising.last(300).features
    before, after = (m.probabilities(newest)[:, UP] for m in (model, model.with_adapter(trial.adapter)))
    assert (after > before).all()


def test_features_that_are_all_unknown_can_be_fine_tuned_on(model: HybridModel, market: Window) -> None:
    blind = Rows(np.full_like(market.rows.features, np.nan), market.rows.forward_returns, market.rows.times)
    trial = tune(model, blind)
    assert np.isfinite([trial.base_log_loss, trial.adapted_log_loss]).all()
    assert trial.adapted_log_loss <= trial.base_log_loss
    assert np.isfinite(model.with_adapter(trial.adapter).probabilities(blind.latest().features)).all()


def test_rows_that_are_not_labelled_yet_are_left_out(model: HybridModel, market: Window) -> None:
    rows = always_rising(market.rows, model.base.label_threshold)
    assert np.isnan(rows.forward_returns[-10:]).all()
    labelled, everything = (tune(model, item).adapter.leaf_values for item in (rows.labelled(), rows))
    assert labelled is not None
    np.testing.assert_array_equal(labelled, everything)


def test_too_few_labelled_rows_are_refused(model: HybridModel, market: Window) -> None:
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
def test_how_far_to_go_is_what_unseen_rows_say(gain: float, standard_error: float, step: float) -> None:
    assert choose_step(Comparison(gain, standard_error, 200)) == step


def test_rows_that_the_base_has_seen_adopt_nothing(model: HybridModel, market: Window) -> None:
    """The base is said to have seen the newest judging rows but one."""
    rows = always_rising(market.rows, model.base.label_threshold)
    judging = parts(rows, 1_000)[1]
    knowing = HybridModel(replace(model.base, trained_until=judging.times[1].to_pydatetime()))
    assert tune(model, rows).adapter.step == 1.0
    assert tune(knowing, rows).adapter.leaf_values is None
