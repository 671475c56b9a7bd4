"""Who serves: a challenger takes the champion's place only where it is not worse on unseen rows."""

from dataclasses import dataclass

import numpy as np

from hybrid_ml.learning.evaluation import judge
from hybrid_ml.learning.model import HybridModel
from hybrid_ml.learning.rows import Rows

MINIMUM_JUDGING_ROWS = 200


@dataclass(frozen=True)
class Promotion:
    """The verdict on a challenger, with the log losses (nats) it rests on, None where not compared.

    `of_the_past`: the challenger was made for a moment before the champion's, and may serve there.
    """

    promoted: bool
    reason: str
    of_the_past: bool = False
    challenger_log_loss: float | None = None
    champion_log_loss: float | None = None
    judging_rows: int = 0


def decide(challenger: HybridModel, champion: HybridModel | None, hold_out: Rows, *, num_threads: int = 1) -> Promotion:
    """Judge both bases on the rows of `hold_out` that neither has been trained on.

    Both answer the challenger's question (its label threshold), the one that would be asked from
    now on. With nothing to replace the challenger serves. A champion that has seen later bars than
    the challenger is not replaced by a look into the past.
    """
    if champion is None:
        return Promotion(True, "there was no champion")
    if champion.base.data_until > challenger.base.data_until:
        return Promotion(
            False,
            f"the champion has seen bars until {champion.base.data_until:%Y-%m-%d %H:%M}; "
            "a model of an earlier moment serves only moments before that",
            of_the_past=True,
        )
    unseen = hold_out.newer_than(max(challenger.base.trained_until, champion.base.trained_until))
    if len(unseen) < MINIMUM_JUDGING_ROWS:
        return Promotion(False, f"only {len(unseen)} rows are unseen by both, fewer than {MINIMUM_JUDGING_ROWS}")
    loss = judge(challenger.with_adapter(None), unseen, num_threads=num_threads)["log_loss"]
    labels = unseen.labels(challenger.base.label_threshold)
    chances = champion.base_probabilities(unseen.features, num_threads=num_threads)
    champion_loss = float(-np.mean(np.log(chances[np.arange(len(labels)), labels])))
    better = bool(loss <= champion_loss)
    reason = f"log loss {loss:.4f} against the champion's {champion_loss:.4f} on {len(unseen):,} rows unseen by both"
    return Promotion(better, reason, False, loss, champion_loss, len(unseen))
