"""The ledger: every prediction, why it was or was not a signal, and what came of it."""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta

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


def record(connection: Connection, prediction: Prediction, message: str | None) -> bool:
    """Write the prediction and, when `message` is given, its alert, in the caller's transaction.

    Returns whether anything was new; a prediction or an alert that is there already stays.
    """
    answer = prediction.answer
    written = connection.execute(
        query("record_prediction"),
        {
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
        },
    )
    if message is not None:
        connection.execute(
            text(
                "INSERT INTO alerts (symbol, bar_time, message, state) "
                "VALUES (:symbol, :bar_time, :message, 'pending') ON CONFLICT (symbol, bar_time) DO NOTHING"
            ),
            {"symbol": prediction.symbol, "bar_time": prediction.bar_time, "message": message},
        )
    return bool(written.rowcount)


def resolve(connection: Connection, symbol: str, as_of: datetime, max_gap_minutes: int) -> int:
    """Fill in the outcomes that are known at `as_of`; returns how many."""
    done = connection.execute(
        query("resolve_predictions"),
        {
            "symbol": symbol,
            "as_of": as_of,
            "horizon_minutes": HORIZON_MINUTES,
            "max_gap_minutes": max_gap_minutes,
        },
    )
    return int(done.rowcount)


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
