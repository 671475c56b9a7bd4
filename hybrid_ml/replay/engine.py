"""A symbol's service, replayed: what its registry and ledger would hold, cycle by cycle, in memory.

The order of things is that of `flows.analysis` and `flows.weekly_training`, and every decision is
made by the functions they call; a test holds both equal, probability by probability. What cycles see
is computed ahead (`lookahead`); what is decided from it, here, goes from cycle to cycle.
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
from hybrid_ml.learning.training import find_leaders, train_base
from hybrid_ml.learning.windows import training_window
from hybrid_ml.market.bars import age_minutes
from hybrid_ml.market.labels import FLAT_SHARE
from hybrid_ml.replay.executors import SEQUENTIAL, WorkerPool, result_of
from hybrid_ml.replay.history import CycleView, Past
from hybrid_ml.replay.judging import PredictedCycle, Row, judge_cycle, ledger_row
from hybrid_ml.replay.kept import CyclePrediction, JudgedTraining, KeptWork, TrainingKey
from hybrid_ml.replay.lookahead import leaves_adapter, look_ahead, rows_needed
from hybrid_ml.replay.memory_store import Ledger, PacedAnswer, Registry, Trained
from hybrid_ml.schemas.requests import AnalysisRequest
from hybrid_ml.signals.gates import paced_bound, passes_but_for_confidence


def train_on(rows: Rows, options: dict[str, Any], num_threads: int) -> Trained:
    """A judged base from `rows`; `options` are the other arguments of `train_base`, leaders None: to be chosen."""
    if options["leaders"] is None:
        options = {**options, "leaders": [leader.symbol for leader in find_leaders(rows, options["row_limit"])]}
    return Trained(*train_base(rows, num_threads=num_threads, **options))


@dataclass(frozen=True)
class Recipe:
    """How bases are trained: their leaders (None: chosen from the training rows) and the share of FLAT."""

    leaders: tuple[str, ...] | None = ()
    flat_share: float = FLAT_SHARE


def training(past: Past, symbol: str, kind: Literal["base", "scratch"], as_of: datetime, week: int,
             row_limit: int, recipe: Recipe) -> tuple[Rows, dict[str, Any]]:  # fmt: skip
    """What the weekly training at `as_of` works from: the first two arguments of `train_on`."""
    window = training_window(
        lambda count: past.newest_bars(as_of, count), row_limit, past.max_gap_minutes, past.sessions
    ).with_leaders(past.leaders)
    options = {"symbol": symbol, "kind": kind, "row_limit": row_limit, "week": week, "as_of": as_of}
    return window.rows, {**options, "leaders": recipe.leaders, "flat_share": recipe.flat_share}


def train(past: Past, symbol: str, kind: Literal["base", "scratch"], as_of: datetime, week: int, row_limit: int,
          num_threads: int, recipe: Recipe = Recipe()) -> Trained:  # fmt: skip
    """A judged base on what was known at `as_of`, as the weekly training makes it."""
    return train_on(*training(past, symbol, kind, as_of, week, row_limit, recipe), num_threads)


@dataclass(frozen=True)
class PendingRetrain:
    """A training from scratch at the cycle of `place` that may change what follows; the state before that cycle.

    `training`: None where its outcome is kept.
    """

    place: int
    view: CycleView
    training: Future[Trained] | None
    registry: Registry
    ledger: Ledger


class ReplayedService:
    """One symbol's service on its past. Carries everything from cycle to cycle."""

    def __init__(
        self,
        symbol: str,
        request: AnalysisRequest,
        scaling: Callable[[datetime], tuple[int, int]],
        num_threads: int,
        recipe: Recipe = Recipe(),
    ) -> None:
        """`scaling`: the week and the row limit of progressive scaling at a moment.

        `kept` is what earlier replays computed, nothing at first; assign another before a week.
        """
        self.symbol, self.request, self.scaling, self.num_threads = symbol, request, scaling, num_threads
        self.recipe, self.kept = recipe, KeptWork()
        self.registry, self.ledger, self.quiet_hours = Registry(), Ledger(), request.quiet_hours
        self._fine_tune_rows = 0 if request.fast_mode else request.fine_tune_rows

    def weekly(self, trained: Trained) -> Promotion:
        """What the weekly training decides about a new base; the first one always serves."""
        promotion = self._judge(trained)
        if promotion.promoted:
            self.registry.promote(trained.model)
        else:
            self.registry.reject(trained.model.base.kind, trained.model.base.as_of)
        return promotion

    def repeat_weekly(self, as_of: datetime) -> JudgedTraining | None:
        """What the weekly training at `as_of` decided against this champion, done again; None where it is not kept."""
        judged = self.kept.trainings.get(TrainingKey("base", as_of, self.registry.version))
        if judged is None:
            return None
        if judged.promoted:
            self.registry.promote(self.kept.model(judged.version))
        else:
            self.registry.reject("base", as_of)
        return judged

    def cycle(self, past: Past, now: datetime) -> Row | None:
        """One analysis; the row a ledger would get, None where none is written (asleep, no or stale bars)."""
        return next(self.cycles(past, [now]))

    def cycles(self, past: Past, moments: Sequence[datetime], pool: WorkerPool = SEQUENTIAL) -> Iterator[Row | None]:
        """The analyses at `moments`, in their order, each as of `cycle`; what they see comes from `pool`.

        A training from scratch runs in parallel as well. Mostly it does not change the champion, so the cycles
        after it are decided as if it did not, and their rows held back until that is known. Where it
        does, what was decided and computed after it is discarded.
        """
        views = [self._view(past, now) for now in moments]
        predictions = self._look_ahead(past, views, pool)
        place, held, pending = 0, deque[Row | None](), deque[PendingRetrain]()
        while place < len(views) or pending:
            if pending and (len(pending) == pool.in_flight or place == len(views) or pending[0].training is None):
                retrain = pending.popleft()
                if self._promotes(retrain):
                    for vain in pending:
                        if vain.training is not None:
                            vain.training.cancel()
                    pending.clear()
                    predictions.close()
                    for _ in range(place - retrain.place):
                        held.pop()
                    place = retrain.place
                    predictions = self._look_ahead(past, views[place:], pool)
                    held.append(self._decide(past, retrain.view, next(predictions), True))
                    place += 1
            else:
                view = views[place]
                held.append(
                    None if view is None else self._advance(past, place, view, next(predictions), pending, pool)
                )
                place += 1
            certain = pending[0].place if pending else place
            while len(held) > place - certain:
                yield held.popleft()

    def _advance(
        self,
        past: Past,
        place: int,
        view: CycleView,
        prediction: CyclePrediction,
        pending: deque[PendingRetrain],
        pool: WorkerPool,
    ) -> Row | None:
        """Decide one cycle; where it trains from scratch, as if that were in vain, and with one more retrain."""
        fell_back = self._falls_back(view, prediction)
        if fell_back:
            begun = None
            if TrainingKey("scratch", view.now, self.registry.version) not in self.kept.trainings:
                request = training(past, self.symbol, "scratch", view.now, *self.scaling(view.now), self.recipe)
                begun = pool.executor.submit(train_on, *request, self.num_threads)
            pending.append(PendingRetrain(place, view, begun, self.registry.copy(), self.ledger.copy()))
            self.registry.reject("scratch", view.now)
        return self._decide(past, view, prediction, fell_back)

    def _promotes(self, retrain: PendingRetrain) -> bool:
        """Whether the training of `retrain` changes the champion; if so all is as it was then, and that is changed."""
        if retrain.training is not None:
            trained = result_of(retrain.training)
            if not self._judge(trained).promoted:
                return False
            model = trained.model
        else:
            judged = self.kept.trainings[TrainingKey("scratch", retrain.view.now, self.registry.version)]
            if not judged.promoted:
                return False
            model = self.kept.model(judged.version)
        self.registry, self.ledger = retrain.registry, retrain.ledger
        self.registry.promote(model)
        return True

    def _judge(self, trained: Trained) -> Promotion:
        promotion = self.registry.judge(trained, self.num_threads)
        self.kept.add_training(self.registry.version, trained.model, promotion)
        return promotion

    @property
    def champion(self) -> HybridModel:
        """Raises ValueError before the first weekly training."""
        if self.registry.champion is None:
            raise ValueError(f"{self.symbol} has no champion yet; its first weekly training comes before its cycles")
        return self.registry.champion

    def _view(self, past: Past, now: datetime) -> CycleView | None:
        """The view of the cycle at `now`; None if it neither answers nor makes an adapter."""
        if self.quiet_hours.covers(now) and not self.request.disable_sleep_window:
            return None
        if past.sessions.closed_until(now):
            return None
        view = past.view_at(now, rows_needed(self._fine_tune_rows))
        stale = view is None or age_minutes(view.bar_time, now) > self.request.max_bar_age_minutes
        return None if stale else view

    def _look_ahead(
        self, past: Past, views: Sequence[CycleView | None], pool: WorkerPool
    ) -> Generator[CyclePrediction]:
        adapted_at, needed = self.registry.adapted_at, rows_needed(self._fine_tune_rows)
        before = None if adapted_at is None else past.view_at(adapted_at, needed)
        awake = [view for view in views if view is not None]
        return look_ahead(self.champion, before, past, awake, self._fine_tune_rows, pool, self.kept)

    def _falls_back(self, view: CycleView, prediction: CyclePrediction) -> bool:
        again = fallback.next_scratch(self.registry.scratch_newest, self.registry.scratch_in_vain)
        reason = fallback.fallback_reason(None, prediction.recent)
        return reason is not None and (again is None or view.now >= again)

    def _decide(self, past: Past, view: CycleView, prediction: CyclePrediction, fell_back: bool) -> Row | None:
        """Gates, ledger, and which cycle's adapter serves from now on."""
        cycle = PredictedCycle(view, self.champion.base, prediction, fell_back)
        verdicts = judge_cycle(cycle, past, self.request, self.ledger)
        if leaves_adapter(view, self._fine_tune_rows):
            self.registry.adapted_at = view.now
        row = ledger_row(self.symbol, cycle, past, verdicts)
        if not self.ledger.records(row):
            return None
        bound = paced_bound(verdicts)
        if bound is not None:
            passes = passes_but_for_confidence(verdicts)
            self.ledger.remember_pace(PacedAnswer(view.bar_time, prediction.answer.confidence, passes, bound))
        return row
