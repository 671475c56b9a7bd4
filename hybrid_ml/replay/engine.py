"""A symbol's service, replayed: what its registry and ledger would hold, cycle by cycle, in memory.

The order of things is that of `flows.analysis` and `flows.weekly_training`, and every decision is
made by the functions they call; a test holds both equal, probability by probability.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

import numpy as np
import pandas as pd

from hybrid_ml.learning import fallback, fine_tuning
from hybrid_ml.learning.evaluation import RecentRecord, recent_record
from hybrid_ml.learning.model import Adapter, HybridModel
from hybrid_ml.learning.promotion import Promotion, decide
from hybrid_ml.learning.rows import Rows
from hybrid_ml.learning.training import train_base
from hybrid_ml.learning.windows import training_window
from hybrid_ml.market.bars import BAR_LENGTH, age_minutes
from hybrid_ml.market.labels import CLASSES, HORIZON_MINUTES
from hybrid_ml.replay.past import LeafCache, Past
from hybrid_ml.requests import AnalysisRequest
from hybrid_ml.signals.gates import Answer, Circumstances, evaluate_gates, max_signals_verdict, refused_by
from hybrid_ml.signals.penalty import SIGNALS_CONSIDERED, RecentSignals, confidence_penalty
from hybrid_ml.signals.quiet_hours import QuietHours

FORGET_DEGRADED = timedelta(days=1)
HORIZON = HORIZON_MINUTES * BAR_LENGTH


@dataclass(frozen=True)
class Trained:
    """A base trained for a moment, and the rows it can be judged on."""

    model: HybridModel
    hold_out: Rows


@dataclass
class Registry:
    """What the registry would hold of one symbol."""

    champion: HybridModel | None = None
    champion_as_of: datetime | None = None
    adapter: Adapter | None = None
    scratch_newest: datetime | None = None
    scratch_rejected: list[datetime] = field(default_factory=list)
    replaced: int = 0
    kept: int = 0

    @property
    def serving(self) -> HybridModel | None:
        """The champion with its newest trial; a trial that kept the base leaves the base."""
        if self.champion is None or self.adapter is None or self.adapter.leaf_values is None:
            return self.champion
        return self.champion.with_adapter(self.adapter)

    def challenge(self, trained: Trained, num_threads: int) -> Promotion:
        """Judge a new base against the champion, and put it in its place where it is better."""
        promotion = decide(trained.model, self.champion, trained.hold_out, num_threads=num_threads)
        base = trained.model.base
        if base.kind == "scratch":
            self.scratch_newest = base.as_of
        if promotion.promoted:
            self.champion, self.champion_as_of, self.adapter = trained.model, base.as_of, None
            self.replaced += 1
        else:
            self.kept += 1
            if base.kind == "scratch":
                self.scratch_rejected.append(base.as_of)
        return promotion

    @property
    def scratch_in_vain(self) -> int:
        since = self.champion_as_of
        return sum(since is None or moment > since for moment in self.scratch_rejected)


@dataclass
class Ledger:
    """What later cycles look back on: the newest answer, and signals with their outcomes."""

    bar_time: datetime | None = None
    degraded: bool = False
    signal: bool = False
    signals: list[tuple[datetime, str, float, str | None]] = field(default_factory=list)

    def records(self, row: dict[str, Any], degraded: bool) -> bool:
        """Take note of an answer; False when its bar has one already, which only a signal may replace."""
        if row["bar_time"] == self.bar_time and (self.signal or not row["signal"]):
            return False
        self.bar_time, self.degraded, self.signal = row["bar_time"], degraded, row["signal"]
        if self.signal:
            top = max(CLASSES, key=lambda name: row[f"p_{name}"])
            self.signals.append((row["bar_time"], top, row[f"p_{top}"], row["outcome"]))
        return True

    def was_degraded(self, as_of: datetime) -> bool:
        last = self.bar_time
        return self.degraded and last is not None and as_of - FORGET_DEGRADED < last < as_of

    def recent_signals(self, as_of: datetime) -> RecentSignals:
        """The newest signals whose outcome was known at `as_of`: shares as the ledger's query gives them."""
        due = [each for each in self.signals if each[3] is not None and each[0] + HORIZON + BAR_LENGTH <= as_of]
        newest = due[-SIGNALS_CONSIDERED:]
        if not newest:
            return RecentSignals(0, 0.0, 0.0)
        right = [direction == outcome for _, direction, _, outcome in newest]
        return RecentSignals(len(newest), float(np.mean(right)), float(np.mean([each[2] for each in newest])))


def train(past: Past, symbol: str, kind: Literal["base", "scratch"], as_of: datetime, week: int, row_limit: int,
          num_threads: int) -> Trained:  # fmt: skip
    """A judged base on what was known at `as_of`, as the weekly training makes it."""
    window = training_window(lambda count: past.newest_bars(as_of, count), row_limit, past.max_gap_minutes)
    model, hold_out = train_base(
        window.rows,
        symbol=symbol,
        kind=kind,
        row_limit=row_limit,
        week=week,
        as_of=as_of,
        num_threads=num_threads,
    )
    return Trained(model, hold_out)


