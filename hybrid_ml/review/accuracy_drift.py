"""Has the accuracy fallen? Right and wrong answers in order, and signals compared with their stated confidence.

Answers ten minutes apart share no minute, so each outcome counts once. A change of their accuracy
is detected by ADWIN (Bifet and Gavaldà, "Learning from time-changing data with adaptive
windowing", 2007), which extends a window while nothing changes and cuts it where its two parts differ
by more than chance.

Signals come in clusters: one move of the market causes several, right or wrong together. So those within an
hour form a block, and the shortfall is compared with the variation between whole blocks (their sums
replace independent signals, as in Liang and Zeger, "Longitudinal data analysis using generalized linear
models", 1986), measured from their stated confidence and not from their own mean, since few blocks may agree by chance.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hybrid_ml.learning.intervals import wilson
from hybrid_ml.market.labels import HORIZON_MINUTES
from hybrid_ml.text.counts import counted

ADWIN_DELTA = 0.05
"""ADWIN's bound on false cuts is conservative: of 4,320 unchanging answers (30 days) about one stream in 40 is cut."""
ALARM = 0.05
HORIZON = pd.Timedelta(minutes=HORIZON_MINUTES)
BLOCK = pd.Timedelta(hours=1)
"""Signals that begin within this time of a block's first one belong to it."""


@dataclass(frozen=True)
class Change:
    """A change of accuracy at `at`, until the next one: accuracies and answers before and after."""

    at: datetime
    before: float
    after: float
    answers_before: int
    answers_after: int

    @property
    def is_fall(self) -> bool:
        return self.after < self.before

    def __str__(self) -> str:
        return (
            f"accuracy {self.before:.3f} before {self.at:%Y-%m-%d %H:%M} UTC "
            f"({counted(self.answers_before, 'answer')}), {self.after:.3f} since ({self.answers_after:,})"
        )


@dataclass(frozen=True)
class Correctness:
    """The stream of right and wrong answers, one every ten minutes at most, and its changes."""

    answers: int
    changes: list[Change] = field(default_factory=list)

    @property
    def fallen(self) -> Change | None:
        """The newest change, where the accuracy has fallen."""
        return self.changes[-1] if self.changes and self.changes[-1].is_fall else None


@dataclass(frozen=True)
class SignalRecord:
    """Signals ten minutes apart: the share that was right, its interval (90 %), and the mean stated confidence.

    `blocks`: hours with signals. `p`: probability of no more right ones if each came true as often as stated,
    see `shortfall`. None without signals.
    """

    signals: int
    right: int = 0
    precision: float | None = None
    interval: list[float] | None = None
    mean_confidence: float | None = None
    p: float | None = None
    blocks: int = 0

    @property
    def alarm(self) -> bool:
        """Whether precision is below the stated confidence, beyond chance (one-sided, 95 %)."""
        return self.p is not None and self.p <= ALARM


def correctness(answers: pd.DataFrame) -> Correctness:
    """Changes of the accuracy of one symbol's `answers` (ledger columns); those without outcome are left out."""
    apart = _apart(answers[answers["outcome"].notna()])
    right = (apart["direction"] == apart["outcome"]).to_numpy(dtype=bool)
    cuts = changes(right)
    edges = [0, *cuts, len(right)]
    parts = [right[begin:end] for begin, end in pairwise(edges)]
    result = [
        Change(
            apart["bar_time"].iloc[cut].to_pydatetime(),
            float(before.mean()), float(after.mean()), len(before), len(after),
        )
        for cut, before, after in zip(cuts, parts, parts[1:], strict=False)
    ]  # fmt: skip
    return Correctness(len(right), result)


def changes(right: NDArray[np.bool_]) -> list[int]:
    """Positions in `right` (n,) where a period with another accuracy begins, ascending.

    ADWIN detects that there is a change; its position is that of the largest difference of the two parts in standard
    errors, since ADWIN itself drops as little of the past as possible, which is too early by hundreds of answers.
    """
    from river.drift import ADWIN

    cuts, begin, place, adwin = list[int](), 0, 0, ADWIN(delta=ADWIN_DELTA)
    while place < len(right):
        adwin.update(bool(right[place]))
        place += 1
        if adwin.drift_detected:
            begin += _split(right[begin:place])
            cuts.append(begin)
            place, adwin = begin, ADWIN(delta=ADWIN_DELTA)
    return cuts


def _split(right: NDArray[np.bool_]) -> int:
    """The best position to cut `right` (n,) into two parts, at least one on each side."""
    first = np.arange(1, len(right))
    second = len(right) - first
    sums = right.cumsum()[:-1]
    difference = np.abs(sums / first - (right.sum() - sums) / second)
    return int(first[np.argmax(difference * np.sqrt(first * second / len(right)))])


def signal_record(answers: pd.DataFrame) -> SignalRecord:
    """One symbol's signals with an outcome, and their stated confidence."""
    apart = _apart(answers[answers["signal"] & answers["outcome"].notna()])
    if apart.empty:
        return SignalRecord(0)
    came_true = (apart["direction"] == apart["outcome"]).to_numpy(dtype=bool)
    right = int(came_true.sum())
    stated = apart["confidence"].to_numpy(dtype=np.float64)
    begins = _first_of_each(apart["bar_time"], BLOCK)
    return SignalRecord(
        signals=len(apart),
        right=right,
        precision=right / len(apart),
        interval=wilson(right, len(apart)),
        mean_confidence=float(stated.mean()),
        p=shortfall(came_true, stated, begins),
        blocks=len(begins),
    )


def shortfall(right: NDArray[np.bool_], stated: NDArray[np.float64], begins: Sequence[int]) -> float:
    """Probability of no more `right` signals (n,) if each came true as often as `stated` (n,); `begins`: of each block.

    The larger of two: that of independent signals (Poisson binomial), exact for any number, and that
    of blocks of dependent signals (normal).
    """
    from scipy.stats import norm, poisson_binom

    sums = np.add.reduceat(right - stated, begins)
    spread = float(np.sqrt((sums**2).sum()))
    of_blocks = float(norm.cdf(sums.sum() / spread)) if spread else 1.0
    return max(of_blocks, float(poisson_binom.cdf(int(right.sum()), stated)))


def _apart(answers: pd.DataFrame) -> pd.DataFrame:
    """Those of `answers` that begin after the ten minutes of the previous one."""
    ordered = answers.sort_values("bar_time", kind="stable")
    return ordered.iloc[_first_of_each(ordered["bar_time"], HORIZON)]


def _first_of_each(times: pd.Series, length: pd.Timedelta) -> list[int]:
    """Positions in `times`, ascending, of each that is `length` or more after the one chosen before."""
    chosen, free_from = list[int](), pd.Timestamp.min.tz_localize("UTC")
    for place, opened in enumerate(times):
        if opened >= free_from:
            chosen.append(place)
            free_from = opened + length
    return chosen
