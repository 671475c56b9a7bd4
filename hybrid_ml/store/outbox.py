"""The outbox: what is to be told, written with what it tells of, and a row for each chat that is to hear it.

How a delivery goes from state to state:

- pending: to be sent when `next_try_at` has come;
- sending: a sender has claimed it (`claim`) and may hold it until `lease_until`;
- sent: Telegram confirmed it (`message_id`); logged: there is no chat, the log has it;
- refused: Telegram refused for good; paused: the chat asked for silence;
- expired: not worth sending any more, and never handed to Telegram without an answer;
- unconfirmed: handed over and never answered, so it may have arrived; not tried again.

A sender that dies, or hears nothing, after handing a message over leaves it unknown whether it arrived.
Once (`unsure` 1) it is sent again, marked as a repeat, while still fresh; the second time it is left
unconfirmed. Telegram has no key by which it could tell the same message from another, so there is no
way to do better. All times here are those of the database's clock: machines may disagree.
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
"""The chat of this name is the log."""
OPEN = {"pending", "sending"}


@dataclass(frozen=True)
class Recipient:
    """A chat that is to hear something, there as a reply to message `reply_to` if that is given."""

    chat_id: str
    reply_to: int | None = None


@dataclass(frozen=True)
class Alert:
    """Something to tell: HTML as Telegram takes it, perhaps with a picture (PNG), until it is not worth telling.

    `prediction_id`: the row of the ledger it tells of; None for a summary, whose `symbol` is empty and
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
    """A delivery held for a while by whoever claimed it. `unsure`: it may have arrived once before."""

    id: int
    claim: UUID
    chat_id: str
    reply_to: int | None
    text: str
    picture: bytes | None
    unsure: bool


def write(connection: Connection, alert: Alert, recipients: list[Recipient]) -> bool:
    """Put `alert` into the outbox for `recipients`, in the caller's transaction; False when it is there already."""
    given = {**vars(alert), "chats": [recipient.chat_id for recipient in recipients],
             "replies": [recipient.reply_to for recipient in recipients]}  # fmt: skip
    return bool(connection.execute(query("write_alert"), given).rowcount)


def expire_due(connection: Connection) -> dict[str, int]:
    """Settle what time has settled: leases run out, alerts no longer fresh, chats that asked for silence.

    Returns how many went to which state.
    """
    return Counter(str(state) for state in connection.execute(query("sweep_deliveries")).scalars())


def open_chats(connection: Connection) -> dict[str, float]:
    """The chats with something to send, and in how many seconds (0: now); the log is not among them."""
    return {str(chat): float(seconds) for chat, seconds in connection.execute(query("open_chats"))}


def claim(connection: Connection, chat_id: str, token: UUID, lease_seconds: float) -> Claimed | None:
    """Hold the most urgent delivery of a chat that is due; None when there is none, or others hold them."""
    given = {"chat_id": chat_id, "claim": token, "lease_seconds": lease_seconds}
    row = connection.execute(query("claim_delivery"), given).one_or_none()
    if row is None:
        return None
    picture = None if row.picture is None else bytes(row.picture)
    return Claimed(row.id, token, chat_id, row.reply_to, row.text, picture, unsure=row.unsure > 0)


def settle(
    connection: Connection, held: Claimed, state: Literal["sent", "refused"], detail: str = "",
    message_id: int | None = None,
) -> bool:  # fmt: skip
    """Say what became of a delivery; False when it is no longer held by this claim."""
    given = {"id": held.id, "claim": held.claim, "state": state, "detail": detail, "message_id": message_id}
    return bool(connection.execute(query("settle_delivery"), given).rowcount)


def postpone(connection: Connection, held: Claimed, seconds: float | None, detail: str) -> bool:
    """Try later: Telegram surely has not taken it. `seconds`: when; None: after longer and longer."""
    given = {"id": held.id, "claim": held.claim, "seconds": seconds, "detail": detail}
    return bool(connection.execute(query("postpone_delivery"), given).rowcount)


def set_chat_backoff(connection: Connection, chat_id: str, seconds: float) -> None:
    """Telegram asked for silence towards a chat; every sender keeps to it."""
    connection.execute(query("hush_chat"), {"chat_id": chat_id, "seconds": seconds})


def mark_unconfirmed(connection: Connection, held: Claimed, detail: str) -> bool:
    """Telegram may have taken it and did not say so: what a lease that runs out comes to, without the wait."""
    given = {"id": held.id, "claim": held.claim, "detail": detail}
    return bool(connection.execute(query("doubt_delivery"), given).rowcount)


def take_logged(connection: Connection) -> list[str]:
    """The texts that go to the log, settled in the caller's transaction."""
    return [str(message) for message in connection.execute(query("take_logged")).scalars()]


def states(connection: Connection, kind: Kind, symbol: str, bar_time: datetime) -> dict[str, int]:
    """How many deliveries of an alert are in which state; empty when nobody is to hear it."""
    given = {"kind": kind, "symbol": symbol, "bar_time": bar_time}
    return {str(state): int(count) for state, count in connection.execute(query("delivery_states"), given)}


def states_since(connection: Connection, moment: datetime) -> dict[str, int]:
    """How many deliveries written since `moment` are in which state, whatever they tell."""
    statement = text("SELECT state, count(*) FROM deliveries WHERE created_at >= :since GROUP BY state ORDER BY state")
    return {str(state): int(count) for state, count in connection.execute(statement, {"since": moment})}


def problems(connection: Connection, kind: Kind, symbol: str, bar_time: datetime) -> list[str]:
    """What went wrong with the deliveries of an alert that have not arrived, chat by chat."""
    given = {"kind": kind, "symbol": symbol, "bar_time": bar_time}
    return [str(message) for message in connection.execute(query("delivery_problems"), given).scalars()]


def recipients_of(connection: Connection, prediction_id: int) -> list[Recipient]:
    """The chats that were told of a signal, each with the message it was told in."""
    found = connection.execute(query("heard_by"), {"prediction_id": prediction_id})
    return [Recipient(str(chat), None if message is None else int(message)) for chat, message in found]


def drop_pictures(connection: Connection, older_than: timedelta) -> int:
    """Let go of pictures nobody will send any more; returns how many."""
    statement = text(
        "UPDATE alerts SET picture = NULL WHERE picture IS NOT NULL AND created_at < clock_timestamp() - :older_than "
        "AND NOT EXISTS (SELECT 1 FROM deliveries WHERE alert_id = alerts.id AND settled_at IS NULL)"
    )
    return int(connection.execute(statement, {"older_than": older_than}).rowcount)
