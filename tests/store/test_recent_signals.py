"""The recent signals that the penalty uses: equal in the ledger and in a replay."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from sqlalchemy import Engine, text

from hybrid_ml.market.labels import CLASSES
from hybrid_ml.replay.memory_store import Ledger
from hybrid_ml.signals.gates import Answer
from hybrid_ml.signals.penalty import RecentSignals
from hybrid_ml.store import predictions
from hybrid_ml.store.predictions import Prediction
from hybrid_ml.store.signal_records import newest_record

START = datetime(2024, 3, 5, tzinfo=UTC)
STATES = ((False, False), (False, True), (True, False))
"""Signal, suppressed by the penalty."""


def prediction(bar_time: datetime, confidence: float, *, signal: bool, silenced: bool) -> Prediction:
    rest = (1 - confidence) / 2
    return Prediction(
        symbol="ABC",
        bar_time=bar_time,
        as_of=bar_time + timedelta(minutes=1),
        close=100.0,
        answer=Answer(rest, rest, confidence),
        threshold=1e-3,
        model_version="ABC@1",
        preset="balanced",
        verdicts=[],
        signal=signal,
        silenced_by_penalty=silenced,
        recent_rows=0,
        recent_accuracy=None,
        fell_back=False,
    )


def test_replayed_and_live_recent_signals_are_equal(engine: Engine) -> None:
    random = np.random.default_rng(3)
    ledger, replaced = Ledger(), 0
    with engine.begin() as connection:
        for cycle in range(150):
            bar_time = START + timedelta(minutes=10 * cycle)
            outcome = str(random.choice(CLASSES)) if random.random() < 0.8 else None
            before = (False, False)
            for _ in range(random.integers(1, 3)):  # some bars get two answers
                signal, silenced = STATES[random.integers(3)]
                request = prediction(bar_time, float(random.uniform(0.6, 0.9)), signal=signal, silenced=silenced)
                row = {"bar_time": bar_time, "outcome": outcome, "signal": signal, "silenced_by_penalty": silenced}
                row |= {f"p_{name}": p for name, p in zip(CLASSES, request.answer.probabilities, strict=True)}
                assert predictions.record(connection, request).new == ledger.records(row)
                replaced += before == (False, True) and signal
                before = (signal, silenced)
            connection.execute(
                text("UPDATE predictions SET outcome = :outcome WHERE bar_time = :bar_time"),
                {"outcome": outcome, "bar_time": bar_time},
            )
            now = bar_time + timedelta(minutes=int(random.integers(1, 30)))
            live, replayed = predictions.recent_signals(connection, "ABC", now), ledger.recent_signals(now)
            assert (live.count, live.precision) == (replayed.count, pytest.approx(replayed.precision))
            assert live.mean_confidence == pytest.approx(replayed.mean_confidence)
    assert replaced > 3
    assert live.count == 30


def test_suppressed_answers_count_for_the_penalty_but_not_as_sent(engine: Engine) -> None:
    with engine.begin() as connection:
        for minutes, (signal, silenced) in enumerate(STATES):
            request = prediction(START + timedelta(minutes=minutes), 0.75, signal=signal, silenced=silenced)
            predictions.record(connection, request)
        connection.execute(text("UPDATE predictions SET outcome = CASE WHEN signal THEN 'up' ELSE 'down' END"))
        later = START + timedelta(hours=1)
        assert predictions.recent_signals(connection, "ABC", later) == RecentSignals(2, 0.5, 0.75)
        assert len(newest_record(connection, "ABC", later).past) == 1


def test_record_is_of_the_newest_signals_and_the_answers_since(engine: Engine) -> None:
    with engine.begin() as connection:
        for minutes in range(0, 2_000, 20):
            signal = minutes % 40 == 0
            request = prediction(START + timedelta(minutes=minutes), 0.75, signal=signal, silenced=False)
            predictions.record(connection, request)
        connection.execute(text("UPDATE predictions SET outcome = CASE WHEN signal THEN 'up' ELSE 'down' END"))
        record = newest_record(connection, "ABC", START + timedelta(minutes=1_970))
        none = newest_record(connection, "ABC", START + timedelta(minutes=10))
    assert [(signal.bar_time - START) // timedelta(minutes=1) for signal in record.past] == list(range(760, 1_960, 40))
    assert (record.answers, record.ups, record.downs, record.days) == (60, 30, 30, 2)
    assert (none.past, none.answers, none.days) == ([], 0, 0)
