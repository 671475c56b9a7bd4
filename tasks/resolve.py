"""Resolve: what became of earlier predictions, and who is to hear of it."""

from hybrid_ml.alerting import queue_outcomes
from hybrid_ml.requests import AnalysisRequest
from hybrid_ml.run import Run
from hybrid_ml.settings import load_settings
from hybrid_ml.store import alerts, predictions
from tasks.stage import database, log, stage


@stage("resolve outcomes", timeout_seconds=300, outside=True)
def resolve_outcomes(run: Run, request: AnalysisRequest) -> None:
    """Every outcome that is known by now, of whatever symbol and however old; replies to signals where asked for."""
    with database().begin() as connection:
        alerts.sweep(connection)
        resolved = predictions.resolve(connection, run.as_of, run.max_gap_minutes)
        if request.report_outcomes:
            queue_outcomes(connection, load_settings(), run, request)
    if resolved:
        log().info("%d predictions got their outcome", resolved)
