"""Who serves: a challenger takes the champion's place only where it is better on unseen rows."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hybrid_ml.learning.comparison import Comparison, compare
from hybrid_ml.learning.evaluation import assert_unseen
from hybrid_ml.learning.model import HybridModel
from hybrid_ml.learning.rows import Rows
from hybrid_ml.text.counts import counted

MINIMUM_JUDGING_ROWS = 200
CAUTION = 1.0
"""Standard errors that a gain must exceed; chosen by docs/reliability.md, "The rule of promotion"."""


@dataclass(frozen=True)
class Promotion:
    """The verdict on a challenger.

    `champion`: version of the one it was compared with, None when there was none. `of_the_past`: the
    challenger was made for a moment before the champion's, and may serve there. `challenger_log_loss`
    and `comparison` (nats) are None where nothing was compared.
    """

    promoted: bool
    reason: str
    champion: str | None = None
    of_the_past: bool = False
    challenger_log_loss: float | None = None
    comparison: Comparison | None = None


def decide(challenger: HybridModel, champion: HybridModel | None, hold_out: Rows, *, num_threads: int = 1) -> Promotion:
    """Judge both bases on the rows of `hold_out` that neither has been trained on.

    Both answer the challenger's question (its label threshold), the one that would be asked from
    now on. With nothing to replace the challenger serves, and so does the champion trained again. A
    champion that has seen later bars than the challenger is not replaced by a look into the past.
    """
    if champion is None:
        return Promotion(True, "there was no champion")
    incumbent = champion.base.version
    if incumbent == challenger.base.version:
        return Promotion(True, "it is the champion already", incumbent)
    if champion.base.data_until > challenger.base.data_until:
        reason = (
            f"the champion has seen bars until {champion.base.data_until:%Y-%m-%d %H:%M}; "
            "a model of an earlier moment serves only moments before that"
        )
        return Promotion(False, reason, incumbent, of_the_past=True)
    unseen = hold_out.newer_than(max(challenger.base.trained_until, champion.base.trained_until))
    if len(unseen) < MINIMUM_JUDGING_ROWS:
        reason = f"unseen by both: only {counted(len(unseen), 'row')}, fewer than {MINIMUM_JUDGING_ROWS}"
        return Promotion(False, reason, incumbent)
    labels = unseen.labels(challenger.base.label_threshold)
    losses = base_log_losses(challenger, unseen, labels, num_threads)
    champion_losses = base_log_losses(champion, unseen, labels, num_threads)
    comparison = compare(champion_losses, losses)
    better = comparison.is_better(CAUTION)
    reason = (
        f"log loss {losses.mean():.4f} against the champion's {champion_losses.mean():.4f} on rows unseen by both "
        f"({comparison}; asked is more than {CAUTION:g} x the standard error)"
    )
    return Promotion(better, reason, incumbent, False, float(losses.mean()), comparison)


def base_log_losses(
    model: HybridModel, rows: Rows, labels: NDArray[np.int64], num_threads: int = 1
) -> NDArray[np.float64]:
    """Negative log probability, nats (n,), that the base of `model` gave to `labels` (n,) of unseen `rows`."""
    assert_unseen(model.with_adapter(None), rows)
    chances = model.base_probabilities(rows.features, num_threads=num_threads)
    return -np.log(np.maximum(chances[np.arange(len(labels)), labels], np.finfo(np.float64).tiny))
