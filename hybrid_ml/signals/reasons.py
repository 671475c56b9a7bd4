"""Why an answer is what it is: the groups of features that moved it most, in words made from the bars."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_ml.learning.contributions import GroupContribution, contributions
from hybrid_ml.learning.model import HybridModel
from hybrid_ml.signals.feature_words import Follower, Series, feature_words
from hybrid_ml.signals.gates import Answer

MOST_REASONS = 3
SMALLEST_NATS = 0.005
"""A smaller contribution is shown as 0.00 and is no reason."""
NO_NODE_COUNTS = "the model is of an older version, which does not tell; the next training makes one that does"
NO_WEIGHT = "no group of features moved it"


@dataclass(frozen=True)
class Reason:
    """A group of features, what it adds to the answered class in nats (see `GroupContribution`), and in words."""

    group: str
    towards_nats: float
    feature: str
    words: str

    @property
    def is_for(self) -> bool:
        """Whether it speaks for the answered class."""
        return self.towards_nats > 0


@dataclass(frozen=True)
class Explanation:
    """What moved an answer, the strongest first; or in `problem` why that is not known."""

    reasons: tuple[Reason, ...] = ()
    problem: str = ""


def explain(
    model: HybridModel, features: NDArray[np.float32], answer: Answer, own: Series, leaders: Sequence[str] = ()
) -> Explanation:
    """The reasons for the answer of `model` to one row of `features` (1, k), the newest of `own`.

    `leaders`: the symbols behind features that begin with leader1_, leader2_ and so on, in this order.
    """
    if not model.base.has_node_counts:
        return Explanation(problem=NO_NODE_COUNTS)
    values = zip(model.base.feature_names, map(float, features[0]), strict=True)
    follower = Follower(own, tuple(leaders), {name: value for name, value in values if np.isfinite(value)})
    groups = contributions(model, features, answer.top)[:MOST_REASONS]
    weighty = [group for group in groups if abs(group.towards_nats) >= SMALLEST_NATS]
    reasons = tuple(_reason(group, follower) for group in weighty)
    return Explanation(reasons, problem="" if reasons else NO_WEIGHT)


def _reason(group: GroupContribution, follower: Follower) -> Reason:
    """In the words of the group's strongest feature that has a value."""
    for feature in group.features:
        words = feature_words(feature, follower) if feature in follower.values else None
        if words is not None:
            return Reason(group.group, group.towards_nats, feature, words)
    return Reason(group.group, group.towards_nats, group.features[0], f"its {group.group}, which are not known now")


def format_reason(reason: Reason, direction: str) -> str:
    """`for UP: it rose 0.42 % in 10 minutes`."""
    return f"{'for' if reason.is_for else 'against'} {direction.upper()}: {reason.words}"


def as_reasons_record(reasons: Sequence[Reason]) -> list[dict[str, Any]]:
    """Reasons as dictionaries, for the ledger."""
    return [asdict(reason) for reason in reasons]
