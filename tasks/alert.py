"""Alert: what the save stage left in the outbox goes to Telegram, or to the log."""

from datetime import datetime

from hybrid_ml.errors import AlertRefused
from hybrid_ml.settings import load_settings
from hybrid_ml.store import alerts
from hybrid_ml.telegram import send_text
from tasks.stage import database, log, stage


@stage("alert {symbol}", timeout_seconds=60, outside=True)
def send_alert(symbol: str, bar_time: datetime) -> str | None:
    """Send the waiting alert of a prediction; returns what became of it, None when none was waiting.

    The row stays locked while Telegram is asked, so that no second sender can take it, and stays
    pending for the next try when the network fails.
    """
    settings = load_settings()
    with database().begin() as connection:
        message = alerts.claim_pending(connection, symbol, bar_time)
        if message is None:
            return None
        if not settings.telegram_configured:
            log().warning("%s: TELEGRAM_BOT_TOKEN and TELEGRAM_CHAT_ID are not set; the alert is:\n%s", symbol, message)
            alerts.settle(connection, symbol, bar_time, "logged")
            return "logged"
        try:
            send_text(settings, message)
        except AlertRefused as error:
            alerts.settle(connection, symbol, bar_time, "refused", str(error))
            refusal = error
        else:
            alerts.settle(connection, symbol, bar_time, "sent")
            log().info("%s: alert sent to chat %s", symbol, settings.telegram_chat_id)
            return "sent"
    raise refusal
