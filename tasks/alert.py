"""Alert: what the save stage left in the outbox goes to Telegram, or to the log."""

from datetime import datetime

from hybrid_ml.alerting import Composed, compose
from hybrid_ml.delivery import Finished, deliver_now
from hybrid_ml.errors import AlertNotSent
from hybrid_ml.requests import AnalysisRequest
from hybrid_ml.run import Proposal, Run
from hybrid_ml.settings import load_settings
from hybrid_ml.store import alerts, predictions
from hybrid_ml.telegram import open_post
from tasks.stage import database, log, stage

PATIENCE_SECONDS = 100.0
"""Longer than a lease: what a killed sender held is sent, or settled, by the run that comes after it."""
PATIENCE_WITH_THE_REST_SECONDS = 20.0


@stage("compose alert {symbol}", timeout_seconds=60, outside=True)
def compose_alert(symbol: str, run: Run, request: AnalysisRequest, proposal: Proposal) -> Composed:
    """The words and the chart, made before anything is committed, and the line to Telegram opened meanwhile."""
    settings = load_settings()
    if settings.telegram_configured:
        open_post(settings).warm_up()
    with database().connect() as connection:
        record = predictions.recent_signals(connection, symbol, run.as_of, sent_only=True)
    composed = compose(run, request, proposal, record)
    if composed.problem:
        log().warning("%s: no chart, so the alert goes without (%s)", symbol, composed.problem)
    return composed


@stage("alert {symbol}", timeout_seconds=240, outside=True)
def send_alert(symbol: str, bar_time: datetime) -> str | None:
    """Send the alert of a prediction to every chat; what became of it, None when it was settled before.

    Raises AlertNotSent, naming chats and remedies, when one of them did not get it.
    """
    with database().connect() as connection:
        before = alerts.states(connection, "signal", symbol, bar_time)
    if not before.keys() & alerts.OPEN:
        return None if before else "no chat wants it"
    _send(lambda connection: not alerts.states(connection, "signal", symbol, bar_time).keys() & alerts.OPEN,
          PATIENCE_SECONDS)  # fmt: skip
    with database().connect() as connection:
        after = alerts.states(connection, "signal", symbol, bar_time)
        problems = alerts.problems(connection, "signal", symbol, bar_time)
    if problems:
        raise AlertNotSent(f"alert of {symbol} after {bar_time:%Y-%m-%d %H:%M}: {'; '.join(problems)}")
    return ", ".join(after)


@stage("send what else is due", timeout_seconds=120, outside=True)
def send_due() -> None:
    """Whatever waits in the outbox: replies with outcomes, what an earlier run could not send."""
    _send(lambda _: False, PATIENCE_WITH_THE_REST_SECONDS)


def _send(finished: Finished, patience_seconds: float) -> None:
    settings, engine = load_settings(), database()
    with engine.begin() as connection:
        for told in alerts.take_logged(connection):
            log().warning("TELEGRAM_BOT_TOKEN and TELEGRAM_CHAT_ID are not set; the alert is:\n%s", told)
    if settings.telegram_configured:
        deliver_now(engine, settings, finished, patience_seconds)
