"""What the pace goes by: equal in the ledger and in a replay."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from sqlalchemy import Engine

from hybrid_ml.replay.memory_store import Ledger, PacedAnswer
from hybrid_ml.signals.gates import Answer, Verdict, passes_but_for_confidence
from hybrid_ml.store import predictions
from tests.outbox import prediction

START = datetime(2024, 3, 5, 19, 30, tzinfo=UTC)


def test_replayed_and_live_records_are_equal(engine: Engine) -> None:
    random = np.random.default_rng(4)
    ledger = Ledger()
    with engine.begin() as connection:
        for cycle in range(40):
            bar_time = START + timedelta(hours=9 * cycle + int(random.integers(4)))
            now = bar_time + timedelta(minutes=1)
            live, replayed = (
                predictions.pace_record(connection, "ABC", bar_time, now),
                ledger.pace_record(bar_time, now),
            )
            assert sorted(live.confidences) == sorted(replayed.confidences)
            assert (live.answers, live.most_in_a_day, live.previous) == (
                replayed.answers, replayed.most_in_a_day, replayed.previous
            )  # fmt: skip
            confidence, bound = float(random.uniform(0.5, 0.9)), float(random.uniform(0.6, 0.7))
            rest = (1 - confidence) / 2
            verdicts = [
                Verdict("confidence", confidence, bound, confidence >= bound, "", None, bound),
                Verdict("margin", 0.2, 0.3, bool(random.random() < 0.6), ""),
                Verdict("max_signals", 3, 2, bool(random.random() < 0.6), ""),
            ]
            answer = prediction(
                bar_time, as_of=now, answer=Answer(rest, rest, confidence), verdicts=verdicts, signal=False
            )
            predictions.record(connection, answer)
            predictions.record(connection, prediction(bar_time, symbol="OTHER"))
            ledger.remember_pace(PacedAnswer(bar_time, confidence, passes_but_for_confidence(verdicts), bound))
        late = START + timedelta(hours=9 * 40)
        assert predictions.pace_record(connection, "ABC", late, late).most_in_a_day in (2, 3)


def test_answers_of_before_have_no_bound_of_a_pace(engine: Engine) -> None:
    with engine.begin() as connection:
        predictions.record(connection, prediction(START, verdicts=[Verdict("confidence", 0.7, 0.6, True, "")]))
        later = START + timedelta(days=1)
        record = predictions.pace_record(connection, "ABC", later, later)
    assert record.previous is None
    assert (record.confidences, record.answers, record.most_in_a_day) == ([pytest.approx(0.7)], 1, 0)
