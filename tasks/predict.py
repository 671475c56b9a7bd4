"""Predict: the answer for the next ten minutes, and every gate's verdict on it."""

from hybrid_ml.learning.evaluation import RecentRecord
from hybrid_ml.learning.model import HybridModel
from hybrid_ml.learning.rows import Window
from hybrid_ml.market.bars import age_minutes
from hybrid_ml.pipeline.context import Run
from hybrid_ml.schemas.requests import AnalysisRequest
from hybrid_ml.signals.gates import Answer, GateContext, Verdict, evaluate_gates, refused_by
from hybrid_ml.signals.penalty import NO_PENALTY, confidence_penalty
from hybrid_ml.store import predictions
from tasks.pipeline_task import database, log, pipeline_task


@pipeline_task("predict {symbol}", timeout_seconds=60, uses_io=True)
def predict(
    symbol: str,
    run: Run,
    request: AnalysisRequest,
    model: HybridModel,
    window: Window,
    recent: RecentRecord,
    was_degraded: bool,
) -> tuple[Answer, list[Verdict]]:
    """P(down), P(flat), P(up) after the newest bar, and every gate's verdict on it."""
    answer = Answer.of(model.probabilities(window.rows.latest().features)[0])
    log().info("%s: down %.3f, flat %.3f, up %.3f", symbol, *answer.probabilities)
    return answer, _pass_gates(symbol, run, request, window, answer, recent, was_degraded)


def _pass_gates(
    symbol: str,
    run: Run,
    request: AnalysisRequest,
    window: Window,
    answer: Answer,
    recent: RecentRecord,
    was_degraded: bool,
) -> list[Verdict]:
    """Every gate's verdict; the penalty looks at the outcomes the run has filled in."""
    with database().connect() as connection:
        signals = predictions.recent_signals(connection, symbol, run.as_of) if request.enable_recent_penalty else None
    around = GateContext(
        bounds=request.bounds,
        penalty=confidence_penalty(signals) if signals else NO_PENALTY,
        recent=recent,
        bar_age_minutes=age_minutes(window.bar_time, run.as_of),
        max_bar_age_minutes=request.max_bar_age_minutes,
        was_degraded=was_degraded,
    )
    verdicts = evaluate_gates(answer, around)
    refusals = refused_by(verdicts)
    log().info("%s: %s", symbol, f"refused by {', '.join(refusals)}" if refusals else "passes every gate")
    return verdicts
