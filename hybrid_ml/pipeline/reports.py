"""The results of a run: rows of the ledger and reports. Fields of the same name are copied."""

from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any, TypeVar

from hybrid_ml.learning.model import HybridModel
from hybrid_ml.learning.promotion import Promotion
from hybrid_ml.market.labels import CLASSES
from hybrid_ml.pipeline.proposals import Proposal
from hybrid_ml.pipeline.run import Run
from hybrid_ml.schemas.reports import Analysis, BackfillReport, ModelSummary, Training
from hybrid_ml.signals.gates import refused_by
from hybrid_ml.store.loading import Loaded
from hybrid_ml.store.predictions import Prediction

Result = TypeVar("Result")


def take_over(target: Callable[..., Result], *sources: object, **others: Any) -> Result:
    """A `target` of `others` and, for each other field, the attribute of that name of the first source that has one.

    Raises AttributeError where none has, also for a field with a default, so that a renamed one is noticed.
    """
    fields = signature(target).parameters.keys() - others.keys()
    owners = {name: next((source for source in sources if hasattr(source, name)), sources[0]) for name in fields}
    return target(**others, **{name: getattr(owner, name) for name, owner in owners.items()})


def training_report(
    model: HybridModel, promotion: Promotion, *, minutes: int, seconds: float, path: Path | None
) -> Training:
    """An evaluated base and the decision on it; the other arguments as in `Training`."""
    return take_over(Training, model.base, promotion, minutes=minutes, seconds=round(seconds, 3), path=path)


def analysis_report(proposal: Proposal, alert: str | None, problems: list[str], stage_ms: dict[str, float]) -> Analysis:
    """A symbol's answer and its alert's state; the other arguments as in `Analysis`."""
    answer, recent, trial = proposal.answer, proposal.recent, proposal.trial
    return take_over(
        Analysis,
        proposal,
        answer,
        threshold=proposal.model.label_threshold,
        probabilities=dict(zip(CLASSES, answer.probabilities, strict=True)),
        refused_by=refused_by(proposal.verdicts),
        gates=proposal.verdicts,
        model=take_over(ModelSummary, proposal.model),
        recent_accuracy=recent.accuracy,
        recent_rows=recent.rows,
        recent_majority_accuracy=recent.majority_accuracy,
        fine_tune_step=trial.adapter.step if trial else None,
        refit_summary=str(trial.refit) if trial else None,
        alert=alert,
        problems=problems,
        stage_ms=stage_ms,
    )


def prediction_row(proposal: Proposal, run: Run, preset: str) -> Prediction:
    """The row of the ledger for a proposal of `run`."""
    return take_over(
        Prediction,
        proposal,
        as_of=run.as_of,
        threshold=proposal.model.label_threshold,
        model_version=proposal.model.version,
        preset=preset,
        recent_rows=proposal.recent.rows,
        recent_accuracy=proposal.recent.accuracy,
    )


def backfill_report(symbol: str, source: str, taken_for: str, loaded: Loaded, seconds: float) -> BackfillReport:
    """The result of a load of at least one usable bar; the other arguments as in `BackfillReport`."""
    return take_over(
        BackfillReport,
        loaded,
        symbol=symbol,
        source=source,
        taken_for=taken_for,
        rows_set_aside=sum(loaded.reasons.values()),
        seconds=round(seconds, 3),
    )
