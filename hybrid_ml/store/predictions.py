"""The ledger: every prediction, why it was or was not a signal, and what came of it."""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, text

from hybrid_ml.market.labels import HORIZON_MINUTES
from hybrid_ml.signals.gates import Answer, Verdict, as_record
from hybrid_ml.signals.penalty import SIGNALS_CONSIDERED, RecentSignals
from hybrid_ml.store.sql import query

REMEMBERED = timedelta(days=1)
"""How long the last answer says something about the next one."""


@dataclass(frozen=True)
class Prediction:
    """An answer about `symbol` after the bar opened at `bar_time`, and the verdicts on it.

    `silenced_by_penalty`: it would be a signal, had no penalty raised the confidence bound.
    """

    symbol: str
    bar_time: datetime
    as_of: datetime
    close: float
    answer: Answer
    threshold: float
    model_version: str
    preset: str
    verdicts: list[Verdict]
    signal: bool
    silenced_by_penalty: bool
    degraded: bool
    fell_back: bool


@dataclass(frozen=True)
class Recorded:
    """The row of the ledger that counts for a bar, and whether the answer just given is it."""

    id: int
    new: bool


def record(connection: Connection, prediction: Prediction) -> Recorded:
    """Write the prediction in the caller's transaction.

    One answer a bar counts: the first, or the first that is a signal, because it is the one that
    alerts. Others about the same bar are kept in `answers_not_counted` with the reason, where they
    differ: the bar was corrected in between, another model answered, gates were looser.
    """
    given = _values(prediction)
    written = connection.execute(query("record_prediction"), given).scalar()
    if written is not None:
        return Recorded(int(written), new=True)
    there = connection.execute(
        text(
            "SELECT id, signal, close, p_down, p_flat, p_up FROM predictions "
            "WHERE symbol = :symbol AND bar_time = :bar_time FOR UPDATE"
        ),
        given,
    ).one()
    if prediction.signal and not there.signal:
        reason = f"a later run (as of {prediction.as_of:%Y-%m-%d %H:%M} UTC) found a signal"
        connection.execute(query("displace_prediction"), {"id": there.id, "reason": reason})
        connection.execute(query("replace_prediction"), {"id": there.id, **given})
        return Recorded(int(there.id), new=True)
    answer = prediction.answer
    if (there.close, there.p_down, there.p_flat, there.p_up) != (prediction.close, *answer.probabilities):
        corrected = f"; the bar closed at {there.close!r} then" if there.close != prediction.close else ""
        connection.execute(query("set_answer_aside"), {"reason": f"an earlier answer counts{corrected}", **given})
    return Recorded(int(there.id), new=False)


def _values(prediction: Prediction) -> dict[str, Any]:
    answer = prediction.answer
    return {
        "symbol": prediction.symbol,
        "bar_time": prediction.bar_time,
        "as_of": prediction.as_of,
        "close": prediction.close,
        "p_down": answer.down,
        "p_flat": answer.flat,
        "p_up": answer.up,
        "threshold": prediction.threshold,
        "direction": answer.direction,
        "confidence": answer.confidence,
        "model_version": prediction.model_version,
        "preset": prediction.preset,
        "gates": json.dumps(as_record(prediction.verdicts)),
        "signal": prediction.signal,
        "silenced_by_penalty": prediction.silenced_by_penalty,
        "degraded": prediction.degraded,
        "fell_back": prediction.fell_back,
    }


def resolve(connection: Connection, as_of: datetime, max_gap_minutes: int) -> int:
    """Fill in, for every symbol and in one statement, the outcomes that are known at `as_of`; returns how many."""
    given = {"as_of": as_of, "horizon_minutes": HORIZON_MINUTES, "max_gap_minutes": max_gap_minutes}
    return int(connection.execute(query("resolve_predictions"), given).rowcount)


def unreported_outcomes(connection: Connection, since: datetime, as_of: datetime) -> list[int]:
    """Rows of the ledger whose signal was told of and whose outcome is known, but not yet told; bars after `since`."""
    found = connection.execute(query("unreported_outcomes"), {"since": since, "as_of": as_of})
    return [int(scalar) for scalar in found.scalars()]


@dataclass(frozen=True)
class Outcome:
    """A prediction that has been resolved; `close` is the one that counts, `corrected` not the stated one.

    `outcome` is None where there can be none, for `void_reason`.
    """

    symbol: str
    bar_time: datetime
    direction: str
    close: float
    corrected: bool
    close_then: float | None
    outcome: str | None
    forward_return: float | None
    void_reason: str | None


def outcome(connection: Connection, prediction_id: int) -> Outcome:
    """What was said, and what became of it."""
    statement = text(
        "SELECT symbol, bar_time, direction, coalesce(corrected_close, close) AS close, close_then, outcome, "
        "corrected_close IS NOT NULL AS corrected, forward_return, void_reason FROM predictions WHERE id = :id"
    )
    return Outcome(**connection.execute(statement, {"id": prediction_id}).one()._mapping)


def recent_signals(connection: Connection, symbol: str, as_of: datetime, *, sent_only: bool = False) -> RecentSignals:
    """The newest signals of `symbol` whose outcome was known at `as_of`.

    For the penalty, answers that only it silenced are among them; `sent_only` leaves those out, for people.
    """
    given = {
        "symbol": symbol,
        "as_of": as_of,
        "count": SIGNALS_CONSIDERED,
        "horizon_minutes": HORIZON_MINUTES,
        "sent_only": sent_only,
    }
    count, precision, mean_confidence = connection.execute(query("recent_signals"), given).one()
    return RecentSignals(int(count), float(precision), float(mean_confidence))


def was_degraded(connection: Connection, symbol: str, as_of: datetime) -> bool:
    """Whether the newest answer about `symbol` before `as_of` came from a model under the bar.

    Forgotten after REMEMBERED: the market it was judged on is gone.
    """
    statement = text(
        "SELECT degraded FROM predictions WHERE symbol = :symbol AND as_of < :as_of AND bar_time < :as_of "
        "AND bar_time > :since ORDER BY bar_time DESC LIMIT 1"
    )
    given = {"symbol": symbol, "as_of": as_of, "since": as_of - REMEMBERED}
    return bool(connection.execute(statement, given).scalar())
