"""Past signals of a symbol as read from the ledger, for the bot's replies and the alerts."""

from dataclasses import dataclass
from datetime import datetime

from hybrid_ml.schemas.requests import ReviewRequest

FEE_BPS = float(ReviewRequest.model_fields["fee_bps"].default)
"""The fee of returns in messages: that of a review, where it states no other."""


@dataclass(frozen=True)
class PastSignal:
    """A signal and its outcome: with its return (log), or the reason why there is none, or neither yet.

    `entry_time` and `entry_return` (log): the first traded minute at which it could have been followed, and the return
    from there; `tradable`: False where there was none in time, None where that is not known.
    """

    symbol: str
    bar_time: datetime
    direction: str
    confidence: float
    outcome: str | None
    forward_return: float | None
    void_reason: str | None
    entry_time: datetime | None = None
    entry_return: float | None = None
    tradable: bool | None = None


@dataclass(frozen=True)
class SymbolRecord:
    """A symbol's signals of some time, and the outcomes of all its answers of that time, signals or not.

    `past`: signals with an outcome, oldest first; `waiting`: no outcome yet; `void`: there will be none. `downs` and
    `ups` among `answers`, which are those with an outcome; `days`: on how many days, UTC, there are any.
    """

    symbol: str
    past: list[PastSignal]
    waiting: int
    void: int
    answers: int
    downs: int
    ups: int
    days: int

    @property
    def guess(self) -> str:
        """The more frequent direction."""
        return "up" if self.ups >= self.downs else "down"

    @property
    def guess_precision(self) -> float:
        """The share of answers for which that would have been right; 0 without answers."""
        return max(self.ups, self.downs) / max(1, self.answers)
