"""Other ways to answer the same cycles, each trained on what was known; a worker's part of `rivals`.

All return P(down), P(flat), P(up) as (cycles, 3) float64. `features` are the features (cycles, k) float32
of each cycle's newest bar; labels are those against `threshold` (absolute log return).
"""

import numpy as np
from numpy.typing import NDArray
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from hybrid_ml.learning.model import CLASS_COUNT, HybridModel
from hybrid_ml.learning.rows import Rows
from hybrid_ml.learning.training import fit_base

LOGISTIC_STRENGTH = 0.1
"""scikit-learn's C, the inverse of the L2 penalty: a tenth of its default."""


def stated(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities that need no training."""
    return probabilities


def fit_weekly_base(
    rows: Rows, row_limit: int, threshold: float, leaders: tuple[str, ...], num_threads: int
) -> HybridModel:
    """A base with `leaders` as the weekly training fits it on labelled `rows`, but to labels against `threshold`."""
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
        leaders=leaders,
    )
    return model


def predict_base(
    base: HybridModel | None,
    rows: Rows,
    row_limit: int,
    threshold: float,
    leaders: tuple[str, ...],
    features: NDArray[np.float32],
    num_threads: int,
) -> NDArray[np.float64]:
    """The answers of `base`, or where there is none of one fitted on `rows`."""
    model = base or fit_weekly_base(rows, row_limit, threshold, leaders, num_threads)
    return model.base_probabilities(features, num_threads=num_threads)


def predict_logistic(
    training: NDArray[np.float32], labels: NDArray[np.int64], features: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Multinomial logistic regression on standardised features (n, k), labels (n,); a missing value is the median."""
    model = make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True),
        StandardScaler(),
        LogisticRegression(C=LOGISTIC_STRENGTH, max_iter=500),
    )
    if len(np.unique(labels)) == 1:  # nothing to separate
        return np.eye(CLASS_COUNT)[np.full(len(features), labels[0])]
    # One thread: sums over several need not have the same last digits.
    with threadpool_limits(1):
        model.fit(training.astype(np.float64), labels)
        found = model.predict_proba(features.astype(np.float64))
    probabilities = np.zeros((len(features), CLASS_COUNT))
    probabilities[:, model.classes_] = found
    return probabilities
