"""Alert: what the save stage left in the outbox goes to Telegram, or to the log."""

from dataclasses import replace
from datetime import datetime

from hybrid_ml.alerts.compose import compose
from hybrid_ml.alerts.delivery import deliver_now
from hybrid_ml.alerts.html import visible
from hybrid_ml.alerts.telegram import open_post
from hybrid_ml.config.settings import load_settings
from hybrid_ml.errors import AlertNotSent
from hybrid_ml.pipeline.context import Proposal, Run
from hybrid_ml.schemas.requests import AnalysisRequest
from hybrid_ml.store import outbox, predictions
from tasks.pipeline_task import database, log, pipeline_task

PATIENCE_SECONDS = 75.0
"""Longer than a lease: what a killed sender held is sent, or settled, by the run that comes after it."""


@pipeline_task("compose alert {symbol}", timeout_seconds=60, uses_io=True)
def compose_alert(symbol: str, run: Run, request: AnalysisRequest, proposal: Proposal) -> Proposal:
    """The proposal with words and chart, made before anything is committed; the line to Telegram opens meanwhile."""
    settings = load_settings()
    if settings.telegram_configured:
        open_post(settings).warm_up()
    with database().connect() as connection:
        record = predictions.recent_signals(connection, symbol, run.as_of, sent_only=True)
    composed = compose(run, request, proposal, record)
    if composed.problem:
        log().warning("%s: no chart, so the alert goes without (%s)", symbol, composed.problem)
    return replace(proposal, composed=composed)


@pipeline_task("send alerts", timeout_seconds=240, uses_io=True)
def send_alerts() -> None:
    """All that waits in the outbox, to all chats side by side: signals, replies, what an earlier run left."""
    settings, engine = load_settings(), database()
    with engine.begin() as connection:
        outbox.expire_due(connection)
        for message in outbox.take_logged(connection):
            log().warning(
                "Telegram is not set up (%s); the alert is:\n%s",
                settings.missing_telegram_settings or "it was not then",
                visible(message),
            )
    if settings.telegram_configured:
        deliver_now(engine, settings, PATIENCE_SECONDS)


@pipeline_task("alert {symbol}", timeout_seconds=60, uses_io=True)
def confirm_alert(symbol: str, bar_time: datetime) -> str:
    """What became of the alert of a signal; raises AlertNotSent, naming chats and remedies, if one did not get it."""
    with database().connect() as connection:
        states = outbox.states(connection, "signal", symbol, bar_time)
        problems = outbox.problems(connection, "signal", symbol, bar_time)
    if problems:
        raise AlertNotSent(f"alert of {symbol} after {bar_time:%Y-%m-%d %H:%M}: {'; '.join(problems)}")
    return ", ".join(states) or "no chat wants it"
