"""Training: reproducible, on the training window only, and refused with too few rows."""

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import lightgbm
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss

from hybrid_ml.errors import DataUnavailable
from hybrid_ml.learning.model import HybridModel, softmax
from hybrid_ml.learning.rows import Rows
from hybrid_ml.learning.training import (
    PARAMETERS,
    boost,
    importance,
    leaf_values,
    lean_text,
    mirror_every_other,
    train_base,
)
from hybrid_ml.market.features import FEATURE_NAMES, mirror
from hybrid_ml.market.labels import DOWN, FLAT, FLAT_SHARE, UP, flat_threshold
from hybrid_ml.text.counts import counted
from tests.simulated import NOON, moment, with_returns
from tests.unit.conftest import ROW_LIMIT, TRAINING_MINUTES, Trained

CALIBRATION_ROWS = ROW_LIMIT // 20
ROOT = Path(__file__).resolve().parents[3]
TRAINING_PROGRAM = """
from hybrid_ml.learning.training import train_base
from tests.simulated import moment, simulated_window
rows = simulated_window({minutes}).rows
model, _ = train_base(rows, symbol="DE" + "MO", kind="base", row_limit={limit}, week=0, as_of=moment({minutes}),
                      num_threads=1)
print(model.version)
"""


def train(rows: Rows, row_limit: int = ROW_LIMIT) -> tuple[HybridModel, Rows]:
    return train_base(
        rows, symbol="DEMO", kind="base", row_limit=row_limit, week=0, as_of=moment(TRAINING_MINUTES), num_threads=1
    )


def changed(rows: Rows, where: np.ndarray) -> Rows:
    """Rows with other features and outcomes at `where`."""
    features, returns = rows.features.copy(), rows.forward_returns.copy()
    features[where] = -features[where] + 1
    returns[where] *= -3
    return Rows(features, returns, rows.times)


def test_same_rows_give_the_same_version_in_another_process(trained: Trained) -> None:
    script = TRAINING_PROGRAM.format(minutes=TRAINING_MINUTES, limit=ROW_LIMIT)
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "12345", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == trained.model.version


def test_training_ignores_rows_outside_of_its_window(trained: Trained) -> None:
    """Changed rows outside of the training window must not change trees, threshold and prior."""
    base = trained.model.base
    times = trained.offered.times
    outside = (times < base.trained_from) | (times >= trained.hold_out.times[0])
    assert 600 < outside.sum() < len(times) - ROW_LIMIT + 1
    model, _ = train(changed(trained.offered, outside))
    assert (model.base.trees, model.base.temperature) == (base.trees, base.temperature)
    assert (model.base.label_threshold, model.base.class_prior) == (base.label_threshold, base.class_prior)
    assert model.base.metrics["log_loss"] != base.metrics["log_loss"]


def test_one_changed_training_row_changes_the_model(trained: Trained) -> None:
    base = trained.model.base
    few = trained.offered.labelled().last(2_600)
    versions = {train(rows, 2_000)[0].version for rows in (few, changed(few, np.arange(len(few)) == 1_000))}
    assert len(versions | {base.version}) == 3


def test_training_labels_do_not_overlap_the_hold_out(trained: Trained) -> None:
    base = trained.model.base
    assert base.rows == ROW_LIMIT
    assert len(trained.hold_out) == 600
    assert base.trained_until <= trained.hold_out.times[0].to_pydatetime()
    assert base.trained_until - base.trained_from >= timedelta(minutes=ROW_LIMIT + 10)
    assert base.data_until == moment(TRAINING_MINUTES) == base.as_of


