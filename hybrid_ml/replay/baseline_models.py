"""Other ways to answer the same cycles, each trained on what was known; a worker's part of `rivals`.

All return P(down), P(flat), P(up) as (cycles, 3) float64. `asked` are the features (cycles, k) float32
of each cycle's newest bar; labels are those against `threshold` (absolute log return).
"""

from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from hybrid_ml.learning.model import CLASS_COUNT, HybridModel, softmax
from hybrid_ml.learning.rows import Rows
from hybrid_ml.learning.training import PARAMETERS, fit_base
from hybrid_ml.replay.history import CycleBatch

LOGISTIC_STRENGTH = 0.1
"""scikit-learn's C, the inverse of the L2 penalty: a tenth of its default."""
DAILY_ROUNDS = 800
DAILY_PARAMETERS: dict[str, Any] = {
    "objective": "multiclass",
    "num_class": CLASS_COUNT,
    "learning_rate": 0.02,
    "deterministic": True,
    "force_col_wise": True,
    "seed": 7,
    "verbosity": -1,
}
"""LightGBM's defaults otherwise, as in the example configuration of FreqAI (n_estimators 800, learning_rate 0.02)."""
CHAINED_ROUNDS = 10
CHAINED_ROWS = 1_000
# The base's 500 rows a leaf would be half of the window: hardly a tree would split, and nothing be learnt.
CHAINED_PARAMETERS = {**PARAMETERS, "min_data_in_leaf": 100, "num_threads": 1}
"""One thread: 1,000 rows are done before a second one wakes up."""


def stated(chances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities that need no training."""
    return chances


def fit_weekly_base(rows: Rows, row_limit: int, threshold: float, num_threads: int) -> HybridModel:
    """A base as the weekly training fits it on labelled `rows`, but to labels against `threshold`."""
    known = rows.times[-1].to_pydatetime()
    model, _ = fit_base(
        rows,
        symbol="rival",
        kind="base",
        row_limit=row_limit,
        week=0,
        as_of=known,
        num_threads=num_threads,
        label_threshold=threshold,
    )
    return model


def ask_base(
    base: HybridModel | None,
    rows: Rows,
    row_limit: int,
    threshold: float,
    features: NDArray[np.float32],
    num_threads: int,
) -> NDArray[np.float64]:
    """The answers of `base`, or where there is none of one fitted on `rows`."""
    model = base or fit_weekly_base(rows, row_limit, threshold, num_threads)
    return model.base_probabilities(features, num_threads=num_threads)


def ask_logistic(training: Rows, threshold: float, features: NDArray[np.float32]) -> NDArray[np.float64]:
    """Multinomial logistic regression on standardised features; a missing value is the median."""
    model = make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True),
        StandardScaler(),
        LogisticRegression(C=LOGISTIC_STRENGTH, max_iter=500),
    )
    labels = training.labels(threshold)
    if len(np.unique(labels)) == 1:  # nothing to separate
        return np.eye(CLASS_COUNT)[np.full(len(features), labels[0])]
    # One thread: sums over several need not have the same last digits.
    with threadpool_limits(1):
        model.fit(training.features.astype(np.float64), labels)
        found = model.predict_proba(features.astype(np.float64))
    chances = np.zeros((len(features), CLASS_COUNT))
    chances[:, model.classes_] = found
    return chances


def ask_daily(training: Rows, threshold: float, features: NDArray[np.float32], num_threads: int) -> NDArray[np.float64]:
    """A larger model with LightGBM's defaults, trained anew."""
    data = lightgbm.Dataset(training.features, training.labels(threshold))
    parameters = {**DAILY_PARAMETERS, "num_threads": num_threads}
    booster = lightgbm.train(parameters, data, num_boost_round=DAILY_ROUNDS)
    return np.asarray(booster.predict(features, num_threads=num_threads))


def ask_chained(
    base: HybridModel | None, rows: Rows, row_limit: int, threshold: float, stretch: CycleBatch, num_threads: int
) -> NDArray[np.float64]:
    """Ten more rounds every cycle on the newest labelled rows, on top of all rounds before, never reset.

    What `lightgbm.train(init_model=...)` does, whose trees see the old model only as scores to start
    from: scores are kept row by row, and only the new trees' are added (a test holds both equal).
    """
    model = base or fit_weekly_base(rows, row_limit, threshold, num_threads)
    features = stretch.rows.features
    scores = np.asarray(model.base.booster.predict(features, raw_score=True, num_threads=num_threads))
    chances = np.empty((len(stretch.sights), CLASS_COUNT))
    for cycle, sight in enumerate(stretch.sights):
        labels = stretch.view(sight).labels(threshold)
        known = np.flatnonzero(labels >= 0)[-CHAINED_ROWS:]
        places = known + sight.seen.start
        if len(known):
            data = lightgbm.Dataset(features[places], labels[known], init_score=scores[places])
            newer = lightgbm.train(CHAINED_PARAMETERS, data, num_boost_round=CHAINED_ROUNDS)
            # Cycles to come look at no row before this one's first.
            first = sight.seen.start
            scores[first:] += np.asarray(newer.predict(features[first:], raw_score=True, num_threads=1))
        chances[cycle] = softmax(scores[sight.seen.stop - 1])
    return chances
