"""What all stages of one run share, and the proposal each symbol makes."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd

from hybrid_ml.config.settings import Settings
from hybrid_ml.errors import BadInput, DataUnavailable
from hybrid_ml.learning.evaluation import RecentRecord
from hybrid_ml.learning.fallback import is_below_threshold
from hybrid_ml.learning.fine_tuning import FineTuneTrial
from hybrid_ml.learning.model import HybridModel, Kind
from hybrid_ml.learning.model_bytes import Checksum
from hybrid_ml.market.simulation import SIMULATED_SYMBOL
from hybrid_ml.schemas.requests import Request, Source
from hybrid_ml.signals.gates import Answer, Verdict, max_signals_verdict, refused_by, silenced_by_penalty
from hybrid_ml.store.model_files import model_folder


@dataclass(frozen=True)
class Run:
    """The moment a run judges, the symbols it is about, and where their bars and models are.

    `ahead`: how far the clock was ahead of that moment when the run began, where it judges the past.
    """

    as_of: datetime
    symbols: list[str]
    default_symbol: str
    source: Source
    csv_path: Path | None
    models_dir: Path
    max_gap_minutes: int
    training_threads: int
    ahead: timedelta = timedelta(0)

    def to_wall_clock(self, moment: datetime) -> datetime:
        """When `moment` of the time that this run judges comes to pass: at once the same, unless it judges the past."""
        return moment + self.ahead

    def folder(self, symbol: str) -> Path:
        """Where the local copies of `symbol`'s models lie."""
        return model_folder(self.models_dir, symbol, self.default_symbol)


@dataclass(frozen=True)
class SavedModel:
    """What loading found: a model, or the reason there is none to rely on.

    `was_degraded`: the symbol's last answer came from a model under the bar.
    """

    model: HybridModel | None
    problem: str | None = None
    was_degraded: bool = False


@dataclass(frozen=True)
class AlertContent:
    """The words of an alert (HTML), and its chart (PNG) unless `problem` says why there is none."""

    text: str
    picture: bytes | None
    problem: str = ""


@dataclass(frozen=True)
class ModelInfo:
    """What is to be told of the model behind an answer."""

    version: str
    kind: Kind
    adapted: bool
    trained_until: datetime
    label_threshold: float
    base_kind: Kind
    base_trained_until: datetime

    @classmethod
    def of(cls, model: HybridModel) -> "ModelInfo":
        base = model.base
        return cls(
            version=model.version,
            kind=model.kind,
            adapted=model.adapted,
            trained_until=model.trained_until,
            label_threshold=base.label_threshold,
            base_kind=base.kind,
            base_trained_until=base.trained_until,
        )


@dataclass(frozen=True)
class Proposal:
    """One symbol's answer before it is known whether it is among the surest of the run.

    `fallback`: why a model was trained from scratch in this run and what came of it, None if not.
    `stale`: the newest bar is too old; nothing will be recorded. `composed`: the alert of a signal.
    `file`: with a trial, the seal of the serving file. `picture_bars`: those that a chart shows.
    There may be hundreds, and they cross processes: so neither the model nor the window is among it.
    """

    symbol: str
    bar_time: datetime
    close: float
    picture_bars: pd.DataFrame
    model: ModelInfo
    recent: RecentRecord
    trial: FineTuneTrial | None
    answer: Answer
    verdicts: list[Verdict]
    fallback: str | None
    stale: bool
    was_degraded: bool = False
    file: Checksum | None = None
    composed: AlertContent | None = None
    stage_ms: dict[str, float] = field(default_factory=dict)

    @property
    def signal(self) -> bool:
        return not refused_by(self.verdicts)

    @property
    def silenced_by_penalty(self) -> bool:
        """Whether it would be a signal, had no penalty raised the confidence bound."""
        return silenced_by_penalty(self.verdicts)

    @property
    def degraded(self) -> bool:
        """Whether the model is under the bar, so that the answer is for the record only."""
        return is_below_threshold(self.recent, self.was_degraded)


def open_run(request: Request, settings: Settings, symbols_with_bars: list[str], now: datetime) -> Run:
    """Settle what a request leaves open. `now`: the moment of the run when it judges the present.

    Raises BadInput for a moment in the future or symbols that do not fit the source, and
    DataUnavailable when there is no symbol to work on.
    """
    as_of = settle_moment(request.as_of, now)
    offered = without_simulated(symbols_with_bars)
    symbols = _symbols(request, settings, offered)
    return Run(
        as_of=as_of,
        symbols=symbols,
        default_symbol=(settings.symbols or offered or symbols)[0],
        source=request.source,
        csv_path=request.csv_path,
        models_dir=settings.models_dir,
        max_gap_minutes=settings.hybrid_ml_max_gap_minutes,
        training_threads=settings.training_threads,
        ahead=timedelta(0) if request.as_of is None else now - request.as_of,
    )


def settle_moment(as_of: datetime | None, now: datetime) -> datetime:
    """The moment a run judges, UTC; raises BadInput for one in the future."""
    if as_of is not None and as_of > now:
        raise BadInput(f"--as_of {as_of:%Y-%m-%dT%H:%M} lies in the future (it is {now:%Y-%m-%dT%H:%M} UTC)")
    return (as_of or now).astimezone(UTC)


def without_simulated(symbols: list[str]) -> list[str]:
    """`symbols` without the simulated one, unless it is the only one."""
    return [symbol for symbol in symbols if symbol != SIMULATED_SYMBOL] or symbols


def _symbols(request: Request, settings: Settings, offered: list[str]) -> list[str]:
    if request.source == "demo":
        if request.symbols not in ([], [SIMULATED_SYMBOL]):
            raise BadInput(f"--source demo simulates {SIMULATED_SYMBOL} only, not {', '.join(request.symbols)}")
        return [SIMULATED_SYMBOL]
    if request.source == "csv":
        named = request.symbols or settings.symbols[:1]
        if len(named) != 1:
            raise BadInput(f"--csv_path {request.csv_path} holds one symbol; say which with --symbol NAME")
        return named
    found = request.symbols or settings.symbols or offered
    if not found:
        raise DataUnavailable(
            "the database holds no bars; load some with `hybrid-ml backfill --source csv --csv_path FILE --symbol NAME`"
        )
    return found


def limit_signals(proposals: list[Proposal], max_signals: int) -> list[Proposal]:
    """Let only the `max_signals` surest signals of a run through; the others get a verdict that says so."""
    ranked = sorted((p for p in proposals if p.signal), key=lambda p: -p.answer.confidence)
    rank = {proposal.symbol: place for place, proposal in enumerate(ranked, start=1)}
    return [
        replace(p, verdicts=[*p.verdicts, max_signals_verdict(rank[p.symbol], max_signals)]) if p.symbol in rank else p
        for p in proposals
    ]
