"""Training a base model from labelled rows."""

import re
from collections.abc import Callable, Sequence
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
from hybrid_ml.learning.leader_choice import ChosenLeader, choose_leaders
from hybrid_ml.learning.model import CLASS_COUNT, Base, HybridModel
from hybrid_ml.learning.model_bytes import pack
from hybrid_ml.learning.rows import Rows, labels_known_at, split_hold_out
from hybrid_ml.learning.scaling import MINIMUM_TRAINING_ROWS, calibration_rows, hold_out_rows
from hybrid_ml.market.bars import BAR_LENGTH
from hybrid_ml.market.labels import CLASSES, FLAT_SHARE, flat_threshold
from hybrid_ml.market.leaders import blank_some, feature_names, mirror_all
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
    # No average to start from: without one every tree's leaves are plain steps, and a leaf refit treats all
    # trees alike. The first trees learn the shares of the classes.
    "boost_from_average": False,
    "deterministic": True,
    "force_col_wise": True,
    "seed": 7,
    "verbosity": -1,
}
ONLY_FOR_TRAINING = ("split_gain=", "leaf_weight=", "internal_value=", "internal_weight=")
RoundCallback = Callable[[int], None]


def train_base(rows: Rows, *, num_threads: int, **parameters: Any) -> tuple[HybridModel, Rows]:
    """`fit_base`, then `judge_base`: a finished model and its hold-out. Parameters as of `fit_base`."""
    model, hold_out = fit_base(rows, num_threads=num_threads, **parameters)
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
    leaders: Sequence[str] = (),
    flat_share: float = FLAT_SHARE,
) -> tuple[HybridModel, Rows]:
    """Train on the most recent `row_limit` labelled rows before the calibration rows and the hold-out.

    Training rows, calibration rows (for the temperature) and hold-out are an embargo
    apart. `rows` may contain unlabelled rows and more than is needed. `label_threshold` replaces
    that of `flat_share` of the training rows. `leaders`: whose features of `rows` the model sees. Returns the
    model, not yet evaluated, and the hold-out to evaluate it on.
    Raises DataUnavailable when fewer than MINIMUM_TRAINING_ROWS labelled rows remain to train on.
    """
    labelled = rows.labelled()
    training, calibration, hold_out = split_rows(labelled, row_limit)
    refuse_too_few_rows(symbol, labelled, training)
    threshold = flat_threshold(training.forward_returns, flat_share) if label_threshold is None else label_threshold
    labels = training.labels(threshold)
    parameters = {**PARAMETERS, "num_threads": num_threads}
    features = blank_some(training.matrix(leaders))
    booster = boost(*mirror_every_other(features, labels), parameters, on_round)
    base = Base(
        symbol=symbol,
        kind=kind,
        trees=lean_text(booster.model_to_string()),
        leaf_values=leaf_values(booster),
        feature_names=feature_names(len(leaders)),
        classes=CLASSES,
        label_threshold=threshold,
        class_prior=class_prior(labels),
        temperature=calibrate(booster, calibration.matrix(leaders), calibration.labels(threshold), num_threads),
        as_of=as_of,
        trained_from=training.times[0].to_pydatetime(),
        trained_until=labels_known_at(calibration),
        data_until=rows.times[-1].to_pydatetime() + BAR_LENGTH,
        rows=len(training),
        row_limit=row_limit,
        week=week,
        leaders=tuple(leaders),
        flat_share=flat_share,
        parameters={"boosting_rounds": BOOSTING_ROUNDS, **parameters},
        metrics={"importance": importance(booster, feature_names(len(leaders)))},
        library_versions={name: installed_version(name) for name in ("lightgbm", "numpy", "pandas")},
    )
    return HybridModel(base), hold_out


def refuse_too_few_rows(symbol: str, labelled: Rows, training: Rows) -> None:
    """Raise DataUnavailable where fewer than MINIMUM_TRAINING_ROWS of the labelled rows remain to train on."""
    if len(training) < MINIMUM_TRAINING_ROWS:
        raise DataUnavailable(
            f"{symbol}: {counted(len(labelled), 'labelled row')}, {len(training):,} of them to train on, fewer than "
            f"the minimum of {MINIMUM_TRAINING_ROWS:,}; load more bars with `hybrid-ml backfill`"
        )


def class_prior(labels: NDArray[np.int64]) -> tuple[float, float, float]:
    """Share of DOWN, FLAT and UP among labels (n,) of 0..2."""
    counts = np.bincount(labels, minlength=CLASS_COUNT) + 1  # Laplace: no class gets probability 0
    down, flat, up = (counts / counts.sum()).tolist()
    return down, flat, up


def calibrate(
    booster: lightgbm.Booster, features: NDArray[np.float32], labels: NDArray[np.int64], num_threads: int
) -> float:
    """The temperature that fits the booster's scores of the calibration rows best: features (n, k), labels (n,)."""
    raw_scores = np.asarray(booster.predict(features, raw_score=True, num_threads=num_threads))
    return fit_temperature(raw_scores, labels)


def find_leaders(rows: Rows, row_limit: int) -> list[ChosenLeader]:
    """The leaders of a base on the most recent `row_limit` of `rows`, among the symbols whose features these have."""
    training, _, _ = split_rows(rows.labelled(), row_limit)
    return choose_leaders(training, sorted(rows.leader_features))


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
    """Bare LightGBM: features (n, k), labels (n,) of 0..2; `on_round` gets the number of each finished round."""
    callbacks = [] if on_round is None else [lambda state: on_round(state.iteration + 1)]
    return lightgbm.train(
        parameters, lightgbm.Dataset(features, labels), num_boost_round=BOOSTING_ROUNDS, callbacks=callbacks
    )


def mirror_every_other(
    features: NDArray[np.float32], labels: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Features (n, k) and labels (n,) with every second row mirrored, DOWN and UP exchanged.

    Otherwise the model would learn the market's trend over the training window. Neighbouring rows
    share nine of their ten minutes, so half of the rows on each side contain nearly as much information as all.
    """
    features, labels = features.copy(), labels.copy()
    features[1::2], labels[1::2] = mirror_all(features[1::2]), CLASS_COUNT - 1 - labels[1::2]
    return features, labels


def importance(booster: lightgbm.Booster, names: Sequence[str]) -> dict[str, float]:
    """Share of the total split gain of each feature, the greatest first; they sum to one."""
    gain = booster.feature_importance("gain")
    shares = gain / max(gain.sum(), np.finfo(float).tiny)
    order = np.argsort(-shares, kind="stable")
    return {names[place]: round(float(shares[place]), 5) for place in order}


def lean_text(text: str) -> str:
    """LightGBM's model text without what only training needs: three fifths as long.
    Gains and weights of nodes are removed; splits and leaf values, which determine all answers, are kept, and the
    counts of nodes, without which LightGBM cannot say what a feature contributes to an answer.
    """
    header, rest = text.split("\n\nTree=0\n", 1)
    body, end = f"Tree=0\n{rest}".split("\nend of trees", 1)
    kept = "\n".join(line for line in body.split("\n") if not line.startswith(ONLY_FOR_TRAINING))
    # LightGBM finds each tree by the lengths in the header.
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
