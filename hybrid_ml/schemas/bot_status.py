"""What a chat may be told: facts as the database has them, for `replies.py` to put into words."""

from dataclasses import dataclass
from datetime import datetime

PAUSE_MINUTES = 24 * 60
"""How long a /pause without a number lasts."""


@dataclass(frozen=True)
class LastAnswer:
    """The newest answer about a symbol. `refused_by`: gates that said no, in their order."""

    bar_time: datetime
    direction: str
    confidence: float
    signal: bool
    degraded: bool
    refused_by: list[str]


@dataclass(frozen=True)
class SymbolStatus:
    """One symbol: its newest bar, the version that serves and until when it was trained, its last answer."""

    symbol: str
    newest_bar: datetime | None
    model_version: str | None
    model_trained_until: datetime | None
    last: LastAnswer | None


@dataclass(frozen=True)
class Pause:
    """A chat's silence, which always has an end."""

    until: datetime


@dataclass(frozen=True)
class Status:
    """The service as a whole. `deliveries`: how many are in which state, open ones and those of the last day.

    `pause`: of the chat that asks; `others_paused`: how many other chats are.
    """

    symbols: list[SymbolStatus]
    deliveries: dict[str, int]
    pause: Pause | None
    others_paused: int = 0


@dataclass(frozen=True)
class PastSignal:
    """A signal and what came of it: an outcome with its return (log), a reason why there is none, or neither yet."""

    symbol: str
    bar_time: datetime
    direction: str
    confidence: float
    outcome: str | None
    forward_return: float | None
    void_reason: str | None


@dataclass(frozen=True)
class SymbolRecord:
    """A symbol's recent signals, and the outcomes of all its answers, signals or not.

    `signals`: with an outcome, `right` of them as said; `waiting`: no outcome yet; `void`: there will be none;
    `mean_return_bps`: of following the signals with an outcome. `downs` and `ups` among `answers`.
    """

    symbol: str
    signals: int
    right: int
    waiting: int
    void: int
    mean_return_bps: float | None
    answers: int
    downs: int
    ups: int


@dataclass(frozen=True)
class BotCommand:
    """A command from a chat that may give it. `chat_id`: as configured, which for a channel's group is @name.

    `reply_chat_id`: where the answer goes; `user_id`: who wrote it, None in the name of a chat, which is `as_group`
    where it is the group itself; `minutes`: of /pause; `count`: of /signals; `problem`: what is wrong with the
    argument, if anything; `refusal`: why this person may not ask for it, if so. With either nothing is changed.
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
    """A command taken in hand, never again. `late_minutes`: since it was sent; `pause`: the chat's, afterwards."""

    late_minutes: float
    pause: Pause | None = None
