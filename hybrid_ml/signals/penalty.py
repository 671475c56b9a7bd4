"""The recent-performance penalty: after poor results the service asks for more confidence.

What is judged are the newest answers that reached the bounds as asked: signals, and answers that only
an earlier penalty silenced. An answer that was silenced counts like one that was sent. It makes the
same claim, and what is judged must not depend on the judgement: were only signals counted, a penalty
that silences the service would leave it no way to show that it has recovered, and would never end;
and only the surest answers, those above the raised bound, would be held against their word.
"""

from dataclasses import dataclass

MAXIMUM_PENALTY = 0.15
SIGNALS_CONSIDERED = 30
FEWEST_SIGNALS = 5
CHANCE_STANDARD_ERRORS = 1.645
"""One-sided 95 %: an honest record is penalised about one time in twenty at most."""
CONTINUITY = 0.5
"""Right answers come whole. Without this half (Yates, "Contingency tables", 1934), records of few, very
sure answers that keep their word would be penalised up to one time in five."""


@dataclass(frozen=True)
class RecentSignals:
    """Resolved sure answers of a symbol: how many, the share that came true, the mean confidence stated.

    Both shares are 0 where there is none.
    """

    count: int
    precision: float
    mean_confidence: float

    @property
    def right(self) -> int:
        """How many came true."""
        return round(self.count * self.precision)


@dataclass(frozen=True)
class Penalty:
    """What is added to the confidence bound, 0 to MAXIMUM_PENALTY, and why, in words; none where it is 0."""

    amount: float = 0.0
    explanation: str = ""


NO_PENALTY = Penalty()


def confidence_penalty(recent: RecentSignals) -> Penalty:
    """How much more confidence to ask for after `recent`.

    The shortfall of precision against stated confidence, beyond what chance explains: 1.645 binomial
    standard errors of a record that keeps its word, and half an answer. Nothing else is remembered, so
    the penalty shrinks with every right answer that comes in and is gone once the record is back within
    chance. With fewer than FEWEST_SIGNALS there is none.
    """
    if recent.count < FEWEST_SIGNALS:
        return NO_PENALTY
    stated = recent.mean_confidence
    standard_error = (stated * (1 - stated) / recent.count) ** 0.5
    chance = CHANCE_STANDARD_ERRORS * standard_error + CONTINUITY / recent.count
    amount = min(MAXIMUM_PENALTY, stated - recent.precision - chance)
    if amount <= 0:
        return NO_PENALTY
    message = (
        f"{recent.right} of the last {recent.count} sure answers right, {stated:.2f} stated, "
        f"up to {chance:.2f} may be chance"
    )
    return Penalty(float(amount), message)
