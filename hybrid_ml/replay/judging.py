"""The judgement of a replayed prediction: the verdicts of the gates, and the row that a ledger would get.

Nothing here asks a model, so all of it is done again in seconds with other gates, another pace or a penalty.
"""

from dataclasses import dataclass
from typing import Any

from hybrid_ml.learning.evaluation import sparse_answers
from hybrid_ml.learning.model import Base
from hybrid_ml.market.bars import age_minutes
from hybrid_ml.market.labels import CLASSES, HORIZON_MINUTES
from hybrid_ml.replay.history import CycleView, Past
from hybrid_ml.replay.kept import CyclePrediction
from hybrid_ml.replay.memory_store import Ledger
from hybrid_ml.schemas.requests import AnalysisRequest
from hybrid_ml.signals.gates import (
    GateContext,
    Verdict,
    evaluate_gates,
    max_signals_verdict,
    refused_by,
    silenced_by_penalty,
)
from hybrid_ml.signals.pace import NO_RECORD, choose_pace
from hybrid_ml.signals.penalty import NO_PENALTY, confidence_penalty

Row = dict[str, Any]


@dataclass(frozen=True)
class PredictedCycle:
    """A cycle, the base that served in it, and its prediction. `fell_back`: it trained from scratch."""

    view: CycleView
    base: Base
    prediction: CyclePrediction
    fell_back: bool


def judge_cycle(cycle: PredictedCycle, past: Past, request: AnalysisRequest, ledger: Ledger) -> list[Verdict]:
    """The verdict of every gate, with the pace and the penalty that follow from `ledger`."""
    view, bounds = cycle.view, request.bounds
    record = NO_RECORD if bounds.signals_per_day is None else ledger.pace_record(view.bar_time, view.now)
    signals = ledger.recent_signals(view.now) if request.enable_recent_penalty else None
    around = GateContext(
        bounds=bounds,
        penalty=confidence_penalty(signals) if signals else NO_PENALTY,
        bar_age_minutes=age_minutes(view.bar_time, view.now),
        max_bar_age_minutes=request.max_bar_age_minutes,
        minutes_to_close=past.sessions.minutes_left(view.bar_time),
        pace=None if bounds.signals_per_day is None else choose_pace(record, sparse_answers(cycle.base), bounds),
    )
    verdicts = evaluate_gates(cycle.prediction.answer, around)
    if refused_by(verdicts):
        return verdicts
    return [*verdicts, max_signals_verdict(1, bounds.max_signals)]


def ledger_row(symbol: str, cycle: PredictedCycle, past: Past, verdicts: list[Verdict]) -> Row:
    """A row a ledger would get; returns are logarithmic, NaN across sessions and beyond the bars."""
    view, base, prediction = cycle.view, cycle.base, cycle.prediction
    refusals, place = refused_by(verdicts), past.place(view.bar_time)
    later = past.rows.take(slice(place, place + 1))
    outcome = int(later.labels(base.label_threshold)[0])
    before = place - HORIZON_MINUTES
    probabilities = {
        "p": prediction.answer.probabilities,
        "base_p": prediction.base.probabilities,
        "prior": base.class_prior,
    }
    return {
        "symbol": symbol,
        "as_of": view.now,
        "bar_time": view.bar_time,
        "close": view.close,
        **{
            f"{part}_{name}": share
            for part, shares in probabilities.items()
            for name, share in zip(CLASSES, shares, strict=True)
        },
        "threshold": base.label_threshold,
        "outcome": CLASSES[outcome] if outcome >= 0 else None,
        "forward_return": float(later.forward_returns[0]),
        "previous_return": float(past.rows.forward_returns[before]) if before >= 0 else float("nan"),
        "signal": not refusals,
        "silenced_by_penalty": silenced_by_penalty(verdicts),
        "confidence_bound": next(verdict.bound for verdict in verdicts if verdict.gate == "confidence"),
        "refused_by": ",".join(refusals),
        "model_version": prediction.version,
        "kind": prediction.kind,
        "recent_rows": prediction.recent.rows,
        "recent_accuracy": prediction.recent.accuracy,
        "fell_back": cycle.fell_back,
    }
