"""Review: the ledger of the last weeks, measured symbol by symbol, reported as page, files and summary."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import pandas as pd
from pydantic_core import to_json

from hybrid_ml.alerts import compose
from hybrid_ml.config.settings import load_settings
from hybrid_ml.market.bars import closed_before
from hybrid_ml.market.sessions import ALWAYS_OPEN
from hybrid_ml.pipeline.run import ended_symbols, settle_moment
from hybrid_ml.reporting.markdown import inline
from hybrid_ml.review.accuracy_drift import correctness, signal_record
from hybrid_ml.review.build import account
from hybrid_ml.review.feature_drift import FeatureDrift, bars_needed, feature_drift, timeline_begins
from hybrid_ml.review.figures import draw
from hybrid_ml.review.findings import SymbolDrift
from hybrid_ml.review.report import report_markdown
from hybrid_ml.review.result import ReviewReport
from hybrid_ml.review.scope import Scope, make_scope
from hybrid_ml.review.summary import summary_text
from hybrid_ml.schemas.delivery_stats import Deliveries
from hybrid_ml.schemas.reports import Failure
from hybrid_ml.schemas.requests import ReviewRequest
from hybrid_ml.store import bars as stored_bars
from hybrid_ml.store import ledger, outbox, predictions
from hybrid_ml.store import model_registry as registry
from hybrid_ml.store.model_files import write_atomically
from hybrid_ml.store.output_files import errors_as_bad_input, refuse_unwritable_folder
from hybrid_ml.store.sessions import read_sessions
from hybrid_ml.text.counts import counted
from tasks.moment import first_attempt_now
from tasks.naming import name_symbols
from tasks.pages import queue_page
from tasks.pipeline_task import database, log, pipeline_task

PICTURES_KEPT_FOR = timedelta(days=2)


@pipeline_task("open review", timeout_seconds=120, uses_io=True)
def open_review(request: ReviewRequest, now: datetime) -> Scope:
    """Determine moment and symbols, and refuse a report path that cannot be written.

    A retried review keeps the moment of its first attempt.
    """
    if request.report_path:
        refuse_unwritable_folder(request.report_path, "--report_path")
    settings = load_settings()
    now = first_attempt_now(request.as_of, now)
    as_of = settle_moment(request.as_of, now)
    with database().connect() as connection:
        with_bars = stored_bars.symbols(connection)
        offered = sorted({*with_bars, *ledger.ledger_symbols(connection)})
        ended = ended_symbols(stored_bars.newest_bars_without_feed(connection), as_of)
        silent = [symbol for symbol in offered if symbol in ended or symbol not in with_bars]
        answered = ledger.answered_since(connection, silent, as_of - timedelta(days=request.days))
    over = set(silent) - set(answered)
    scope = make_scope(request, settings.symbols, offered, settings.hybrid_ml_max_gap_minutes, now, over)
    name_symbols(scope.symbols)
    log().info("%s since %s UTC", ", ".join(scope.symbols) or "no symbol", f"{scope.since:%Y-%m-%d %H:%M}")
    return scope


@pipeline_task("resolve outcomes", timeout_seconds=300, uses_io=True)
def resolve_due(scope: Scope) -> None:
    """Fill in the outcomes that are known by now, of every symbol."""
    with database().begin() as connection:
        resolved = predictions.resolve(connection, scope.as_of, scope.max_gap_minutes)
        outbox.drop_pictures(connection, PICTURES_KEPT_FOR)
    if resolved:
        log().info("%s resolved", counted(resolved, "prediction"))


@pipeline_task("load ledger", timeout_seconds=300, uses_io=True)
def load_ledger(scope: Scope) -> tuple[pd.DataFrame, list[Deliveries]]:
    """The answers, and the states of their alerts."""
    with database().connect() as connection:
        answers = ledger.ledger_between(connection, scope.symbols, scope.since, scope.as_of)
        deliveries = ledger.count_deliveries(connection, scope.symbols, scope.since, scope.as_of)
    log().info("%s", counted(len(answers), "answer"))
    return answers, deliveries


@pipeline_task("detect feature drift {symbol}", timeout_seconds=300, uses_io=True)
def detect_feature_drift(symbol: str, scope: Scope, drift_days: int) -> FeatureDrift:
    """Compare the features of the newest days with those of the model's training window."""
    with database().connect() as connection:
        trained_from = registry.trained_from(connection, symbol, scope.as_of)
        begins = timeline_begins(scope.as_of, drift_days, trained_from)
        count = bars_needed(begins, scope.as_of)
        bars = stored_bars.recent_bars(connection, symbol, closed_before(scope.as_of), count)
        sessions = read_sessions(connection, [symbol]).get(symbol, ALWAYS_OPEN)
    found = feature_drift(bars, begins, scope.as_of, drift_days, scope.max_gap_minutes, sessions)
    log().info("%s: features, %s", symbol, found.verdict)
    return found


@pipeline_task("detect accuracy drift {symbol}", timeout_seconds=300)
def detect_accuracy_drift(symbol: str, answers: pd.DataFrame, features: FeatureDrift) -> SymbolDrift:
    """Right and wrong answers in their order, and the precision of signals against their stated confidence."""
    own = answers[answers["symbol"] == symbol]
    return SymbolDrift(symbol, features, correctness(own), signal_record(own))


@pipeline_task("measure", timeout_seconds=600)
def measure_review(
    request: ReviewRequest,
    scope: Scope,
    answers: pd.DataFrame,
    deliveries: list[Deliveries],
    watches: list[SymbolDrift],
    failures: list[Failure],
) -> ReviewReport:
    """Metrics of the answers, bounds that would have been better, and findings for a person."""
    report = account(request, scope, answers, deliveries, watches, failures)
    log().info("%s", "; ".join(report.found) or "nothing found")
    return report


@pipeline_task("report review", timeout_seconds=600)
def report_review(report: ReviewReport, answers: pd.DataFrame) -> None:
    """The page, and where a folder is stated Markdown, charts and JSON in it."""
    pictures = draw(report, answers)
    _write_files(report, pictures)
    shown = {name: inline(picture) for name, picture in pictures.items()}
    queue_page(report_markdown(report, shown), key="review", description="; ".join(report.found) or "Nothing found")


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
    """Put one summary a day into the outbox; a second one of the same day changes nothing."""
    settings = load_settings()
    with database().begin() as connection:
        compose.queue_summary(connection, settings, request, report.as_of, summary_text(report), now)
    left_out = len(settings.chat_ids) - len(compose.summary_chats(settings))
    if settings.telegram_configured and left_out:
        log().info("no summary for %s, which subscribed to single symbols", counted(left_out, "chat"))