class Service:
    """One symbol's service on its past. Carries everything from cycle to cycle; can be pickled between weeks."""

    def __init__(self, symbol: str, request: AnalysisRequest, scaling: Any, num_threads: int) -> None:
        """`scaling`: the week and the row limit of progressive scaling at a moment."""
        self.symbol, self.request, self.scaling, self.num_threads = symbol, request, scaling, num_threads
        self.registry, self.ledger, self.quiet_hours = Registry(), Ledger(), QuietHours()
        self._leaves = LeafCache()

    def weekly(self, trained: Trained) -> Promotion:
        """What the weekly training decides about a new base."""
        return self.registry.challenge(trained, self.num_threads)

    def cycle(self, past: Past, now: datetime) -> dict[str, Any] | None:
        """One analysis; the row a ledger would get, None where none is written (asleep, no or stale bars)."""
        request = self.request
        if self.quiet_hours.covers(now) and not request.disable_sleep_window:
            return None
        seen = past.view(now, self.registry.champion, self._leaves)
        if seen is None:
            return None
        rows, close = seen
        bar_time = rows.times[-1].to_pydatetime()
        was_degraded = self.ledger.was_degraded(now)
        model, recent = self._validated(rows)
        stale = age_minutes(bar_time, now) > request.max_bar_age_minutes
        problem = "there is no saved model" if model is None else None
        reason = fallback.fallback_reason(problem, recent, was_degraded)
        if reason and (model is None or (not stale and self._may_train(now))):
            week, row_limit = self.scaling(now)
            self.registry.challenge(
                train(past, self.symbol, "scratch", now, week, row_limit, self.num_threads), self.num_threads
            )
            rows, close = past.view(now, self.registry.champion, self._leaves) or seen
            model, recent = self._validated(rows)
        else:
            reason = None
        if model is None or recent is None or stale:
            return None
        trial = None
        if not request.fast_mode and len(rows.labelled()) >= fine_tuning.MINIMUM_FINE_TUNE_ROWS:
            trial = fine_tuning.fine_tune(model, rows, count=request.fine_tune_rows, as_of=now)
            model = model.with_adapter(trial.adapter)
        latest = rows.latest()
        answer = Answer.of(model.probabilities_of(latest)[0])
        base = Answer.of(model.with_adapter(None).probabilities_of(latest)[0])
        refusals = self._refusals(answer, recent, bar_time, now, was_degraded)
        if trial is not None:
            self.registry.adapter = trial.adapter
        row = self._row(past, now, bar_time, close, model, answer, base, refusals, reason is not None)
        return row if self.ledger.records(row, fallback.is_under_the_bar(recent, was_degraded)) else None

    @staticmethod
    def _previous_return(past: Past, place: int) -> float:
        """Log return over the ten minutes before, for the guess that it goes on like this; NaN across sessions."""
        before = place - HORIZON_MINUTES
        return float(past.rows.forward_returns[before]) if before >= 0 else float("nan")

    def _validated(self, rows: Rows) -> tuple[HybridModel | None, RecentRecord | None]:
        model = self.registry.serving
        return model, None if model is None else recent_record(model, rows, count=fallback.RECENT_ROWS)

    def _may_train(self, now: datetime) -> bool:
        again = fallback.next_scratch(self.registry.scratch_newest, self.registry.scratch_in_vain)
        return again is None or now >= again

    def _refusals(
        self, answer: Answer, recent: RecentRecord, bar_time: datetime, now: datetime, was_degraded: bool
    ) -> list[str]:
        request = self.request
        signals = self.ledger.recent_signals(now) if request.enable_recent_penalty else None
        around = Circumstances(
            bounds=request.bounds,
            penalty=confidence_penalty(signals) if signals else 0.0,
            recent=recent,
            bar_age_minutes=age_minutes(bar_time, now),
            max_bar_age_minutes=request.max_bar_age_minutes,
            was_degraded=was_degraded,
        )
        refusals = refused_by(evaluate_gates(answer, around))
        if not refusals and not max_signals_verdict(1, request.bounds.max_signals).passed:
            refusals = ["max_signals"]
        return refusals

    def _row(
        self,
        past: Past,
        now: datetime,
        bar_time: datetime,
        close: float,
        model: HybridModel,
        answer: Answer,
        base: Answer,
        refusals: list[str],
        fell_back: bool,
    ) -> dict[str, Any]:
        threshold = model.base.label_threshold
        place = int(past.rows.times.searchsorted(pd.Timestamp(bar_time)))
        later = past.rows.take(slice(place, place + 1))
        outcome = int(later.labels(threshold)[0])
        return {
            "symbol": self.symbol,
            "as_of": now,
            "bar_time": bar_time,
            "close": close,
            **{f"p_{name}": chance for name, chance in zip(CLASSES, answer.probabilities, strict=True)},
            **{f"base_p_{name}": chance for name, chance in zip(CLASSES, base.probabilities, strict=True)},
            **{f"prior_{name}": share for name, share in zip(CLASSES, model.base.class_prior, strict=True)},
            "threshold": threshold,
            "outcome": CLASSES[outcome] if outcome >= 0 else None,
            "forward_return": float(later.forward_returns[0]),
            "previous_return": self._previous_return(past, place),
            "signal": not refusals,
            "refused_by": ",".join(refusals),
            "model_version": model.version,
            "kind": model.kind,
            "fell_back": fell_back,
        }
