"""The ledger: every prediction, its gates' verdicts, and its outcome."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from hybrid_ml.market.labels import HORIZON_MINUTES
from hybrid_ml.signals.gates import Answer, Verdict, as_record
from hybrid_ml.signals.pace import PaceRecord, record_period
from hybrid_ml.signals.penalty import SIGNALS_CONSIDERED, RecentSignals
from hybrid_ml.signals.reasons import Reason, as_reasons_record
from hybrid_ml.store.sql import query


@dataclass(frozen=True)
class Prediction:
    """An answer about `symbol` after the bar opened at `bar_time`, and the verdicts on it.

    `silenced_by_penalty`: it would be a signal without the raised confidence bound of a penalty.
    `recent_accuracy`: of its model on the `recent_rows` newest rows that it had not seen, None without such a row.
    `reasons`: what moved the answer; empty where that is not known.
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
    recent_rows: int
    recent_accuracy: float | None
    fell_back: bool
    reasons: Sequence[Reason] = ()


@dataclass(frozen=True)
class Recorded:
    """The row of the ledger that counts for a bar, and whether the current answer is that row."""

    id: int
    new: bool


def record(connection: Connection, prediction: Prediction) -> Recorded:
    """Write the prediction in the caller's transaction.

    One answer counts for each bar: the first, or the first that is a signal, because that one is
    alerted. Others about the same bar are kept in `answers_not_counted` with the reason, where they
    differ: the bar was corrected meanwhile, another model answered, gates were looser.
    """
    values = _values(prediction)
    written = connection.execute(query("record_prediction"), values).scalar()
    if written is not None:
        return Recorded(int(written), new=True)
    there = connection.execute(
        text(
            "SELECT id, signal, close, p_down, p_flat, p_up FROM predictions "
            "WHERE symbol = :symbol AND bar_time = :bar_time FOR UPDATE"
        ),
        values,
    ).one()
    if prediction.signal and not there.signal:
        reason = f"a later run (as of {prediction.as_of:%Y-%m-%d %H:%M} UTC) found a signal"
        connection.execute(query("archive_prediction"), {"id": there.id, "reason": reason})
        connection.execute(query("replace_prediction"), {"id": there.id, **values})
        return Recorded(int(there.id), new=True)
    answer = prediction.answer
    if (there.close, there.p_down, there.p_flat, there.p_up) != (prediction.close, *answer.probabilities):
        corrected = f"; the bar closed at {there.close!r} then" if there.close != prediction.close else ""
        connection.execute(query("keep_uncounted_answer"), {"reason": f"an earlier answer counts{corrected}", **values})
    return Recorded(int(there.id), new=False)


def _values(prediction: Prediction) -> dict[str, Any]:
    answer = prediction.answer
    return {
        **vars(prediction),
        "p_down": answer.down,
        "p_flat": answer.flat,
        "p_up": answer.up,
        "direction": answer.direction,
        "confidence": answer.confidence,
        "gates": json.dumps(as_record(prediction.verdicts)),
        "reasons": json.dumps(as_reasons_record(prediction.reasons)) if prediction.reasons else None,
    }


def resolve(connection: Connection, as_of: datetime, max_gap_minutes: int) -> int:
    """Fill in, for every symbol and in one statement, the outcomes that are known at `as_of`; returns how many.

    Entries go with them; those of outcomes from before there were entries are filled in where their bars are left.
    """
    values = {"as_of": as_of, "horizon_minutes": HORIZON_MINUTES, "max_gap_minutes": max_gap_minutes}
    resolved = int(connection.execute(query("resolve_predictions"), values).rowcount)
    connection.execute(query("fill_entries"), {"horizon_minutes": HORIZON_MINUTES})
    return resolved


def unreported_outcomes(connection: Connection, since: datetime, as_of: datetime) -> list[int]:
    """Ids of predictions whose signal was sent and whose outcome is known but not reported yet; bars after `since`."""
    ids = connection.execute(query("unreported_outcomes"), {"since": since, "as_of": as_of})
    return [int(scalar) for scalar in ids.scalars()]


@dataclass(frozen=True)
class Outcome:
    """A prediction with its outcome. `close`: the one the outcome is based on; `corrected`: it is not the stated one.
    `outcome` is None where there can be none, for `void_reason`; `entry_return` and `tradable` as of a `PastSignal`.
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
    entry_return: float | None
    tradable: bool | None


def outcome(connection: Connection, prediction_id: int) -> Outcome:
    """The prediction and its outcome."""
    statement = text(
        "SELECT symbol, bar_time, direction, coalesce(corrected_close, close) AS close, close_then, outcome, "
        "corrected_close IS NOT NULL AS corrected, forward_return, void_reason, entry_return, tradable "
        "FROM predictions WHERE id = :id"
    )
    return Outcome(**connection.execute(statement, {"id": prediction_id}).one()._mapping)


def recent_signals(connection: Connection, symbol: str, as_of: datetime) -> RecentSignals:
    """The newest signals of `symbol` whose outcome was known at `as_of`, with answers silenced only by the penalty."""
    values = {
        "symbol": symbol,
        "as_of": as_of,
        "count": SIGNALS_CONSIDERED,
        "horizon_minutes": HORIZON_MINUTES,
    }
    count, precision, mean_confidence = connection.execute(query("recent_signals"), values).one()
    return RecentSignals(int(count), float(precision), float(mean_confidence))


def pace_record(connection: Connection, symbol: str, bar_time: datetime, as_of: datetime) -> PaceRecord:
    """What the pace of an answer about `bar_time` goes by, as of `as_of`."""
    since, until = record_period(as_of)
    values = {"symbol": symbol, "since": since, "until": until, "bar_time": bar_time}
    return PaceRecord(**connection.execute(query("pace_record"), values).one()._mapping)
