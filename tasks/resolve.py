"""Resolve: write the outcomes of earlier predictions, and queue replies about them."""

from hybrid_ml.alerts.compose import queue_outcomes
from hybrid_ml.config.settings import load_settings
from hybrid_ml.pipeline.run import Run
from hybrid_ml.schemas.requests import AnalysisRequest
from hybrid_ml.store import outbox, predictions
from hybrid_ml.text.counts import counted
from tasks.pipeline_task import database, log, pipeline_task


@pipeline_task("resolve outcomes", timeout_seconds=300, uses_io=True)
def resolve_outcomes(run: Run, request: AnalysisRequest) -> None:
    """Write every outcome known by now, of any symbol and any age; queue replies to signals where requested."""
    with database().begin() as connection:
        outbox.expire_due(connection)
        resolved = predictions.resolve(connection, run.as_of, run.max_gap_minutes)
        if request.report_outcomes:
            queue_outcomes(connection, load_settings(), run, request)
    if resolved:
        log().info("%s resolved", counted(resolved, "prediction"))
