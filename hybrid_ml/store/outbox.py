"""The outbox: alerts, written in the transaction of the prediction they are about, and one delivery for each chat.

States of a delivery:

- pending: to be sent from `next_try_at` on;
- sending: a sender has claimed it (`claim`) and may hold it until `lease_until`;
- sent: Telegram confirmed it (`message_id`); logged: no chat is configured, it was written to the log;
- refused: Telegram refused it for good; paused: the chat had paused its alerts;
- expired: no longer worth sending, and every attempt was answered by Telegram;
- unconfirmed: passed to Telegram without an answer, so it may have arrived; not tried again.

When a sender dies, or gets no answer, after passing a message on, it is not known whether it arrived.
Once (`unsure` 1) it is sent again, marked as a repeat, while still fresh; the second time it becomes
unconfirmed. Telegram has no key to recognise a repeated message, so nothing better is
possible. All times here are those of the database's clock, since machines' clocks may differ.
"""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from sqlalchemy import Connection, text

from hybrid_ml.store.sql import query

Kind = Literal["signal", "outcome", "summary"]
LOG = ""
"""The chat id that stands for the log."""
OPEN = {"pending", "sending"}


@dataclass(frozen=True)
class Recipient:
    """A chat that gets an alert, as a reply to message `reply_to` where that is not None."""

    chat_id: str
    reply_to: int | None = None


@dataclass(frozen=True)
class Alert:
    """A message: HTML for Telegram, perhaps with a picture (PNG), to be sent before `send_until`.

    `prediction_id`: the row of the ledger it is about; None for a summary, whose `symbol` is empty and
    whose `bar_time` is its day.
    """

    kind: Kind
    symbol: str
    bar_time: datetime
    prediction_id: int | None
    text: str
    picture: bytes | None
    send_until: datetime
    send_after: datetime | None = None


@dataclass(frozen=True)
class Claimed:
    """A delivery leased by a sender. `unsure`: an earlier attempt may have arrived."""

    id: int
    claim: UUID
    chat_id: str
    reply_to: int | None
    text: str
    picture: bytes | None
    unsure: bool


def write(connection: Connection, alert: Alert, recipients: list[Recipient]) -> bool:
    """Put `alert` into the outbox for `recipients`, in the caller's transaction; False when it exists already."""
    values = {**vars(alert), "chats": [recipient.chat_id for recipient in recipients],
             "replies": [recipient.reply_to for recipient in recipients]}  # fmt: skip
    return bool(connection.execute(query("write_alert"), values).rowcount)


def expire_due(connection: Connection) -> dict[str, int]:
    """Update deliveries whose time has come: ended leases, alerts no longer fresh, paused chats.

    Returns how many changed to which state.
    """
    return Counter(str(state) for state in connection.execute(query("expire_due")).scalars())


def open_chats(connection: Connection) -> dict[str, float]:
    """The chats with something to send, and in how many seconds (0: now); the log is not among them."""
    return {str(chat): float(seconds) for chat, seconds in connection.execute(query("open_chats"))}


def claim(connection: Connection, chat_id: str, token: UUID, lease_seconds: float) -> Claimed | None:
    """Lease the most urgent delivery of a chat that is due; None when there is none, or others hold them."""
    values = {"chat_id": chat_id, "claim": token, "lease_seconds": lease_seconds}
    row = connection.execute(query("claim_delivery"), values).one_or_none()
    if row is None:
        return None
    picture = None if row.picture is None else bytes(row.picture)
    return Claimed(row.id, token, chat_id, row.reply_to, row.text, picture, unsure=row.unsure > 0)


def settle(
    connection: Connection, held: Claimed, state: Literal["sent", "refused"], detail: str = "",
    message_id: int | None = None,
) -> bool:  # fmt: skip
    """Record the final state of a delivery; False when this claim does not hold it any more."""
    values = {"id": held.id, "claim": held.claim, "state": state, "detail": detail, "message_id": message_id}
    return bool(connection.execute(query("settle_delivery"), values).rowcount)


def postpone(connection: Connection, held: Claimed, seconds: float | None, detail: str) -> bool:
    """Try again after `seconds`; None: after increasing waits. For deliveries that Telegram surely did not take."""
    values = {"id": held.id, "claim": held.claim, "seconds": seconds, "detail": detail}
    return bool(connection.execute(query("postpone_delivery"), values).rowcount)


def set_chat_backoff(connection: Connection, chat_id: str, seconds: float) -> None:
    """Telegram limits the rate of a chat: no sender sends to it for `seconds`."""
    connection.execute(query("set_chat_backoff"), {"chat_id": chat_id, "seconds": seconds})


def mark_unconfirmed(connection: Connection, held: Claimed, detail: str) -> bool:
    """Telegram gave no answer and may have taken it: the same as an ended lease, without the wait."""
    values = {"id": held.id, "claim": held.claim, "detail": detail}
    return bool(connection.execute(query("mark_unconfirmed"), values).rowcount)


def settle_logged(connection: Connection) -> list[str]:
    """The texts for the log, marked as logged in the caller's transaction."""
    return [str(message) for message in connection.execute(query("settle_logged")).scalars()]


def states(connection: Connection, kind: Kind, symbol: str, bar_time: datetime) -> dict[str, int]:
    """How many deliveries of an alert are in which state; empty when it has no recipients."""
    values = {"kind": kind, "symbol": symbol, "bar_time": bar_time}
    return {str(state): int(count) for state, count in connection.execute(query("delivery_states"), values)}


def states_since(connection: Connection, moment: datetime) -> dict[str, int]:
    """How many deliveries written since `moment` are in which state, of any kind of alert."""
    statement = text("SELECT state, count(*) FROM deliveries WHERE created_at >= :since GROUP BY state ORDER BY state")
    return {str(state): int(count) for state, count in connection.execute(statement, {"since": moment})}


def problems(connection: Connection, kind: Kind, symbol: str, bar_time: datetime) -> list[str]:
    """The problems of an alert's deliveries that have not arrived, one line for each chat."""
    values = {"kind": kind, "symbol": symbol, "bar_time": bar_time}
    return [str(message) for message in connection.execute(query("delivery_problems"), values).scalars()]


def recipients_of(connection: Connection, prediction_id: int) -> list[Recipient]:
    """The chats that got a signal, each with the id of its message."""
    rows = connection.execute(query("recipients_of"), {"prediction_id": prediction_id})
    return [Recipient(str(chat), None if message is None else int(message)) for chat, message in rows]


def drop_pictures(connection: Connection, older_than: timedelta) -> int:
    """Delete pictures of alerts that need no more sending; returns how many."""
    statement = text(
        "UPDATE alerts SET picture = NULL WHERE picture IS NOT NULL AND created_at < clock_timestamp() - :older_than "
        "AND NOT EXISTS (SELECT 1 FROM deliveries WHERE alert_id = alerts.id AND settled_at IS NULL)"
    )
    return int(connection.execute(statement, {"older_than": older_than}).rowcount)
