"""The scope of a review: its symbols and its period."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from hybrid_ml.errors import DataUnavailable
from hybrid_ml.pipeline.run import settle_moment, without_simulated
from hybrid_ml.schemas.requests import ReviewRequest


@dataclass(frozen=True)
class Scope:
    """Answers about `symbols` after bars from `since` on, as known at `as_of`, a whole minute."""

    as_of: datetime
    since: datetime
    symbols: list[str]
    max_gap_minutes: int


def make_scope(
    request: ReviewRequest,
    configured: list[str],
    offered: list[str],
    max_gap_minutes: int,
    now: datetime,
    over: Collection[str] = (),
) -> Scope:
    """Determine what `request` leaves open: the `configured` symbols, else those `offered`, which may be none.

    `over`: symbols that nothing new can be said of; they are left out where nobody names them and others are left.

    Raises BadInput for a moment in the future, and DataUnavailable for a symbol that `request` names and
    that is not among those `offered`, which have bars or answers.
    """
    as_of = settle_moment(request.as_of, now).replace(second=0, microsecond=0)
    for symbol in request.symbols:
        if symbol not in offered:
            known = ", ".join(sorted(offered)) or "none yet"
            raise DataUnavailable(f"--symbol {symbol}: no bars or answers of it (there are those of: {known})")
    found = without_simulated(sorted(offered))
    symbols = request.symbols or configured or [symbol for symbol in found if symbol not in over] or found
    return Scope(as_of, as_of - timedelta(days=request.days), symbols, max_gap_minutes)
