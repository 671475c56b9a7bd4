"""What goes into the outbox: the alert of a signal, the reply with its outcome, and for whom."""

from datetime import datetime, timedelta

from sqlalchemy import Connection

from hybrid_ml.alerts.message import alert_message, outcome_message
from hybrid_ml.config.settings import Settings
from hybrid_ml.market.bars import BAR_LENGTH
from hybrid_ml.market.labels import HORIZON_MINUTES
from hybrid_ml.market.simulation import SIMULATED_SYMBOL
from hybrid_ml.pipeline.context import AlertContent, Proposal, Run
from hybrid_ml.reporting.signal_chart import call_chart
from hybrid_ml.schemas.requests import AnalysisRequest
from hybrid_ml.signals.penalty import RecentSignals
from hybrid_ml.store import outbox, predictions
from hybrid_ml.store.outbox import Alert, Recipient

HORIZON = timedelta(minutes=HORIZON_MINUTES)
OUTCOME_WORTH_TELLING = timedelta(hours=12)


def compose(run: Run, request: AnalysisRequest, proposal: Proposal, record: RecentSignals) -> AlertContent:
    """The alert of a signal; a chart that cannot be drawn does not hold the words back."""
    answer, model = proposal.answer, proposal.model
    zone, simulated = request.quiet_hours.zone, proposal.symbol == SIMULATED_SYMBOL
    text = alert_message(
        symbol=proposal.symbol,
        simulated=simulated,
        close=proposal.close,
        bar_time=proposal.bar_time,
        answer=answer,
        threshold=model.label_threshold,
        verdicts=proposal.verdicts,
        recent=record,
        model_version=model.version,
        base_kind=model.base_kind,
        base_trained_until=model.base_trained_until,
        fine_tuned_until=model.trained_until if model.adapted else None,
        now=run.as_of,
        zone=zone,
    )
    try:
        picture = call_chart(
            proposal.picture_bars,
            symbol=proposal.symbol,
            direction=answer.direction,
            confidence=answer.confidence,
            threshold=model.label_threshold,
            zone=zone,
            simulated=simulated,
        )
    except Exception as error:  # whatever ails a picture, the words must go out
        return AlertContent(text, None, f"{type(error).__name__}: {error}")
    return AlertContent(text, picture)


def queue_signal(
    connection: Connection, settings: Settings, run: Run, request: AnalysisRequest, proposal: Proposal,
    composed: AlertContent, prediction_id: int,
) -> None:  # fmt: skip
    """Put the alert of a signal into the outbox, for the chats that want it, in the caller's transaction.

    It is worth sending until its ten minutes are over or quiet hours begin.
    """
    decided = proposal.bar_time + BAR_LENGTH
    until = decided + HORIZON
    if not request.disable_sleep_window:
        until = request.quiet_hours.begin_after(run.as_of, until - run.as_of) or until
    alert = Alert(
        kind="signal",
        symbol=proposal.symbol,
        bar_time=proposal.bar_time,
        prediction_id=prediction_id,
        text=composed.text,
        picture=composed.picture,
        send_until=run.to_wall_clock(until),
    )
    wanted = dict.fromkeys(
        chat.chat_id for chat in settings.chats if chat.wants(proposal.symbol, proposal.answer.confidence)
    )
    recipients = list(wanted) if settings.telegram_configured else [outbox.LOG]
    outbox.write(connection, alert, [Recipient(chat_id) for chat_id in recipients])


def queue_outcomes(connection: Connection, settings: Settings, run: Run, request: AnalysisRequest) -> None:
    """Put replies with outcomes into the outbox that have not been told yet and are worth it.

    They are sent until the next quiet hours begin; in quiet hours, after these have ended.
    """
    begin, until = run.as_of, None
    if not request.disable_sleep_window:
        begin = request.quiet_hours.end_after(run.as_of)
        until = request.quiet_hours.begin_after(begin, OUTCOME_WORTH_TELLING)
    end = until or begin + OUTCOME_WORTH_TELLING
    listening = {*settings.chat_ids, outbox.LOG}
    for prediction_id in predictions.unreported_outcomes(connection, run.as_of - OUTCOME_WORTH_TELLING, run.as_of):
        recipients = [
            recipient for recipient in outbox.recipients_of(connection, prediction_id) if recipient.chat_id in listening
        ]
        reply = _reply(connection, run, prediction_id, run.to_wall_clock(begin), run.to_wall_clock(end))
        if recipients:
            outbox.write(connection, reply, recipients)


def _reply(
    connection: Connection, run: Run, prediction_id: int, send_after: datetime, send_until: datetime
) -> Alert:  # fmt: skip
    message = predictions.outcome(connection, prediction_id)
    recent = predictions.recent_signals(connection, message.symbol, run.as_of, sent_only=True)
    text = outcome_message(
        symbol=message.symbol,
        simulated=message.symbol == SIMULATED_SYMBOL,
        direction=message.direction,
        close=message.close,
        close_then=message.close_then,
        forward_return=message.forward_return,
        outcome=message.outcome,
        void_reason=message.void_reason,
        recent=recent,
        corrected=message.corrected,
    )
    return Alert("outcome", message.symbol, message.bar_time, prediction_id, text, None, send_until, send_after)
