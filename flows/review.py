"""Review: what was answered, what it was worth, and whether the market or the record has changed. Every day."""

from datetime import UTC, datetime

from prefect import flow
from prefect.client.schemas.objects import State

from flows.failures import run_each
from flows.final_states import to_final_state
from flows.scheduling import run_name, skipped
from hybrid_ml.pipeline.schedule import REVIEW_MINUTES
from hybrid_ml.review.result import ReviewReport
from hybrid_ml.schemas.requests import ReviewRequest
from tasks.alert import send_alerts
from tasks.files import refuse_foreign_files
from tasks.pages import send_pages
from tasks.review import (
    detect_drift,
    load_ledger,
    measure_review,
    open_review,
    queue_summary,
    report_review,
    resolve_due,
    watch_record,
)


@flow(name="review", flow_run_name=run_name)
def review(request: ReviewRequest = ReviewRequest()) -> State | ReviewReport:
    """Look back on what was answered; a run that found something ends in a state named Drift."""
    if late := skipped(REVIEW_MINUTES, request.as_of):
        return late
    refuse_foreign_files(request)
    now = datetime.now(UTC)
    scope = open_review(request, now)
    resolve_due(scope)
    answers, deliveries = load_ledger(scope)
    watches, unwatched = run_each(
        scope.symbols,
        lambda symbol: watch_record(symbol, answers, detect_drift(symbol, scope, request.drift_days)),
    )
    report = measure_review(request, scope, answers, deliveries, watches, unwatched)
    report_review(report, answers)
    if request.send_summary:
        _, unsent = run_each(["summary"], lambda _: tell(request, report, now))
        report.failures += unsent
    send_pages()
    return to_final_state(report)


def tell(request: ReviewRequest, report: ReviewReport, now: datetime) -> None:
    """One summary a day to the chats, when their quiet hours are over."""
    queue_summary(request, report, now)
    send_alerts()
