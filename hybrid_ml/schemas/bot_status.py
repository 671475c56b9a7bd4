"""The facts of the bot's replies, as read from the database; `replies.py` makes texts of them."""

from dataclasses import dataclass
from datetime import datetime

PAUSE_MINUTES = 24 * 60
"""The duration of a /pause without a number."""


@dataclass(frozen=True)
class LastAnswer:
    """The newest answer about a symbol. `refused_by`: gates that refused, in their order.

    `recent_accuracy`: of its model on the `recent_rows` newest rows that it had not seen; both None in answers of
    before they were recorded, the accuracy also where there was no such row.
    """

    bar_time: datetime
    direction: str
    confidence: float
    signal: bool
    refused_by: list[str]
    recent_rows: int | None = None
    recent_accuracy: float | None = None


@dataclass(frozen=True)
class SymbolStatus:
    """One symbol: its newest bar, the version in use and until when it was trained, its last answer.

    With a calendar: `closed_until`, where its market is closed; `open_minutes`, in which it was open since the newest
    bar closed; `calendar_problem`, why neither is known.
    """

    symbol: str
    newest_bar: datetime | None
    model_version: str | None
    model_trained_until: datetime | None
    last: LastAnswer | None
    closed_until: datetime | None = None
    open_minutes: float | None = None
    calendar_problem: str = ""


@dataclass(frozen=True)
class Pause:
    """A pause of a chat, which always ends."""

    until: datetime


@dataclass(frozen=True)
class BotStatus:
    """The state of the service. `deliveries`: numbers by state, of open ones and those of the last day.

    `pause`: of the chat that sent the command; `others_paused`: the number of other paused chats.
    """

    symbols: list[SymbolStatus]
    deliveries: dict[str, int]
    pause: Pause | None
    others_paused: int = 0


@dataclass(frozen=True)
class BotCommand:
    """A command from an allowed chat. `chat_id`: as configured, which for a channel's group is @name.

    `reply_chat_id`: the chat of the reply; `user_id`: the sender, None in the name of a chat, which is `as_group`
    where it is the group itself; `minutes`: of /pause; `count`: of /signals; `problem`: what is wrong with the
    argument, if anything; `refusal`: why this person may not send it, if so. With either nothing is changed.
    """

    update_id: int
    chat_id: str
    reply_chat_id: int
    command: str
    sent_at: datetime
    user_id: int | None = None
    in_group: bool = False
    as_group: bool = False
    minutes: int = PAUSE_MINUTES
    count: int = 5
    problem: str = ""
    refusal: str = ""


@dataclass(frozen=True)
class ClaimedCommand:
    """A command, claimed once. `late_minutes`: since it was sent; `pause`: the chat's, afterwards."""

    late_minutes: float
    pause: Pause | None = None
