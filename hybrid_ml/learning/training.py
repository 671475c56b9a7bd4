"""Training a base model from labelled rows."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from importlib.metadata import version as installed_version
from typing import Any, Literal

import lightgbm
import numpy as np
from numpy.typing import NDArray

from hybrid_ml.errors import DataUnavailable
from hybrid_ml.learning.calibration import fit_temperature
from hybrid_ml.learning.evaluation import judge
from hybrid_ml.learning.model import CLASS_COUNT, Base, HybridModel
from hybrid_ml.learning.model_bytes import pack
from hybrid_ml.learning.rows import Rows, labels_known_at, split_hold_out
from hybrid_ml.learning.scaling import MINIMUM_TRAINING_ROWS, calibration_rows, hold_out_rows
from hybrid_ml.market.bars import BAR_LENGTH
from hybrid_ml.market.features import FEATURE_NAMES, mirror
from hybrid_ml.market.labels import CLASSES, tercile_threshold
from hybrid_ml.text.counts import counted

BOOSTING_ROUNDS = 300
PARAMETERS: dict[str, Any] = {
    "objective": "multiclass",
    "num_class": CLASS_COUNT,
    "learning_rate": 0.05,
    "max_depth": 8,
    # Ten-minute returns are nearly noise: few leaves, many rows in each (however few there are), a third
    # of the features and random split points keep 300 trees from memorising; see docs/experiments.md.
    "num_leaves": 31,
    "min_data_in_leaf": 500,
    "lambda_l2": 100.0,
    "feature_fraction": 0.3,
    "extra_trees": True,
    # The classes are terciles, so there is no average to start from; without one every tree's
    # leaves are plain steps and a leaf refit treats all trees alike.
    "boost_from_average": False,
    "deterministic": True,
    "force_col_wise": True,
    "seed": 7,
    "verbosity": -1,
}
ONLY_FOR_TRAINING = (
    "split_gain=",
    "leaf_weight=",
    "leaf_count=",
    "internal_value=",
    "internal_weight=",
    "internal_count=",
)
RoundCallback = Callable[[int], None]


def train_base(rows: Rows, *, num_threads: int, **asked: Any) -> tuple[HybridModel, Rows]:
    """`fit_base`, then `judge_base`: a finished model and its hold-out. Parameters as of `fit_base`."""
    model, hold_out = fit_base(rows, num_threads=num_threads, **asked)
    return judge_base(model, hold_out, num_threads=num_threads), hold_out


def judge_base(model: HybridModel, hold_out: Rows, *, num_threads: int) -> HybridModel:
    """The model with its metrics on the hold-out, packed: from here on it has a version and cannot change."""
    metrics = judge(model, hold_out, num_threads=num_threads)
    return HybridModel(pack(replace(model.base, metrics={**metrics, **model.base.metrics})))


def fit_base(
    rows: Rows,
    *,
    symbol: str,
    kind: Literal["base", "scratch"],
    row_limit: int,
    week: int,
    as_of: datetime,
    num_threads: int,
    on_round: RoundCallback | None = None,
    label_threshold: float | None = None,
) -> tuple[HybridModel, Rows]:
    """Train on the most recent `row_limit` labelled rows before the calibration rows and the hold-out.

    Training rows, calibration rows (which the temperature is fitted on) and hold-out lie an embargo
    apart. `rows` may hold unlabelled rows and more than is needed. `label_threshold` takes the place of
    the training rows' tercile. Returns the model, not yet judged, and the hold-out to judge it on.
    Raises DataUnavailable when fewer than MINIMUM_TRAINING_ROWS labelled rows are left to train on.
    """
    labelled = rows.labelled()
    training, calibration, hold_out = split_rows(labelled, row_limit)
    if len(training) < MINIMUM_TRAINING_ROWS:
        raise DataUnavailable(
            f"{symbol}: {counted(len(labelled), 'labelled row')}, {len(training):,} of them to train on, fewer than "
            f"the minimum of {MINIMUM_TRAINING_ROWS:,}; load more bars with `hybrid-ml backfill`"
        )
    threshold = tercile_threshold(training.forward_returns) if label_threshold is None else label_threshold
    labels = training.labels(threshold)
    parameters = {**PARAMETERS, "num_threads": num_threads}
    booster = boost(*mirror_every_other(training.features, labels), parameters, on_round)
    shares = np.bincount(labels, minlength=CLASS_COUNT) + 1  # Laplace: a class never seen is not impossible
    prior = (shares / shares.sum()).tolist()
    raw_scores = np.asarray(booster.predict(calibration.features, raw_score=True, num_threads=num_threads))
    base = Base(
        symbol=symbol,
        kind=kind,
        trees=lean_text(booster.model_to_string()),
        leaf_values=leaf_values(booster),
        feature_names=FEATURE_NAMES,
        classes=CLASSES,
        label_threshold=threshold,
        class_prior=(prior[0], prior[1], prior[2]),
        temperature=fit_temperature(raw_scores, calibration.labels(threshold)),
        as_of=as_of,
        trained_from=training.times[0].to_pydatetime(),
        trained_until=labels_known_at(calibration),
        data_until=rows.times[-1].to_pydatetime() + BAR_LENGTH,
        rows=len(training),
        row_limit=row_limit,
        week=week,
        parameters={"boosting_rounds": BOOSTING_ROUNDS, **parameters},
        metrics={"importance": importance(booster)},
        library_versions={name: installed_version(name) for name in ("lightgbm", "numpy", "pandas")},
    )
    return HybridModel(base), hold_out


def split_rows(labelled: Rows, row_limit: int) -> tuple[Rows, Rows, Rows]:
    """The newest `row_limit` rows to train on, the calibration rows and the hold-out after them, an embargo apart."""
    expected = min(row_limit, len(labelled))
    older, hold_out = split_hold_out(labelled, len(labelled), hold_out_rows(expected))
    training, calibration = split_hold_out(older, row_limit, calibration_rows(expected))
    return training, calibration, hold_out


def boost(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    parameters: dict[str, Any],
    on_round: RoundCallback | None = None,
) -> lightgbm.Booster:
    """Bare LightGBM: features (n, k), labels (n,) of 0..2; `on_round` hears of each finished round."""
    callbacks = [] if on_round is None else [lambda state: on_round(state.iteration + 1)]
    return lightgbm.train(
        parameters, lightgbm.Dataset(features, labels), num_boost_round=BOOSTING_ROUNDS, callbacks=callbacks
    )


def mirror_every_other(
    features: NDArray[np.float32], labels: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Features (n, k) and labels (n,) with every second row turned upside down, DOWN for UP.

    A market's drift over the training window would else be learnt as if it were to last. Neighbours
    share nine of their ten minutes, so half of the rows tell each side nearly all that all would.
    """
    features, labels = features.copy(), labels.copy()
    features[1::2], labels[1::2] = mirror(features[1::2]), CLASS_COUNT - 1 - labels[1::2]
    return features, labels


