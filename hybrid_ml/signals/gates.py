"""Gates between a prediction and a signal: small rules, all of them evaluated, none hidden.

Every verdict keeps its value and its bound, so that one can ask later what another bound would
have given.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_ml.learning.evaluation import RecentRecord
from hybrid_ml.learning.fallback import is_below_threshold, required_accuracy
from hybrid_ml.market.labels import CLASSES, FLAT, HORIZON_MINUTES
from hybrid_ml.signals.penalty import Penalty
from hybrid_ml.signals.presets import Bounds
from hybrid_ml.text.counts import counted

LATEST_MINUTES = HORIZON_MINUTES - 1.0
"""What is said about a bar that closed longer ago is over before anybody can act on it."""
HIGHEST_PENALISED_BOUND = 0.99
"""The penalty may make the service silent for a while, not for ever."""


@dataclass(frozen=True)
class Answer:
    """What a model says about the next ten minutes of a symbol."""

    down: float
    flat: float
    up: float

    @classmethod
    def of(cls, probabilities: NDArray[np.float64]) -> "Answer":
        """From one row of class probabilities, (3,)."""
        return cls(*(float(value) for value in probabilities))

    @property
    def probabilities(self) -> tuple[float, float, float]:
        return (self.down, self.flat, self.up)

    @property
    def top(self) -> int:
        return int(np.argmax(self.probabilities))

    @property
    def direction(self) -> str:
        return CLASSES[self.top]

    @property
    def confidence(self) -> float:
        return max(self.probabilities)

    @property
    def margin(self) -> float:
        """The most probable class's lead over the second."""
        ordered = sorted(self.probabilities)
        return ordered[-1] - ordered[-2]

    @property
    def entropy(self) -> float:
        """Shannon entropy in nats: 0 when certain, 1.0986 when all three are equal."""
        return float(-sum(p * np.log(p) for p in self.probabilities if p > 0))


@dataclass(frozen=True)
class GateContext:
    """What the gates know besides the answer itself. `was_degraded`: the symbol's last answer was."""

    bounds: Bounds
    penalty: Penalty
    recent: RecentRecord
    bar_age_minutes: float
    max_bar_age_minutes: float
    was_degraded: bool = False


@dataclass(frozen=True)
class Verdict:
    """One gate's word: the value it saw, the bound it holds, whether the answer passed.

    `asked`: the bound before the penalty raised it, None where nothing did.
    """

    gate: str
    value: float | None
    bound: float | None
    passed: bool
    meaning: str
    asked: float | None = None


Gate = Callable[[Answer, GateContext], Verdict]


def direction(answer: Answer, _: GateContext) -> Verdict:
    """A FLAT answer is recorded, but there is nothing to act on."""
    return Verdict("direction", None, None, answer.top != FLAT, f"{answer.direction.upper()}; only DOWN and UP alert")


def confidence(answer: Answer, around: GateContext) -> Verdict:
    """The top probability reaches the preset's bound, raised by the recent-performance penalty."""
    requested = around.bounds.min_confidence
    bound = max(requested, min(HIGHEST_PENALISED_BOUND, requested + around.penalty.amount))
    meaning = f"top probability at least {bound:.3f}"
    if bound > requested:
        meaning += f" (raised by {bound - requested:.2f}: {around.penalty.explanation})"
    passed = answer.confidence >= bound
    return Verdict("confidence", answer.confidence, bound, passed, meaning, requested if bound > requested else None)


def margin(answer: Answer, around: GateContext) -> Verdict:
    """The lead over the second class."""
    bound = around.bounds.min_prob_margin
    return Verdict("margin", answer.margin, bound, answer.margin >= bound, f"top1 - top2 at least {bound:.2f}")


def entropy(answer: Answer, around: GateContext) -> Verdict:
    """The spread of the whole distribution."""
    bound = around.bounds.max_entropy
    return Verdict("entropy", answer.entropy, bound, answer.entropy <= bound, f"at most {bound:.2f} nats")


def freshness(_: Answer, around: GateContext) -> Verdict:
    """The newest bar is recent enough for its ten minutes to lie ahead, the last one at least."""
    age, bound = around.bar_age_minutes, min(around.max_bar_age_minutes, LATEST_MINUTES)
    return Verdict("freshness", age, bound, age <= bound, f"newest bar closed at most {counted(bound, 'minute')} ago")


def recent_accuracy(_: Answer, around: GateContext) -> Verdict:
    """A model under the bar answers for the record only; one that cannot be judged yet passes."""
    bound = required_accuracy(around.was_degraded)
    recovering = ", having been under the bar" if around.was_degraded else ""
    meaning = f"accuracy on {counted(around.recent.rows, 'recent row')} at least {bound:.2f}{recovering}"
    passed = not is_below_threshold(around.recent, around.was_degraded)
    return Verdict("recent_accuracy", around.recent.accuracy, bound, passed, meaning)


GATES: tuple[Gate, ...] = (direction, confidence, margin, entropy, freshness, recent_accuracy)


def evaluate_gates(answer: Answer, around: GateContext) -> list[Verdict]:
    """Every gate's verdict, in order."""
    return [gate(answer, around) for gate in GATES]


def refused_by(verdicts: list[Verdict]) -> list[str]:
    """Names of the gates that said no."""
    return [verdict.gate for verdict in verdicts if not verdict.passed]


def silenced_by_penalty(verdicts: list[Verdict]) -> bool:
    """Whether nothing but the raised part of the confidence bound said no; such an answer counts for the penalty.

    Whether it would have been among the surest of its run is left open: that bound is about how much a
    person wants to read, not about what an answer is worth.
    """
    refusals = [verdict for verdict in verdicts if not verdict.passed]
    if [verdict.gate for verdict in refusals] != ["confidence"]:
        return False
    value, requested = refusals[0].value, refusals[0].asked
    return value is not None and requested is not None and value >= requested


def max_signals_verdict(rank: int, bound: int) -> Verdict:
    """Whether a signal that is the `rank`-th surest of its run (from 1) may leave."""
    return Verdict("max_signals", rank, bound, rank <= bound, f"among the {bound} surest of this run")


def as_record(verdicts: list[Verdict]) -> list[dict[str, Any]]:
    """Verdicts as plain dictionaries, for the ledger."""
    return [asdict(verdict) for verdict in verdicts]
