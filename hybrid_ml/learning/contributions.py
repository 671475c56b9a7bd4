"""What moved an answer: contributions of groups of features to one row's raw scores.

LightGBM computes them (TreeSHAP: Lundberg and others, "From local explanations to global understanding with
explainable AI for trees", Nature Machine Intelligence 2020). They are those of the base: an adapter has other leaf
values, and giving them to LightGBM for one row takes ten times as long as the contributions themselves.
docs/architecture.md has the comparison.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hybrid_ml.learning.model import CLASS_COUNT, HybridModel

OWN_MOVES, LEADERS_MOVES, VOLATILITY, VOLUME, CLOCK = "own moves", "leaders' moves", "volatility", "volume", "clock"
GROUPS = (OWN_MOVES, LEADERS_MOVES, VOLATILITY, VOLUME, CLOCK)
BEGINNINGS = {
    ("leader1_", "leader2_", "leader3_"): LEADERS_MOVES,
    ("log_volatility_", "volatility_ratio_", "range_", "log_range_"): VOLATILITY,
    ("volume_", "signed_volume_", "traded_share_"): VOLUME,
    ("day_sine", "day_cosine", "weekday", "session_bars"): CLOCK,
}
"""Every other feature is about the symbol's own moves."""


@dataclass(frozen=True)
class GroupContribution:
    """What a group of features adds to the answered class, relative to the other two.

    `towards_nats`: its contribution to the answered class's raw score minus the mean of those to the other two, over
    the temperature; so the groups of a base and a constant add up to log(p / sqrt(q r)), with p the answered
    probability and q, r the others. `features`: those that work in the group's direction, the strongest first.
    """

    group: str
    towards_nats: float
    features: tuple[str, ...]


def group_of(feature: str) -> str:
    """The group of a feature, one of GROUPS."""
    return next((group for beginnings, group in BEGINNINGS.items() if feature.startswith(beginnings)), OWN_MOVES)


def contributions(model: HybridModel, features: NDArray[np.float32], answered: int) -> list[GroupContribution]:
    """What each group adds to class `answered` in one row of features (1, k), the largest in size first.

    Raises ValueError for a model without node counts.
    """
    if not model.base.has_node_counts:
        raise ValueError(f"{model.base.version} has no node counts")
    towards = _towards(model, features, answered)
    names = model.base.feature_names
    groups = []
    for group in GROUPS:
        members = [place for place, name in enumerate(names) if group_of(name) == group]
        total = float(towards[members].sum())
        along = sorted((place for place in members if towards[place] * total > 0), key=lambda at: -abs(towards[at]))
        groups.append(GroupContribution(group, total, tuple(names[place] for place in along)))
    return sorted(groups, key=lambda item: -abs(item.towards_nats))


def _towards(model: HybridModel, features: NDArray[np.float32], answered: int) -> NDArray[np.float64]:
    """Each feature's contribution to class `answered` relative to the other two, (k,) nats."""
    values = np.asarray(model.base.booster.predict(features, pred_contrib=True, num_threads=1))
    by_class = values.reshape(CLASS_COUNT, -1)[:, :-1]  # the last column is the mean answer of the trees
    weights = np.full(CLASS_COUNT, -1 / (CLASS_COUNT - 1))
    weights[answered] = 1.0
    towards: NDArray[np.float64] = weights @ by_class / model.base.temperature
    return towards
