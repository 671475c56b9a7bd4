"""Writing into the outbox: the alert of a signal, the reply with its outcome, the daily summary, and their chats."""

from datetime import datetime, timedelta

from sqlalchemy import Connection

from hybrid_ml.alerts.message import alert_message, outcome_message
from hybrid_ml.config.settings import Settings
from hybrid_ml.market.bars import BAR_LENGTH
from hybrid_ml.market.labels import HORIZON_MINUTES
from hybrid_ml.market.simulation import SIMULATED_SYMBOL
from hybrid_ml.pipeline.proposals import AlertContent, Proposal
from hybrid_ml.pipeline.run import Run
from hybrid_ml.reporting.signal_chart import call_chart
from hybrid_ml.schemas.requests import AnalysisRequest, ReviewRequest
from hybrid_ml.schemas.signal_record import SymbolRecord
from hybrid_ml.store import outbox, predictions
from hybrid_ml.store.outbox import Alert, Recipient
from hybrid_ml.store.signal_records import newest_record

HORIZON = timedelta(minutes=HORIZON_MINUTES)
OUTCOME_FRESH_FOR = timedelta(hours=12)
SUMMARY_FRESH_FOR = timedelta(hours=12)


def compose(run: Run, request: AnalysisRequest, proposal: Proposal, record: SymbolRecord) -> AlertContent:
    """The alert of a signal; without a chart where it cannot be drawn."""
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
        reasons=proposal.reasons,
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
    except Exception as error:  # any error in drawing: the text is sent without the chart
        return AlertContent(text, None, f"{type(error).__name__}: {error}")
    return AlertContent(text, picture)


def queue_signal(
    connection: Connection, settings: Settings, run: Run, request: AnalysisRequest, proposal: Proposal,
    composed: AlertContent, prediction_id: int,
) -> None:  # fmt: skip
    """Put the alert of a signal into the outbox, for the chats that want it, in the caller's transaction.

    It is sent until its ten minutes are over or quiet hours begin.
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
    """Put replies with outcomes that are not reported yet, and not too old, into the outbox.

    They are sent until the next quiet hours begin; in quiet hours, after these have ended.
    """
    begin, until = run.as_of, None
    if not request.disable_sleep_window:
        begin = request.quiet_hours.end_after(run.as_of)
        until = request.quiet_hours.begin_after(begin, OUTCOME_FRESH_FOR)
    end = until or begin + OUTCOME_FRESH_FOR
    chats = {*settings.chat_ids, outbox.LOG}
    for prediction_id in predictions.unreported_outcomes(connection, run.as_of - OUTCOME_FRESH_FOR, run.as_of):
        recipients = [
            recipient for recipient in outbox.recipients_of(connection, prediction_id) if recipient.chat_id in chats
        ]
        reply = _reply(connection, run, prediction_id, run.to_wall_clock(begin), run.to_wall_clock(end))
        if recipients:
            outbox.write(connection, reply, recipients)


def _reply(
    connection: Connection, run: Run, prediction_id: int, send_after: datetime, send_until: datetime
) -> Alert:  # fmt: skip
    message = predictions.outcome(connection, prediction_id)
    recent = newest_record(connection, message.symbol, run.as_of)
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
        entry_return=message.entry_return,
        tradable=message.tradable,
    )
    return Alert("outcome", message.symbol, message.bar_time, prediction_id, text, None, send_until, send_after)


def queue_summary(
    connection: Connection, settings: Settings, request: ReviewRequest, as_of: datetime, text: str, now: datetime
) -> None:
    """Put the summary of the day of `as_of` into the outbox; a second one of that day changes nothing.

    It is sent when the quiet hours are over.
    """
    day = as_of.replace(hour=0, minute=0, second=0, microsecond=0)
    begins = now if request.disable_sleep_window else request.quiet_hours.end_after(now)
    ends = begins + SUMMARY_FRESH_FOR
    summary = Alert("summary", "", day, None, text, None, send_until=ends, send_after=begins)
    recipients = summary_chats(settings) if settings.telegram_configured else [outbox.LOG]
    outbox.write(connection, summary, [Recipient(chat_id) for chat_id in recipients])


def summary_chats(settings: Settings) -> list[str]:
    """The chats that want every symbol: a summary covers all symbols, so chats that chose some do not get it."""
    return list(dict.fromkeys(chat.chat_id for chat in settings.chats if not chat.symbols))
