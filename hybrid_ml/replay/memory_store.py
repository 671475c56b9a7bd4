"""What the registry and the ledger would hold of one symbol, in memory."""

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np

from hybrid_ml.learning.model import HybridModel
from hybrid_ml.learning.promotion import Promotion, decide
from hybrid_ml.learning.rows import Rows
from hybrid_ml.market.bars import BAR_LENGTH
from hybrid_ml.market.labels import CLASSES, HORIZON_MINUTES
from hybrid_ml.signals.pace import PaceRecord, record_period
from hybrid_ml.signals.penalty import SIGNALS_CONSIDERED, RecentSignals

HORIZON = HORIZON_MINUTES * BAR_LENGTH


@dataclass(frozen=True)
class Trained:
    """A base trained for a moment, and the rows it can be judged on."""

    model: HybridModel
    hold_out: Rows


@dataclass
class Registry:
    """What the registry would hold of one symbol.

    `adapted_at`: the cycle that made the adapter which serves now; None: the base does. The adapter
    follows from the champion and the rows of that cycle, so it is made again where it is needed.
    """

    champion: HybridModel | None = None
    champion_as_of: datetime | None = None
    adapted_at: datetime | None = None
    scratch_newest: datetime | None = None
    scratch_rejected: list[datetime] = field(default_factory=list)
    replaced: int = 0
    kept: int = 0

    @property
    def version(self) -> str | None:
        """The version of the champion."""
        return None if self.champion is None else self.champion.base.version

    def judge(self, trained: Trained, num_threads: int) -> Promotion:
        """Whether a new base is to take the champion's place."""
        return decide(trained.model, self.champion, trained.hold_out, num_threads=num_threads)

    def promote(self, model: HybridModel) -> None:
        """Let `model` serve from now on."""
        if model.base.kind == "scratch":
            self.scratch_newest = model.base.as_of
        self.champion, self.champion_as_of, self.adapted_at = model, model.base.as_of, None
        self.replaced += 1

    def reject(self, kind: str, as_of: datetime) -> None:
        """Take note of a base of `kind` made at `as_of` that does not serve."""
        self.kept += 1
        if kind == "scratch":
            self.scratch_newest = as_of
            self.scratch_rejected.append(as_of)

    def copy(self) -> "Registry":
        """The same state, which what happens later does not change."""
        return replace(self, scratch_rejected=list(self.scratch_rejected))

    @property
    def scratch_in_vain(self) -> int:
        since = self.champion_as_of
        return sum(since is None or moment > since for moment in self.scratch_rejected)


class PacedAnswer(NamedTuple):
    """An answer at a pace: whether every gate other than confidence let it pass, and the bound that the pace chose."""

    bar_time: datetime
    confidence: float
    passes: bool
    bound: float


@dataclass
class Ledger:
    """What later cycles look back on: the newest answer, and sure ones with their outcomes.

    `signals`: bar time, direction, confidence and outcome of signals and of answers that only the penalty
    silenced, which count alike for it. `paced`: answers at a pace of the last two weeks.
    """

    bar_time: datetime | None = None
    signal: bool = False
    signals: list[tuple[datetime, str, float, str | None]] = field(default_factory=list)
    paced: list[PacedAnswer] = field(default_factory=list)

    def copy(self) -> "Ledger":
        """The same state, which what happens later does not change."""
        return replace(self, signals=list(self.signals), paced=list(self.paced))

    def records(self, row: dict[str, Any]) -> bool:
        """Take note of an answer; False when its bar has one already, which only a signal may replace."""
        if row["bar_time"] == self.bar_time and (self.signal or not row["signal"]):
            return False
        self.bar_time, self.signal = row["bar_time"], row["signal"]
        if self.signals and self.signals[-1][0] == self.bar_time:
            self.signals.pop()  # the bar has one row, from now on that of the signal
        if self.signal or row["silenced_by_penalty"]:
            top = max(CLASSES, key=lambda name: row[f"p_{name}"])
            self.signals.append((row["bar_time"], top, row[f"p_{top}"], row["outcome"]))
        return True

    def remember_pace(self, answer: PacedAnswer) -> None:
        """Take note of the newest recorded answer at a pace, and forget those that count no more."""
        while self.paced and self.paced[-1].bar_time >= answer.bar_time:
            self.paced.pop()  # the bar has one row, from now on this one
        self.paced.append(answer)
        oldest = record_period(answer.bar_time)[0]
        while self.paced[0].bar_time < oldest:
            del self.paced[0]

    def pace_record(self, bar_time: datetime, as_of: datetime) -> PaceRecord:
        """What the pace of an answer about `bar_time` goes by, as the ledger's query gives it."""
        since, until = record_period(as_of)
        record = [answer for answer in self.paced if since <= answer.bar_time < until]
        days = Counter(answer.bar_time.date() for answer in record)
        before = [answer for answer in self.paced[-2:] if answer.bar_time < bar_time]
        return PaceRecord(
            confidences=[answer.confidence for answer in record if answer.passes],
            answers=len(record),
            most_in_a_day=max((days[day] for day in sorted(days)[1:]), default=0),
            previous=before[-1].bound if before else None,
        )

    def recent_signals(self, as_of: datetime) -> RecentSignals:
        """The newest sure answers whose outcome was known at `as_of`: shares as the ledger's query gives them."""
        due = [signal for signal in self.signals if signal[3] is not None and signal[0] + HORIZON + BAR_LENGTH <= as_of]
        newest = due[-SIGNALS_CONSIDERED:]
        if not newest:
            return RecentSignals(0, 0.0, 0.0)
        right = [direction == outcome for _, direction, _, outcome in newest]
        return RecentSignals(len(newest), float(np.mean(right)), float(np.mean([row[2] for row in newest])))
