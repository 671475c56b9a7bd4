"""Has the record fallen? Answers right or wrong in their order, and signals against what they stated.

Answers ten minutes apart share no minute, so that each outcome counts once. Where their share of right
ones changes is found by ADWIN (Bifet and Gavaldà, "Learning from time-changing data with adaptive
windowing", 2007), which keeps a window as long as nothing changes and cuts it where the two parts differ
by more than chance allows.

Signals come in clusters: one move of the market makes several, right or wrong together. So those within an
hour are a block, and the shortfall is held against how much whole blocks fall short (their sums take the
place of independent signals, as in Liang and Zeger, "Longitudinal data analysis using generalized linear
models", 1986), measured from what they state and not from their own mean: few blocks cannot look alike by chance.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm, poisson_binom

from hybrid_ml.learning.intervals import wilson
from hybrid_ml.market.labels import HORIZON_MINUTES
from hybrid_ml.text.counts import counted

ADWIN_DELTA = 0.05
"""Its bound on false cuts is cautious: on 4,320 unchanging answers (30 days) about one stream in forty is cut."""
ALARM = 0.05
HORIZON = pd.Timedelta(minutes=HORIZON_MINUTES)
BLOCK = pd.Timedelta(hours=1)
"""Signals that begin within so long of a block's first one belong to it."""


@dataclass(frozen=True)
class Change:
    """From `at` on the accuracy was another, until the next change: accuracies and answers on both sides."""

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
    """The stream of right and wrong answers, one every ten minutes at most, and where it changed."""

    answers: int
    changes: list[Change] = field(default_factory=list)

    @property
    def fallen(self) -> Change | None:
        """The newest change, where it is one for the worse: what still holds."""
        return self.changes[-1] if self.changes and self.changes[-1].is_fall else None


@dataclass(frozen=True)
class SignalRecord:
    """Signals ten minutes apart: the share that was right, its interval (90 %), and the mean confidence stated.

    `blocks`: hours in which they came. `p`: chance of no more right ones, did each come true as often as it
    says, as `shortfall` tells it. None without signals.
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
        """Whether they fall short of what they state, beyond what chance explains (one-sided, 95 %)."""
        return self.p is not None and self.p <= ALARM


def correctness(answers: pd.DataFrame) -> Correctness:
    """Where the accuracy of one symbol's `answers` (ledger columns) changed; those without outcome are left out."""
    apart = _apart(answers[answers["outcome"].notna()])
    right = (apart["direction"] == apart["outcome"]).to_numpy(dtype=bool)
    cuts = changes(right)
    edges = [0, *cuts, len(right)]
    parts = [right[begin:end] for begin, end in pairwise(edges)]
    found = [
        Change(
            apart["bar_time"].iloc[cut].to_pydatetime(),
            float(before.mean()), float(after.mean()), len(before), len(after),
        )
        for cut, before, after in zip(cuts, parts, parts[1:], strict=False)
    ]  # fmt: skip
    return Correctness(len(right), found)


def changes(right: NDArray[np.bool_]) -> list[int]:
    """Positions in `right` (n,) where a stretch with another share of right ones begins, ascending.

    ADWIN says that there is one, the largest difference of the two parts in their standard errors says
    where: ADWIN itself drops no more of the past than it must, which is too early by hundreds of answers.
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
    """Where `right` (n,) is best cut into two, at least one on each side."""
    first = np.arange(1, len(right))
    second = len(right) - first
    sums = right.cumsum()[:-1]
    difference = np.abs(sums / first - (right.sum() - sums) / second)
    return int(first[np.argmax(difference * np.sqrt(first * second / len(right)))])


def signal_record(answers: pd.DataFrame) -> SignalRecord:
    """One symbol's signals with an outcome against their stated confidence."""
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
    """Chance of no more `right` signals (n,), came each true as often as `stated` (n,); `begins`: of each block.

    The larger of two: that of independent signals (Poisson binomial), exact however few they are, and that
    of blocks whose signals share what befalls them (normal).
    """
    sums = np.add.reduceat(right - stated, begins)
    spread = float(np.sqrt((sums**2).sum()))
    of_blocks = float(norm.cdf(sums.sum() / spread)) if spread else 1.0
    return max(of_blocks, float(poisson_binom.cdf(int(right.sum()), stated)))


def _apart(answers: pd.DataFrame) -> pd.DataFrame:
    """Of `answers`, each that begins when the ten minutes of the one before are over."""
    ordered = answers.sort_values("bar_time", kind="stable")
    return ordered.iloc[_first_of_each(ordered["bar_time"], HORIZON)]


def _first_of_each(times: pd.Series, length: pd.Timedelta) -> list[int]:
    """Positions in `times`, ascending, of each that comes `length` or more after the one chosen before."""
    chosen, free_from = list[int](), pd.Timestamp.min.tz_localize("UTC")
    for place, opened in enumerate(times):
        if opened >= free_from:
            chosen.append(place)
            free_from = opened + length
    return chosen
