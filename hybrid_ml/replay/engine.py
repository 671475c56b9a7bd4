"""A symbol's service, replayed: what its registry and ledger would hold, cycle by cycle, in memory.

The order of things is that of `flows.analysis` and `flows.weekly_training`, and every decision is
made by the functions they call; a test holds both equal, probability by probability. What cycles see
is worked out ahead (`looks`); what is decided from it, here, goes from cycle to cycle.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from hybrid_ml.learning import fallback
from hybrid_ml.learning.model import HybridModel
from hybrid_ml.learning.promotion import Promotion
from hybrid_ml.learning.rows import Rows
from hybrid_ml.learning.training import train_base
from hybrid_ml.learning.windows import training_window
from hybrid_ml.market.bars import age_minutes
from hybrid_ml.market.labels import CLASSES, HORIZON_MINUTES
from hybrid_ml.replay.executors import IN_TURN, Spread, result_of
from hybrid_ml.replay.history import CycleView, Past
from hybrid_ml.replay.lookahead import CyclePrediction, leaves_adapter, look_ahead, rows_needed
from hybrid_ml.replay.memory_store import Ledger, Registry, Trained
from hybrid_ml.schemas.requests import AnalysisRequest
from hybrid_ml.signals.gates import (
    GateContext,
    Verdict,
    evaluate_gates,
    max_signals_verdict,
    refused_by,
    silenced_by_penalty,
)
from hybrid_ml.signals.penalty import NO_PENALTY, confidence_penalty

Row = dict[str, Any]


def train_on(rows: Rows, options: dict[str, Any], num_threads: int) -> Trained:
    """A judged base from `rows`; `asked` are the other arguments of `train_base`."""
    return Trained(*train_base(rows, num_threads=num_threads, **options))


def training(past: Past, symbol: str, kind: Literal["base", "scratch"], as_of: datetime, week: int,
             row_limit: int) -> tuple[Rows, dict[str, Any]]:  # fmt: skip
    """What the weekly training at `as_of` works from: the first two arguments of `train_on`."""
    window = training_window(lambda count: past.newest_bars(as_of, count), row_limit, past.max_gap_minutes)
    return window.rows, {"symbol": symbol, "kind": kind, "row_limit": row_limit, "week": week, "as_of": as_of}


def train(past: Past, symbol: str, kind: Literal["base", "scratch"], as_of: datetime, week: int, row_limit: int,
          num_threads: int) -> Trained:  # fmt: skip
    """A judged base on what was known at `as_of`, as the weekly training makes it."""
    return train_on(*training(past, symbol, kind, as_of, week, row_limit), num_threads)


@dataclass(frozen=True)
class PendingRetrain:
    """A training from scratch at the cycle of `place` that may change what follows; the state before that cycle."""

    place: int
    sight: CycleView
    training: Future[Trained]
    registry: Registry
    ledger: Ledger


class Service:
    """One symbol's service on its past. Carries everything from cycle to cycle."""

    def __init__(
        self,
        symbol: str,
        request: AnalysisRequest,
        scaling: Callable[[datetime], tuple[int, int]],
        num_threads: int,
    ) -> None:
        """`scaling`: the week and the row limit of progressive scaling at a moment."""
        self.symbol, self.request, self.scaling, self.num_threads = symbol, request, scaling, num_threads
        self.registry, self.ledger, self.quiet_hours = Registry(), Ledger(), request.quiet_hours
        self._fine_tune_rows = 0 if request.fast_mode else request.fine_tune_rows

    def weekly(self, trained: Trained) -> Promotion:
        """What the weekly training decides about a new base; the first one always serves."""
        return self.registry.challenge(trained, self.num_threads)

    def cycle(self, past: Past, now: datetime) -> Row | None:
        """One analysis; the row a ledger would get, None where none is written (asleep, no or stale bars)."""
        return next(self.cycles(past, [now]))

    def cycles(self, past: Past, moments: Sequence[datetime], spread: Spread = IN_TURN) -> Iterator[Row | None]:
        """The analyses at `moments`, in their order, each as of `cycle`; what they see comes from `spread`.

        A training from scratch is spread as well. Mostly it does not change the champion, so the cycles
        after it are decided as if it did not, and their rows held back until that is known. Where it
        does, what was decided and worked out after it is thrown away.
        """
        sights = [self._sight(past, now) for now in moments]
        looks = self._look_ahead(past, sights, spread)
        place, held, pending = 0, deque[Row | None](), deque[PendingRetrain]()
        while place < len(sights) or pending:
            if pending and (len(pending) == spread.in_flight or place == len(sights)):
                retrain = pending.popleft()
                if self._promotes(retrain):
                    for vain in pending:
                        vain.training.cancel()
                    pending.clear()
                    looks.close()
                    for _ in range(place - retrain.place):
                        held.pop()
                    place = retrain.place
                    looks = self._look_ahead(past, sights[place:], spread)
                    held.append(self._decide(past, retrain.sight, next(looks), True))
                    place += 1
            else:
                sight = sights[place]
                held.append(None if sight is None else self._advance(past, place, sight, next(looks), pending, spread))
                place += 1
            certain = pending[0].place if pending else place
            while len(held) > place - certain:
                yield held.popleft()

    def _advance(
        self,
        past: Past,
        place: int,
        sight: CycleView,
        look: CyclePrediction,
        pending: deque[PendingRetrain],
        spread: Spread,
    ) -> Row | None:
        """Decide one cycle; where it trains from scratch, as if that were in vain, and with one more retrain."""
        fell_back = self._falls_back(sight, look)
        if fell_back:
            request = training(past, self.symbol, "scratch", sight.now, *self.scaling(sight.now))
            begun = spread.executor.submit(train_on, *request, self.num_threads)
            pending.append(PendingRetrain(place, sight, begun, self.registry.copy(), self.ledger.copy()))
            self.registry.reject("scratch", sight.now)
        return self._decide(past, sight, look, fell_back)

    def _promotes(self, retrain: PendingRetrain) -> bool:
        """Whether the training of `retrain` changes the champion; if so all is as it was then, and that is changed."""
        trained = result_of(retrain.training)
        if not self.registry.judge(trained, self.num_threads).promoted:
            return False
        self.registry, self.ledger = retrain.registry, retrain.ledger
        self.registry.promote(trained.model)
        return True

    @property
    def champion(self) -> HybridModel:
        """Raises ValueError before the first weekly training."""
        if self.registry.champion is None:
            raise ValueError(f"{self.symbol} has no champion yet; its first weekly training comes before its cycles")
        return self.registry.champion

    def _sight(self, past: Past, now: datetime) -> CycleView | None:
        """What the cycle at `now` looks at; None where it neither answers nor leaves an adapter."""
        if self.quiet_hours.covers(now) and not self.request.disable_sleep_window:
            return None
        sight = past.sight(now, rows_needed(self._fine_tune_rows))
        stale = sight is None or age_minutes(sight.bar_time, now) > self.request.max_bar_age_minutes
        return None if stale else sight

    def _look_ahead(self, past: Past, sights: Sequence[CycleView | None], spread: Spread) -> Generator[CyclePrediction]:
        adapted_at, needed = self.registry.adapted_at, rows_needed(self._fine_tune_rows)
        before = None if adapted_at is None else past.sight(adapted_at, needed)
        awake = [sight for sight in sights if sight is not None]
        return look_ahead(self.champion, before, past, awake, self._fine_tune_rows, spread)

    def _falls_back(self, sight: CycleView, look: CyclePrediction) -> bool:
        again = fallback.next_scratch(self.registry.scratch_newest, self.registry.scratch_in_vain)
        reason = fallback.fallback_reason(None, look.recent, self.ledger.was_degraded(sight.now))
        return reason is not None and (again is None or sight.now >= again)

    def _decide(self, past: Past, sight: CycleView, look: CyclePrediction, fell_back: bool) -> Row | None:
        """Gates, ledger, and which cycle's adapter serves from now on."""
        was_degraded = self.ledger.was_degraded(sight.now)
        verdicts = self._verdicts(sight, look, was_degraded)
        if leaves_adapter(sight, self._fine_tune_rows):
            self.registry.adapted_at = sight.now
        row = self._row(past, sight, look, verdicts, fell_back)
        return row if self.ledger.records(row, fallback.is_below_threshold(look.recent, was_degraded)) else None

    def _verdicts(self, sight: CycleView, look: CyclePrediction, was_degraded: bool) -> list[Verdict]:
        request = self.request
        signals = self.ledger.recent_signals(sight.now) if request.enable_recent_penalty else None
        around = GateContext(
            bounds=request.bounds,
            penalty=confidence_penalty(signals) if signals else NO_PENALTY,
            recent=look.recent,
            bar_age_minutes=age_minutes(sight.bar_time, sight.now),
            max_bar_age_minutes=request.max_bar_age_minutes,
            was_degraded=was_degraded,
        )
        verdicts = evaluate_gates(look.answer, around)
        if refused_by(verdicts):
            return verdicts
        return [*verdicts, max_signals_verdict(1, request.bounds.max_signals)]

    def _row(
        self, past: Past, sight: CycleView, look: CyclePrediction, verdicts: list[Verdict], fell_back: bool
    ) -> Row:
        """A row a ledger would get; returns are logarithmic, NaN across sessions and beyond the bars."""
        base, refusals = self.champion.base, refused_by(verdicts)
        place = past.place(sight.bar_time)
        later = past.rows.take(slice(place, place + 1))
        outcome = int(later.labels(base.label_threshold)[0])
        before = place - HORIZON_MINUTES
        chances = {"p": look.answer.probabilities, "base_p": look.base.probabilities, "prior": base.class_prior}
        return {
            "symbol": self.symbol,
            "as_of": sight.now,
            "bar_time": sight.bar_time,
            "close": sight.close,
            **{
                f"{part}_{name}": share
                for part, shares in chances.items()
                for name, share in zip(CLASSES, shares, strict=True)
            },
            "threshold": base.label_threshold,
            "outcome": CLASSES[outcome] if outcome >= 0 else None,
            "forward_return": float(later.forward_returns[0]),
            "previous_return": float(past.rows.forward_returns[before]) if before >= 0 else float("nan"),
            "signal": not refusals,
            "silenced_by_penalty": silenced_by_penalty(verdicts),
            "refused_by": ",".join(refusals),
            "model_version": look.version,
            "kind": look.kind,
            "fell_back": fell_back,
        }
