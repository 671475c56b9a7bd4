"""Alert: send what is in the outbox to Telegram, or write it to the log."""

from dataclasses import replace
from datetime import datetime

from hybrid_ml.alerts.compose import compose
from hybrid_ml.alerts.delivery import deliver_now
from hybrid_ml.alerts.html import visible
from hybrid_ml.alerts.telegram import open_post
from hybrid_ml.config.settings import load_settings
from hybrid_ml.errors import AlertNotSent
from hybrid_ml.pipeline.proposals import Proposal
from hybrid_ml.pipeline.run import Run
from hybrid_ml.schemas.requests import AnalysisRequest
from hybrid_ml.store import outbox
from hybrid_ml.store.signal_records import newest_record
from tasks.pipeline_task import database, log, pipeline_task

DELIVERY_SECONDS = 75.0
"""Longer than a lease, so that the next run sends, or marks as unconfirmed, what a killed sender held."""


@pipeline_task("compose alert {symbol}", timeout_seconds=60, uses_io=True)
def compose_alert(symbol: str, run: Run, request: AnalysisRequest, proposal: Proposal) -> Proposal:
    """The proposal with text and chart, made before the commit; the connection to Telegram opens meanwhile."""
    settings = load_settings()
    if settings.telegram_configured:
        open_post(settings).warm_up()
    with database().connect() as connection:
        record = newest_record(connection, symbol, run.as_of)
    composed = compose(run, request, proposal, record)
    if composed.problem:
        log().warning("%s: no chart, so the alert is sent without one (%s)", symbol, composed.problem)
    return replace(proposal, composed=composed)


@pipeline_task("send alerts", timeout_seconds=240, uses_io=True)
def send_alerts() -> None:
    """Send everything pending in the outbox, to all chats in parallel: signals, outcomes, alerts of earlier runs."""
    settings, engine = load_settings(), database()
    with engine.begin() as connection:
        outbox.expire_due(connection)
        for message in outbox.settle_logged(connection):
            log().warning(
                "Telegram is not configured (%s); the alert is:\n%s",
                settings.missing_telegram_settings or "it was not when the alert was written",
                visible(message),
            )
    if settings.telegram_configured:
        deliver_now(engine, settings, DELIVERY_SECONDS)


@pipeline_task("alert {symbol}", timeout_seconds=60, uses_io=True)
def confirm_alert(symbol: str, bar_time: datetime) -> str:
    """The states of a signal's alert. Raises AlertNotSent, naming chats and remedies, where a chat did not get it."""
    with database().connect() as connection:
        states = outbox.states(connection, "signal", symbol, bar_time)
        problems = outbox.problems(connection, "signal", symbol, bar_time)
    if problems:
        raise AlertNotSent(f"alert of {symbol} after {bar_time:%Y-%m-%d %H:%M}: {'; '.join(problems)}")
    return ", ".join(states) or "no chat wants this symbol"
