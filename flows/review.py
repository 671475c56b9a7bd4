"""Review: the answers, their metrics, and drift of features or accuracy. Every day."""

from datetime import UTC, datetime

from prefect import flow
from prefect.client.schemas.objects import State

from flows.failures import collect_failure, run_each
from flows.final_states import to_final_state
from flows.scheduling import run_name, skip_if_late
from hybrid_ml.pipeline.schedule import REVIEW_MINUTES
from hybrid_ml.review.result import ReviewReport
from hybrid_ml.schemas.requests import ReviewRequest
from tasks.alert import send_alerts
from tasks.files import refuse_disallowed_files
from tasks.pages import send_pages
from tasks.review import (
    detect_accuracy_drift,
    detect_feature_drift,
    load_ledger,
    measure_review,
    open_review,
    queue_summary,
    report_review,
    resolve_due,
)


@flow(name="review", flow_run_name=run_name)
def review(request: ReviewRequest = ReviewRequest()) -> State | ReviewReport:
    """Evaluate past answers; a run that found drift ends in a state named Drift."""
    if late := skip_if_late(REVIEW_MINUTES, request.as_of):
        return late
    refuse_disallowed_files(request)
    now = datetime.now(UTC)
    scope = open_review(request, now)
    resolve_due(scope)
    answers, deliveries = load_ledger(scope)
    watches, unwatched = run_each(
        scope.symbols,
        lambda symbol: detect_accuracy_drift(symbol, answers, detect_feature_drift(symbol, scope, request.drift_days)),
    )
    report = measure_review(request, scope, answers, deliveries, watches, unwatched)
    report_review(report, answers)
    if request.send_summary:
        with collect_failure(report.failures, "summary"):
            queue_summary(request, report, now)
            send_alerts()
    send_pages()
    return to_final_state(report)
