"""Review: what was answered, what it was worth, and whether the market or the record has changed. Every day."""

from datetime import UTC, datetime

from prefect import flow
from prefect.client.schemas.objects import State

from flows.attempt import run_name, skipped
from flows.ending import collect, ended
from hybrid_ml.reports import ReviewReport
from hybrid_ml.requests import ReviewRequest
from hybrid_ml.slots import REVIEW_MINUTES
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
    watches, unwatched = collect(
        scope.symbols,
        lambda symbol: watch_record(symbol, answers, detect_drift(symbol, scope, request.drift_days)),
    )
    report = measure_review(request, scope, answers, deliveries, watches, unwatched)
    report_review(report, answers)
    if request.send_summary:
        _, unsent = collect(["summary"], lambda _: tell(request, report, now))
        report.failures += unsent
    send_pages()
    return ended(report)


def tell(request: ReviewRequest, report: ReviewReport, now: datetime) -> None:
    """One summary a day to the chats, when their quiet hours are over."""
    queue_summary(request, report, now)
    send_alerts()
