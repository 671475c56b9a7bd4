"""Predict: the answer for the next ten minutes, and every gate's verdict on it."""

from hybrid_ml.learning.evaluation import sparse_answers
from hybrid_ml.learning.model import HybridModel
from hybrid_ml.learning.rows import Window
from hybrid_ml.market.bars import age_minutes
from hybrid_ml.pipeline.run import Run
from hybrid_ml.schemas.requests import AnalysisRequest
from hybrid_ml.signals.feature_words import Series
from hybrid_ml.signals.gates import Answer, GateContext, Verdict, evaluate_gates, refused_by
from hybrid_ml.signals.pace import NO_RECORD, choose_pace
from hybrid_ml.signals.penalty import NO_PENALTY, confidence_penalty
from hybrid_ml.signals.reasons import Explanation, explain, format_reason
from hybrid_ml.store import predictions
from tasks.pipeline_task import database, log, pipeline_task


@pipeline_task("predict {symbol}", timeout_seconds=60, uses_io=True)
def predict(
    symbol: str,
    run: Run,
    request: AnalysisRequest,
    model: HybridModel,
    window: Window,
) -> tuple[Answer, list[Verdict], Explanation]:
    """P(down), P(flat), P(up) after the newest bar, every gate's verdict on it, and what moved it."""
    answer = Answer.of(model.probabilities_of(window.rows.latest())[0])
    log().info("%s: down %.3f, flat %.3f, up %.3f", symbol, *answer.probabilities)
    verdicts = _pass_gates(symbol, run, request, model, window, answer)
    return answer, verdicts, _explain(symbol, model, window, answer)


def _explain(symbol: str, model: HybridModel, window: Window, answer: Answer) -> Explanation:
    """What moved the answer. An error in finding that out is logged: the answer does not depend on it."""
    try:
        leaders = model.base.leaders
        row = window.rows.latest().matrix(leaders)
        explanation = explain(model, row, answer, Series(symbol, window.grid), leaders)
    except Exception as error:  # any error of the words or of the library
        explanation = Explanation(problem=f"{type(error).__name__}: {error}")
        log().warning("%s: what moved the answer is not known (%s)", symbol, explanation.problem)
    for reason in explanation.reasons:
        log().info("%s: %s", symbol, format_reason(reason, answer.direction))
    return explanation


def _pass_gates(
    symbol: str,
    run: Run,
    request: AnalysisRequest,
    model: HybridModel,
    window: Window,
    answer: Answer,
) -> list[Verdict]:
    """Every gate's verdict; the penalty uses the outcomes that this run has filled in."""
    bounds, record = request.bounds, NO_RECORD
    with database().connect() as connection:
        signals = predictions.recent_signals(connection, symbol, run.as_of) if request.enable_recent_penalty else None
        if bounds.signals_per_day is not None:
            record = predictions.pace_record(connection, symbol, window.bar_time, run.as_of)
    context = GateContext(
        bounds=bounds,
        penalty=confidence_penalty(signals) if signals else NO_PENALTY,
        bar_age_minutes=age_minutes(window.bar_time, run.as_of),
        max_bar_age_minutes=request.max_bar_age_minutes,
        minutes_to_close=run.sessions_of(symbol).minutes_left(window.bar_time),
        pace=choose_pace(record, sparse_answers(model.base), bounds, len(run.symbols)),
    )
    verdicts = evaluate_gates(answer, context)
    refusals = refused_by(verdicts)
    log().info("%s: %s", symbol, f"refused by {', '.join(refusals)}" if refusals else "passes every gate")
    return verdicts