def importance(booster: lightgbm.Booster) -> dict[str, float]:
    """Share of the total split gain that each feature brought, the greatest first; they sum to one."""
    gain = booster.feature_importance("gain")
    shares = gain / max(gain.sum(), np.finfo(float).tiny)
    order = np.argsort(-shares, kind="stable")
    return {FEATURE_NAMES[place]: round(float(shares[place]), 5) for place in order}


def lean_text(text: str) -> str:
    """LightGBM's model text without what only training needs: half as long, and read twice as fast.

    Gains, weights and counts of nodes go; splits and leaf values, all that answers rest on, stay.
    """
    header, rest = text.split("\n\nTree=0\n", 1)
    body, end = f"Tree=0\n{rest}".split("\nend of trees", 1)
    kept = "\n".join(line for line in body.split("\n") if not line.startswith(ONLY_FOR_TRAINING))
    # LightGBM jumps from tree to tree by the lengths that the header states.
    lengths = " ".join(str(len(tree)) for tree in re.split(r"(?m)^(?=Tree=\d+$)", kept) if tree)
    return re.sub(r"(?m)^tree_sizes=.*$", f"tree_sizes={lengths}", header) + f"\n\n{kept}\nend of trees{end}"


def leaf_values(booster: lightgbm.Booster) -> NDArray[np.float64]:
    """Leaf outputs of every tree, (trees, most leaves of any tree) float64, padded with zero.

    Read from the text form, which writes each number with enough digits to be exact.
    """
    lines = [line for line in booster.model_to_string().splitlines() if line.startswith("leaf_value=")]
    values = [np.array(line.removeprefix("leaf_value=").split(), dtype=np.float64) for line in lines]
    table = np.zeros((len(values), max(map(len, values))))
    for tree, row in enumerate(values):
        table[tree, : len(row)] = row
    return table
