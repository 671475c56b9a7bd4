"""Presets: bounds from conservative to very aggressive."""

from dataclasses import dataclass
from typing import Literal

PresetName = Literal["conservative", "balanced", "aggressive", "very_aggressive"]


@dataclass(frozen=True)
class Bounds:
    """The bounds of a signal: top probability, top1 - top2, entropy in nats, signals in one run.

    `signals_per_day`: the pace at which the bound of the top probability is raised, None for a fixed one.
    """

    min_confidence: float
    min_prob_margin: float = 0.20
    max_entropy: float = 0.85
    max_signals: int = 5
    signals_per_day: float | None = None


# Three classes make an entropy of 0.85 nats hard to reach below a top probability of about 0.6, so
# the looser presets differ from `balanced` mainly once the other bounds are loosened as well.
PRESETS: dict[PresetName, Bounds] = {
    "conservative": Bounds(min_confidence=0.70, max_signals=2),
    "balanced": Bounds(min_confidence=0.60, max_signals=5),
    "aggressive": Bounds(min_confidence=0.52, max_signals=10),
    "very_aggressive": Bounds(min_confidence=0.45, max_signals=20),
}