def test_threshold_and_prior_are_computed_on_the_training_rows(trained: Trained) -> None:
    base = trained.model.base
    times = trained.offered.times
    training = trained.offered.take(np.flatnonzero(times >= base.trained_from)).labelled().take(slice(0, ROW_LIMIT))
    last_label = training.times[-1] + pd.Timedelta(minutes=11)
    calibrated_from = base.trained_until - timedelta(minutes=11 + CALIBRATION_ROWS - 1)
    assert last_label <= calibrated_from
    assert base.label_threshold == flat_threshold(training.forward_returns, FLAT_SHARE)
    assert base.flat_share == FLAT_SHARE
    shares = np.bincount(training.labels(base.label_threshold)) / ROW_LIMIT
    np.testing.assert_allclose(base.class_prior, shares, atol=1e-3)
    assert sum(base.class_prior) == pytest.approx(1.0)


def test_metrics_are_computed_on_the_hold_out(trained: Trained) -> None:
    base, hold_out = trained.model.base, trained.hold_out
    scores = base.booster.predict(hold_out.features, raw_score=True, num_threads=1)
    probabilities = softmax(scores / base.temperature)
    labels = hold_out.labels(base.label_threshold)
    assert base.metrics["rows"] == len(hold_out)
    assert base.metrics["accuracy"] == np.mean(probabilities.argmax(axis=1) == labels)
    assert base.metrics["log_loss"] == pytest.approx(log_loss(labels, probabilities, labels=[0, 1, 2]))


def test_simulated_momentum_is_learnt(trained: Trained) -> None:
    metrics = trained.model.base.metrics
    assert metrics["log_loss"] < metrics["prior_log_loss"] - 0.02


def test_model_has_300_rounds_of_one_tree_per_class(trained: Trained) -> None:
    base = trained.model.base
    assert base.booster.num_trees() == len(base.leaf_values) == 900
    assert base.booster.num_model_per_iteration() == 3
    assert base.leaf_values.shape[1] <= 31
    assert (base.kind, base.week, base.row_limit) == ("base", 0, ROW_LIMIT)
    assert base.parameters == {**PARAMETERS, "boosting_rounds": 300, "num_threads": 1}


def test_leaf_values_equal_lightgbm_outputs(trained: Trained) -> None:
    base = trained.model.base
    leaves = trained.model.leaves(trained.hold_out.features)
    for tree in range(0, 900, 37):
        for leaf in range(leaves[:, tree].max() + 1):
            assert base.leaf_values[tree, leaf] == base.booster.get_leaf_output(tree, leaf)


def test_leaf_values_are_padded_with_zero() -> None:
    features = np.arange(300, dtype=np.float32)[:, None]
    labels = (features[:, 0] > 250).astype(np.int64)
    parameters = {**PARAMETERS, "num_threads": 1, "num_leaves": 4, "min_data_in_leaf": 1, "extra_trees": False}
    booster = boost(features, labels, parameters)
    counts = [tree["num_leaves"] for tree in booster.dump_model()["tree_info"]]
    table = leaf_values(booster)
    assert table.shape == (len(counts), max(counts))
    assert len(set(counts)) > 1
    for tree, count in enumerate(counts):
        assert (table[tree, count:] == 0.0).all()


@pytest.mark.parametrize("count", [0, 1, 500, 2_469])
def test_training_with_too_few_rows_is_refused_with_the_minimum(trained: Trained, count: int) -> None:
    rows = trained.offered.labelled().last(count)
    with pytest.raises(DataUnavailable, match="DEMO") as raised:
        train(rows)
    assert f"{counted(count, 'labelled row')}, {max(0, count - 470):,} of them to train on" in str(raised.value)
    assert "fewer than the minimum of 2,000" in str(raised.value)
    assert "hybrid-ml backfill" in str(raised.value)


def test_minimum_number_of_rows_is_trained_with_progress_per_round(trained: Trained) -> None:
    rounds: list[int] = []
    model, hold_out = train_base(
        trained.offered.labelled().last(2_470),
        symbol="DEMO",
        kind="scratch",
        row_limit=23_000,
        week=3,
        as_of=NOON,
        num_threads=1,
        on_round=rounds.append,
    )
    assert (model.base.rows, len(hold_out)) == (2_000, 300)
    assert (model.base.row_limit, model.base.week, model.kind) == (23_000, 3, "scratch")
    assert rounds == list(range(1, 301))


