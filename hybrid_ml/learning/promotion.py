"""Promotion: a challenger replaces the champion only where it is better on unseen rows."""

from dataclasses import dataclass
from datetime import datetime

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
    """The decision on a challenger.

    `champion`: version of the one it was compared with, None when there was none. `of_the_past`: the
    challenger was made for a moment before the champion's, and may be used there. `challenger_log_loss`
    and `comparison` (nats) are None where nothing was compared.
    """

    promoted: bool
    reason: str
    champion: str | None = None
    of_the_past: bool = False
    challenger_log_loss: float | None = None
    comparison: Comparison | None = None

    def is_new_champion(self, version: str) -> bool:
        """Whether the challenger, of `version`, becomes champion and was not before."""
        return self.promoted and self.champion != version


def decide(challenger: HybridModel, champion: HybridModel | None, hold_out: Rows, *, num_threads: int = 1) -> Promotion:
    """Compare both bases on the rows of `hold_out` that neither has been trained on.

    Both are evaluated with the challenger's label threshold, the one that would be used from
    now on. Without a champion the challenger is promoted, and so is the champion trained again. A
    champion that has seen later bars than the challenger is not replaced.
    """
    if champion is None:
        return Promotion(True, "there was no champion")
    incumbent = champion.base.version
    if incumbent == challenger.base.version:
        return Promotion(True, "it is the champion already", incumbent)
    if champion.base.data_until > challenger.base.data_until:
        reason = (
            f"the champion has seen bars until {champion.base.data_until:%Y-%m-%d %H:%M}; "
            "a model of an earlier moment is used only for moments before that"
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
        f"({comparison}; required: more than {CAUTION:g} x the standard error)"
    )
    return Promotion(better, reason, incumbent, False, float(losses.mean()), comparison)


def replace_damaged(challenger: HybridModel, champion: str, champion_data_until: datetime | None) -> Promotion:
    """The challenger replaces a champion that cannot be evaluated, unless that one has seen later bars."""
    of_the_past = champion_data_until is not None and champion_data_until > challenger.base.data_until
    return Promotion(not of_the_past, f"the champion {champion} is damaged", champion, of_the_past)


def base_log_losses(
    model: HybridModel, rows: Rows, labels: NDArray[np.int64], num_threads: int = 1
) -> NDArray[np.float64]:
    """Negative log probability, nats (n,), that the base of `model` gave to `labels` (n,) of unseen `rows`."""
    assert_unseen(model.with_adapter(None), rows)
    chances = model.base_probabilities_of(rows, num_threads=num_threads)
    return -np.log(np.maximum(chances[np.arange(len(labels)), labels], np.finfo(np.float64).tiny))
