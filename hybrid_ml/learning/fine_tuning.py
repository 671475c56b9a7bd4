"""Fine-tuning: an adapter that changes the base's leaf values a little towards recent rows.

The method is LightGBM's leaf refit: the splits stay, and tree by tree each leaf value becomes
decay * old + (1 - decay) * learning rate * Newton step of the recent rows that fall into it.
Computing it from cached leaf indices costs a fraction of `Booster.refit` and gives the same numbers (a test
compares them). A tree without a split has nothing to adapt and stays as it is.

Newer rows, which neither base nor refit has seen, then decide the step from the base to the refit:
all of it where the refit is better on them, half of it where the difference is within chance, and none where
the refit is worse. 200 rows whose labels overlap count as about 20, so requiring significance before
any step would lose most of the gain; docs/reliability.md has the comparison.
"""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from hybrid_ml.learning.comparison import Comparison, compare
from hybrid_ml.learning.evaluation import log_losses
from hybrid_ml.learning.model import CLASS_COUNT, Adapter, HybridModel, sum_leaves
from hybrid_ml.learning.model_bytes import pack
from hybrid_ml.learning.rows import Rows, labels_known_at, split_hold_out
from hybrid_ml.market.bars import BAR_LENGTH

DECAY = 0.975
"""Share of its old value that a leaf keeps; one minus it is the lower learning rate of fine-tuning.

With 0.9 the gain was larger on average and below zero in more weeks: docs/experiments.md."""
REFIT_L2 = 20.0
"""L2 of a refit, in units of curvature: 800 rows put about nine into a leaf, too few for the base's value."""
UNDECIDED_STEP = 0.5
"""Share of the full step where unseen rows show no difference beyond chance."""
MAX_REGRESSION_Z = 1.645
"""Standard errors by which the refit may be worse than the base before the base stays (5 %, one-sided)."""
JUDGING_ROWS = 200
MINIMUM_FINE_TUNE_ROWS = 500
MAXIMUM_FINE_TUNE_ROWS = 1_000


@dataclass(frozen=True)
class FineTuneTrial:
    """The result of a trial: the adapter (its leaf values None when the base stays), and the comparison.

    Log losses in nats on the judging rows: of the base, of the model after the trial, and, as
    `refit`, the comparison of the whole refit with the base.
    """

    adapter: Adapter
    base_log_loss: float
    adapted_log_loss: float
    refit: Comparison


def fine_tune(model: HybridModel, rows: Rows, *, count: int, as_of: datetime, num_threads: int = 1) -> FineTuneTrial:
    """Fit an adapter to the base of `model` on its newest `count` labelled rows.

    It is fitted on the oldest part of them and judged on the newest JUDGING_ROWS, one horizon apart. Any
    earlier adapter is ignored: every adapter starts from the base. Raises ValueError when there are fewer than
    MINIMUM_FINE_TUNE_ROWS labelled rows.
    """
    window = rows.labelled().last(count)
    if len(window) < MINIMUM_FINE_TUNE_ROWS:
        raise ValueError(f"fine-tuning needs {MINIMUM_FINE_TUNE_ROWS} labelled rows, not {len(window)}")
    base = model.base
    fitting, judging = split_hold_out(window, count, JUDGING_ROWS)
    labels = window.labels(base.label_threshold)
    leaves = model.leaves_of(window, num_threads)
    fitted, judged = slice(0, len(fitting)), slice(len(window) - len(judging), len(window))

    refit = refit_leaves(
        base.leaf_values,
        leaves[fitted],
        labels[fitted],
        learning_rate=base.parameters["learning_rate"],
        lambda_l2=REFIT_L2,
    )
    before, after = (sum_leaves(values, leaves[judged]) / base.temperature for values in (base.leaf_values, refit))
    unseen = len(judging) > 0 and judging.times[0] >= base.trained_until
    base_losses = log_losses(before, labels[judged])
    comparison = compare(base_losses, log_losses(after, labels[judged]))
    step = choose_step(comparison) if unseen else 0.0
    # Raw scores are linear in the leaf values, so a step between two models is a blend of their scores.
    adapted = float(log_losses(before + step * (after - before), labels[judged]).mean())
    adapter = Adapter(
        parent=base.version,
        leaf_values=(base.leaf_values + step * (refit - base.leaf_values)).astype(np.float32) if step else None,
        step=step,
        as_of=as_of,
        trained_from=fitting.times[0].to_pydatetime(),
        trained_until=labels_known_at(fitting),
        data_until=rows.times[-1].to_pydatetime() + BAR_LENGTH,
        rows=len(fitting),
        metrics={
            "log_loss": adapted,
            "base_log_loss": float(base_losses.mean()),
            "refit_gain": comparison.gain,
            "refit_gain_standard_error": comparison.standard_error,
            "judging_rows": len(judging),
        },
    )
    return FineTuneTrial(pack(adapter), float(base_losses.mean()), adapted, comparison)


def choose_step(refit: Comparison) -> float:
    """The share of the full step, by the comparison on unseen rows; 0 when the loss is not a number."""
    if refit.gain > 0:
        return 1.0
    return UNDECIDED_STEP if refit.gain > -MAX_REGRESSION_Z * refit.standard_error else 0.0


def refit_leaves(
    leaf_values: NDArray[np.float64],
    leaves: NDArray[np.intp],
    labels: NDArray[np.int64],
    *,
    learning_rate: float,
    lambda_l2: float,
    decay: float = DECAY,
) -> NDArray[np.float64]:
    """Leaf values after one leaf refit, same shape as `leaf_values` (trees, leaves).

    `leaves`: (n, trees) leaf of each row in each tree; `labels`: (n,) of 0..2. Gradients are those
    of the multiclass log loss with LightGBM's hessian factor K / (K - 1). A leaf that no row reaches
    keeps `decay` of its value, as in LightGBM (GBDT::RefitTree). Trees without a split are kept.
    """
    trees, width = leaf_values.shape
    # Rows of one round are adjacent: class k of a round counts its leaves from k * width.
    place = np.ascontiguousarray(leaves.T) + (np.arange(trees) % CLASS_COUNT * width)[:, None]
    truth = np.zeros((CLASS_COUNT, len(labels)))
    truth[labels, np.arange(len(labels))] = 1.0
    scores = np.zeros_like(truth)
    refitted = np.empty_like(leaf_values)
    keep = np.where(leaf_values[:, 1:].any(axis=1), decay, 1.0)
    for first in range(0, trees, CLASS_COUNT):
        exponentials = np.exp(scores - scores.max(axis=0))
        chance = exponentials / exponentials.sum(axis=0)
        curvature = chance * (1.0 - chance) * (CLASS_COUNT / (CLASS_COUNT - 1))
        where = place[first : first + CLASS_COUNT].ravel()
        gradient = np.bincount(where, weights=(chance - truth).ravel(), minlength=CLASS_COUNT * width)
        hessian = np.bincount(where, weights=curvature.ravel(), minlength=CLASS_COUNT * width)
        newton = -gradient / (hessian + lambda_l2)
        kept = np.repeat(keep[first : first + CLASS_COUNT], width)
        values = kept * leaf_values[first : first + CLASS_COUNT].ravel() + (1.0 - kept) * learning_rate * newton
        refitted[first : first + CLASS_COUNT] = values.reshape(CLASS_COUNT, width)
        scores += values[where].reshape(CLASS_COUNT, -1)
    return refitted