def test_fewer_rows_than_the_limit_are_all_used(trained: Trained) -> None:
    offered = trained.offered.take(slice(0, 4_000))
    labelled = len(offered.labelled())
    model, hold_out = train(offered, 80_000)
    assert model.base.rows == labelled - len(hold_out) - labelled // 20 - 2 * 10
    assert len(hold_out) == labelled // 10
    assert model.base.row_limit == 80_000


def test_constant_prices_give_a_model_that_predicts_flat(trained: Trained) -> None:
    constant = with_returns(trained.offered, np.zeros(len(trained.offered)))
    model, hold_out = train(constant, 3_000)
    assert model.base.label_threshold == 0.0
    probabilities = model.probabilities(hold_out.features)
    assert set(probabilities.argmax(axis=1)) == {FLAT}
    assert np.isfinite(probabilities).all()
    assert min(model.base.class_prior) > 0.0
    assert np.isfinite(model.base.metrics["prior_log_loss"])


def test_lean_text_gives_identical_predictions(trained: Trained) -> None:
    rows = trained.offered.labelled().last(3_000)
    labels = rows.labels(trained.model.base.label_threshold)
    full = boost(rows.features, labels, {**PARAMETERS, "num_threads": 1})
    text = full.model_to_string()
    lean = lightgbm.Booster(model_str=lean_text(text))
    probes = trained.offered.features
    assert np.array_equal(lean.predict(probes, num_threads=1), full.predict(probes, num_threads=1))
    assert lean.num_trees() == full.num_trees() == 900
    assert len(lean_text(text)) < 0.66 * len(text)
    explained = (booster.predict(probes[:50], pred_contrib=True, num_threads=1) for booster in (lean, full))
    np.testing.assert_array_equal(*explained, strict=True)
    shares = importance(full, FEATURE_NAMES)
    assert sum(shares.values()) == pytest.approx(1, abs=1e-3)
    assert list(shares.values()) == sorted(shares.values(), reverse=True)


def test_every_second_row_is_mirrored(trained: Trained) -> None:
    features = trained.offered.labelled().features[-6:]
    labels = np.array([DOWN, DOWN, FLAT, FLAT, UP, UP])
    mirrored, text = mirror_every_other(features, labels)
    assert np.array_equal(mirrored[::2], features[::2], equal_nan=True)
    assert np.array_equal(mirrored[1::2], mirror(features[1::2]), equal_nan=True)
    assert text.tolist() == [DOWN, UP, FLAT, FLAT, UP, DOWN]
    assert labels.tolist() == [DOWN, DOWN, FLAT, FLAT, UP, UP]


def test_drift_of_the_window_does_not_bias_up_against_down(trained: Trained) -> None:
    labelled = trained.offered.labelled()
    rises = np.random.default_rng(0).random(len(labelled)) < 0.9
    drifting = with_returns(labelled, np.where(rises, 1, -1) * np.abs(labelled.forward_returns))
    model, hold_out = train(drifting, 3_000)
    assert model.base.class_prior[UP] > model.base.class_prior[DOWN] + 0.3
    both = np.concatenate([hold_out.features, mirror(hold_out.features)])
    down, _, up = model.probabilities(both).mean(axis=0)
    assert up == pytest.approx(down, abs=0.04)


def test_threads_sleep_while_they_wait_unless_the_user_says_otherwise() -> None:
    program = "import os, hybrid_ml; print(os.environ['OMP_WAIT_POLICY'])"
    rest = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    for stated, expected in (({}, "passive"), ({"OMP_WAIT_POLICY": "active"}, "active")):
        done = subprocess.run(
            [sys.executable, "-c", program], env=rest | stated, capture_output=True, text=True, check=False
        )
        assert done.stdout.strip() == expected, done.stderr
