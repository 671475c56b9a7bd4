"""A symbol's service, replayed: what its registry and ledger would hold, cycle by cycle, in memory.

The order of things is that of `flows.analysis` and `flows.weekly_training`, and every decision is
made by the functions they call; a test holds both equal, probability by probability. What cycles see
is worked out ahead (`looks`); what is decided from it, here, goes from cycle to cycle.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
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
from hybrid_ml.replay.looks import Look, leaves_adapter, look_ahead, rows_needed
from hybrid_ml.replay.past import Past, Sight
from hybrid_ml.replay.registry import Ledger, Registry, Trained
from hybrid_ml.replay.spread import IN_TURN, Spread
from hybrid_ml.requests import AnalysisRequest
from hybrid_ml.signals.gates import Circumstances, evaluate_gates, max_signals_verdict, refused_by
from hybrid_ml.signals.penalty import confidence_penalty
from hybrid_ml.signals.quiet_hours import QuietHours


def train_on(rows: Rows, asked: dict[str, Any], num_threads: int) -> Trained:
    """A judged base from `rows`; `asked` are the other arguments of `train_base`."""
    return Trained(*train_base(rows, num_threads=num_threads, **asked))


def training(past: Past, symbol: str, kind: Literal["base", "scratch"], as_of: datetime, week: int,
             row_limit: int) -> tuple[Rows, dict[str, Any]]:  # fmt: skip
    """What the weekly training at `as_of` works from: the first two arguments of `train_on`."""
    window = training_window(lambda count: past.newest_bars(as_of, count), row_limit, past.max_gap_minutes)
    return window.rows, {"symbol": symbol, "kind": kind, "row_limit": row_limit, "week": week, "as_of": as_of}


def train(past: Past, symbol: str, kind: Literal["base", "scratch"], as_of: datetime, week: int, row_limit: int,
          num_threads: int) -> Trained:  # fmt: skip
    """A judged base on what was known at `as_of`, as the weekly training makes it."""
    return train_on(*training(past, symbol, kind, as_of, week, row_limit), num_threads)


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
        self.registry, self.ledger, self.quiet_hours = Registry(), Ledger(), QuietHours()
        self._fine_tune_rows = 0 if request.fast_mode else request.fine_tune_rows

    def weekly(self, trained: Trained) -> Promotion:
        """What the weekly training decides about a new base; the first one always serves."""
        return self.registry.challenge(trained, self.num_threads)

    def cycle(self, past: Past, now: datetime) -> dict[str, Any] | None:
        """One analysis; the row a ledger would get, None where none is written (asleep, no or stale bars)."""
        return next(self.cycles(past, [now]))

    def cycles(
        self, past: Past, moments: Sequence[datetime], spread: Spread = IN_TURN
    ) -> Iterator[dict[str, Any] | None]:
        """The analyses at `moments`, in their order, each as of `cycle`; what they see comes from `spread`.

        Where training from scratch changes the champion, what was worked out ahead is thrown away.
        """
        sights = [self._sight(past, now) for now in moments]
        looks = self._look_ahead(past, sights, spread)
        for place, sight in enumerate(sights):
            if sight is None:
                yield None
                continue
            look = next(looks)
            fell_back = self._falls_back(sight, look)
            if fell_back and self._train_from_scratch(past, sight.now).promoted:
                looks.close()
                looks = self._look_ahead(past, sights[place:], spread)
                look = next(looks)
            yield self._decide(past, sight, look, fell_back)

    @property
    def champion(self) -> HybridModel:
        """Raises ValueError before the first weekly training."""
        if self.registry.champion is None:
            raise ValueError(f"{self.symbol} has no champion yet; its first weekly training comes before its cycles")
        return self.registry.champion

    def _sight(self, past: Past, now: datetime) -> Sight | None:
        """What the cycle at `now` looks at; None where it neither answers nor leaves an adapter."""
        if self.quiet_hours.covers(now) and not self.request.disable_sleep_window:
            return None
        sight = past.sight(now, rows_needed(self._fine_tune_rows))
        stale = sight is None or age_minutes(sight.bar_time, now) > self.request.max_bar_age_minutes
        return None if stale else sight

    def _look_ahead(self, past: Past, sights: Sequence[Sight | None], spread: Spread) -> Generator[Look]:
        adapted_at, needed = self.registry.adapted_at, rows_needed(self._fine_tune_rows)
        before = None if adapted_at is None else past.sight(adapted_at, needed)
        awake = [sight for sight in sights if sight is not None]
        return look_ahead(self.champion, before, past, awake, self._fine_tune_rows, spread)

    def _falls_back(self, sight: Sight, look: Look) -> bool:
        again = fallback.next_scratch(self.registry.scratch_newest, self.registry.scratch_in_vain)
        reason = fallback.fallback_reason(None, look.recent, self.ledger.was_degraded(sight.now))
        return reason is not None and (again is None or sight.now >= again)

    def _train_from_scratch(self, past: Past, now: datetime) -> Promotion:
        trained = train(past, self.symbol, "scratch", now, *self.scaling(now), self.num_threads)
        return self.registry.challenge(trained, self.num_threads)

    def _decide(self, past: Past, sight: Sight, look: Look, fell_back: bool) -> dict[str, Any] | None:
        """Gates, ledger, and which cycle's adapter serves from now on."""
        was_degraded = self.ledger.was_degraded(sight.now)
        refusals = self._refusals(sight, look, was_degraded)
        if leaves_adapter(sight, self._fine_tune_rows):
            self.registry.adapted_at = sight.now
        row = self._row(past, sight, look, refusals, fell_back)
        return row if self.ledger.records(row, fallback.is_under_the_bar(look.recent, was_degraded)) else None

    def _refusals(self, sight: Sight, look: Look, was_degraded: bool) -> list[str]:
        request = self.request
        signals = self.ledger.recent_signals(sight.now) if request.enable_recent_penalty else None
        around = Circumstances(
            bounds=request.bounds,
            penalty=confidence_penalty(signals) if signals else 0.0,
            recent=look.recent,
            bar_age_minutes=age_minutes(sight.bar_time, sight.now),
            max_bar_age_minutes=request.max_bar_age_minutes,
            was_degraded=was_degraded,
        )
        refusals = refused_by(evaluate_gates(look.answer, around))
        if not refusals and not max_signals_verdict(1, request.bounds.max_signals).passed:
            refusals = ["max_signals"]
        return refusals

    def _row(self, past: Past, sight: Sight, look: Look, refusals: list[str], fell_back: bool) -> dict[str, Any]:
        """A row a ledger would get; returns are logarithmic, NaN across sessions and beyond the bars."""
        base = self.champion.base
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
            "refused_by": ",".join(refusals),
            "model_version": look.version,
            "kind": look.kind,
            "fell_back": fell_back,
        }
