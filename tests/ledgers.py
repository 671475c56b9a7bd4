"""Simulated ledgers with known true probabilities: answers, verdicts and outcomes; and functions to insert them."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
from sqlalchemy import Engine, text

from hybrid_ml.market.labels import CLASSES, HORIZON_MINUTES
from hybrid_ml.signals.gates import Answer, GateContext, as_record, evaluate_gates, refused_by
from hybrid_ml.signals.penalty import NO_PENALTY
from hybrid_ml.signals.presets import PRESETS

REVIEWED_AT = datetime(2024, 3, 5, 0, 30, tzinfo=UTC)
CYCLE = timedelta(minutes=10)
STORED = ("symbol", "bar_time", "as_of", "created_at", "close", "p_down", "p_flat", "p_up", "threshold", "direction",
          "confidence", "model_version", "preset", "gates", "signal", "silenced_by_penalty", "fell_back",
          "outcome", "forward_return", "resolved_at", "void_reason", "counted", "close_then",
          "corrected_close", "entry_time", "entry_price", "entry_return", "tradable")  # fmt: skip


def simulated_ledger(
    symbol: str = "ABC",
    count: int = 1_000,
    *,
    seed: int = 0,
    preset: str = "balanced",
    until: datetime = REVIEWED_AT,
    calibration: float = 1.0,
    calibrated_until: int = 0,
) -> pd.DataFrame:
    """Answers every ten minutes, all resolved, the newest just due at `until`.

    With `calibration` 1 the stated probabilities are the true ones; with 0 the outcome is independent of
    them. The first `calibrated_until` are calibrated in any case. Verdicts are those of the real gates.
    """
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet([0.8, 0.8, 0.8], count)
    share = np.where(np.arange(count) < calibrated_until, 1.0, calibration)[:, None]
    true_probabilities = share * probabilities + (1 - share) / 3
    outcomes = (random.random((count, 1)) > true_probabilities.cumsum(axis=1)).sum(axis=1).clip(0, 2)
    newest = until - timedelta(minutes=HORIZON_MINUTES + 1)
    rows = []
    for position in range(count):
        bar_time = newest - CYCLE * (count - 1 - position)
        answer = Answer.of(probabilities[position])
        age_minutes = 12.0 if random.random() < 0.05 else 0.0
        context = GateContext(PRESETS[preset], NO_PENALTY, age_minutes, 15.0)  # type: ignore[index]
        verdicts = evaluate_gates(answer, context)
        forward_return = float(np.array([-0.002, 0.0, 0.002])[outcomes[position]] + random.normal(0, 1e-4))
        rows.append(
            {
                "symbol": symbol,
                "bar_time": bar_time,
                "as_of": bar_time + timedelta(minutes=1),
                "close": 100.0,
                **{f"p_{name}": probability for name, probability in zip(CLASSES, answer.probabilities, strict=True)},
                "threshold": 0.001,
                "direction": answer.direction,
                "confidence": answer.confidence,
                "model_version": f"{symbol}@1",
                "preset": preset,
                "gates": as_record(verdicts),
                "refused_by": ",".join(refused_by(verdicts)),
                "signal": not refused_by(verdicts),
                "silenced_by_penalty": False,
                "fell_back": False,
                "outcome": CLASSES[outcomes[position]],
                "forward_return": forward_return,
                "resolved_at": bar_time + timedelta(minutes=HORIZON_MINUTES + 1),
                "void_reason": None,
                "counted": "stated",
                "close_then": float(100 * np.exp(forward_return)),
                "corrected_close": None,
                "entry_time": bar_time + timedelta(minutes=1),
                "entry_price": 100.1,
                "entry_return": float(np.log(100 / 100.1) + forward_return),
                "tradable": True,
                "corrected_since": False,
                "created_at": bar_time + timedelta(minutes=1),
                "recorded_late": False,
            }
        )
    frame = pd.DataFrame(rows)
    for name in ("bar_time", "as_of", "created_at", "resolved_at", "entry_time"):
        frame[name] = frame[name].astype("datetime64[us, UTC]")
    return frame


def insert_answers(engine: Engine, frame: pd.DataFrame) -> None:
    """Put answers of `simulated_ledger` into table predictions."""
    names = ", ".join(STORED)
    values = ", ".join("CAST(:gates AS jsonb)" if name == "gates" else f":{name}" for name in STORED)
    statement = text(f"INSERT INTO predictions ({names}) VALUES ({values})")
    stored = frame[list(STORED)].astype(object).where(frame[list(STORED)].notna(), None)
    records: list[dict[Any, Any]] = [{**row, "gates": json.dumps(row["gates"])} for row in stored.to_dict("records")]
    with engine.begin() as connection:
        connection.execute(statement, records)


def insert_alert(
    engine: Engine,
    symbol: str,
    bar_time: datetime,
    deliveries: dict[str, tuple[str, float | None]],
    kind: str = "signal",
) -> None:
    """Insert an alert with one delivery per chat: its state, and the seconds until it was settled."""
    with engine.begin() as connection:
        prediction = None
        if kind != "summary":
            prediction = connection.execute(
                text("SELECT id FROM predictions WHERE symbol = :symbol AND bar_time = :bar_time"),
                {"symbol": symbol, "bar_time": bar_time},
            ).scalar_one()
        alert = connection.execute(
            text(
                "INSERT INTO alerts (kind, symbol, bar_time, prediction_id, text, send_until) "
                "VALUES (:kind, :symbol, :bar_time, :prediction, 'x', now()) RETURNING id"
            ),
            {"kind": kind, "symbol": symbol, "bar_time": bar_time, "prediction": prediction},
        ).scalar_one()
        for chat, (state, seconds) in deliveries.items():
            connection.execute(
                text(
                    "INSERT INTO deliveries (alert_id, chat_id, state, settled_at) "
                    "VALUES (:alert, :chat, :state, now() + make_interval(secs => :seconds))"
                ),
                {"alert": alert, "chat": chat, "state": state, "seconds": seconds},
            )
