"""Review: what the ledger says of the last weeks, looked at symbol by symbol, told to whoever looks."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import pandas as pd
from pydantic_core import to_json

from hybrid_ml.config.settings import Settings, load_settings
from hybrid_ml.market.bars import closed_before
from hybrid_ml.reporting.markdown import inline
from hybrid_ml.review.accuracy_drift import correctness, signal_record
from hybrid_ml.review.build import account
from hybrid_ml.review.feature_drift import FeatureDrift, bars_needed, feature_drift, timeline_begins
from hybrid_ml.review.figures import draw
from hybrid_ml.review.findings import Watch
from hybrid_ml.review.report import report_markdown
from hybrid_ml.review.result import ReviewReport
from hybrid_ml.review.scope import Scope, settle_scope
from hybrid_ml.review.summary import summary_text
from hybrid_ml.schemas.delivery_stats import Deliveries
from hybrid_ml.schemas.reports import Failure
from hybrid_ml.schemas.requests import ReviewRequest
from hybrid_ml.store import bars as stored_bars
from hybrid_ml.store import ledger, outbox, predictions
from hybrid_ml.store import model_registry as registry
from hybrid_ml.store.model_files import write_atomically
from hybrid_ml.store.outbox import Alert, Recipient
from hybrid_ml.store.output_files import errors_as_bad_input, refuse_unwritable_folder
from hybrid_ml.text.counts import counted
from tasks.moment import settle_now
from tasks.naming import name_symbols
from tasks.pages import leave_page
from tasks.pipeline_task import database, log, pipeline_task

SUMMARY_IS_NEWS_FOR = timedelta(hours=12)
PICTURES_KEPT_FOR = timedelta(days=2)


@pipeline_task("open review", timeout_seconds=120, uses_io=True)
def open_review(request: ReviewRequest, now: datetime) -> Scope:
    """Settle moment and symbols, and refuse a report that could not be written.

    A review that is tried again looks back from the moment of its first attempt.
    """
    if request.report_path:
        refuse_unwritable_folder(request.report_path, "--report_path")
    settings = load_settings()
    now = settle_now(request.as_of, now)
    with database().connect() as connection:
        offered = {*stored_bars.symbols(connection), *ledger.ledger_symbols(connection)}
    scope = settle_scope(request, settings.symbols, sorted(offered), settings.hybrid_ml_max_gap_minutes, now)
    name_symbols(scope.symbols)
    log().info("%s since %s UTC", ", ".join(scope.symbols) or "no symbol", f"{scope.since:%Y-%m-%d %H:%M}")
    return scope


@pipeline_task("resolve outcomes", timeout_seconds=300, uses_io=True)
def resolve_due(scope: Scope) -> None:
    """Fill in the outcomes that have come due, of every symbol."""
    with database().begin() as connection:
        resolved = predictions.resolve(connection, scope.as_of, scope.max_gap_minutes)
        outbox.drop_pictures(connection, PICTURES_KEPT_FOR)
    if resolved:
        log().info("%s resolved", counted(resolved, "prediction"))


@pipeline_task("load ledger", timeout_seconds=300, uses_io=True)
def load_ledger(scope: Scope) -> tuple[pd.DataFrame, list[Deliveries]]:
    """The answers, and what became of their alerts."""
    with database().connect() as connection:
        answers = ledger.ledger_between(connection, scope.symbols, scope.since, scope.as_of)
        deliveries = ledger.count_deliveries(connection, scope.symbols, scope.since, scope.as_of)
    log().info("%s", counted(len(answers), "answer"))
    return answers, deliveries


@pipeline_task("detect drift {symbol}", timeout_seconds=300, uses_io=True)
def detect_drift(symbol: str, scope: Scope, drift_days: int) -> FeatureDrift:
    """The features of the newest days against those the model was trained on."""
    with database().connect() as connection:
        trained_from = registry.trained_from(connection, symbol, scope.as_of)
        begins = timeline_begins(scope.as_of, drift_days, trained_from)
        count = bars_needed(begins, scope.as_of)
        bars = stored_bars.recent_bars(connection, symbol, closed_before(scope.as_of), count)
    found = feature_drift(bars, begins, scope.as_of, drift_days, scope.max_gap_minutes)
    log().info("%s: features, %s", symbol, found.verdict)
    return found


@pipeline_task("watch record {symbol}", timeout_seconds=300)
def watch_record(symbol: str, answers: pd.DataFrame, features: FeatureDrift) -> Watch:
    """Right and wrong answers in their order, and signals against what they stated."""
    own = answers[answers["symbol"] == symbol]
    return Watch(symbol, features, correctness(own), signal_record(own))


@pipeline_task("measure", timeout_seconds=600)
def measure_review(
    request: ReviewRequest,
    scope: Scope,
    answers: pd.DataFrame,
    deliveries: list[Deliveries],
    watches: list[Watch],
    failures: list[Failure],
) -> ReviewReport:
    """What the answers were worth, which bounds would have been better, and what a person should know."""
    report = account(request, scope, answers, deliveries, watches, failures)
    log().info("%s", "; ".join(report.found) or "nothing found")
    return report


@pipeline_task("report review", timeout_seconds=600)
def report_review(report: ReviewReport, answers: pd.DataFrame) -> None:
    """The artifact, and where asked for Markdown, charts and JSON in a folder."""
    pictures = draw(report, answers)
    _write_files(report, pictures)
    shown = {name: inline(picture) for name, picture in pictures.items()}
    leave_page(report_markdown(report, shown), key="review", description="; ".join(report.found) or "Nothing found")


def _write_files(report: ReviewReport, pictures: Mapping[str, bytes]) -> None:
    place = report.report_path
    if place is None:
        return
    refuse_unwritable_folder(place, "--report_path")
    with errors_as_bad_input(place, "--report_path"):
        for name, picture in pictures.items():
            write_atomically(place / name, picture)
        write_atomically(place / "review.json", to_json(report, indent=2, inf_nan_mode="null"))
        write_atomically(place / "review.md", report_markdown(report, {name: name for name in pictures}).encode())
    log().info("the report is in %s", place)


@pipeline_task("queue summary", timeout_seconds=60, uses_io=True)
def queue_summary(request: ReviewRequest, report: ReviewReport, now: datetime) -> None:
    """One summary a day into the outbox; a second one of the same day changes nothing."""
    day = report.as_of.replace(hour=0, minute=0, second=0, microsecond=0)
    begins = now if request.disable_sleep_window else request.quiet_hours.end_after(now)
    ends = begins + SUMMARY_IS_NEWS_FOR
    summary = Alert("summary", "", day, None, summary_text(report), None, send_until=ends, send_after=begins)
    with database().begin() as connection:
        outbox.write(connection, summary, _summary_recipients(load_settings()))


def _summary_recipients(settings: Settings) -> list[Recipient]:
    """The chats that want every symbol: a summary tells of all, which is not for one that named some."""
    if not settings.telegram_configured:
        return [Recipient(outbox.LOG)]
    wanted = dict.fromkeys(chat.chat_id for chat in settings.chats if not chat.symbols)
    if len(wanted) < len(settings.chat_ids):
        without = len(settings.chat_ids) - len(wanted)
        log().info("no summary for %s, which named symbols", counted(without, "chat"))
    return [Recipient(chat_id) for chat_id in wanted]
