"""The pace: as many signals a day as wanted, never under the floor, moved slowly, found from records alone."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybrid_ml.replay.memory_store import Ledger, PacedAnswer
from hybrid_ml.signals.gates import (
    Answer,
    GateContext,
    evaluate_gates,
    max_signals_verdict,
    paced_bound,
    passes_but_for_confidence,
    refused_by,
    silenced_by_penalty,
)
from hybrid_ml.signals.pace import (
    LARGEST_STEP,
    Pace,
    PaceRecord,
    choose_pace,
    pace_bound,
    passing_confidences,
    record_period,
)
from hybrid_ml.signals.penalty import NO_PENALTY, Penalty
from hybrid_ml.signals.presets import Bounds

NONE = np.empty((0, 3))
CONFIDENCES = [0.5 + 0.001 * step for step in range(400)]
"""Of 400 answers, from 0.5 to 0.899."""


def test_bound_gives_the_pace_on_the_record() -> None:
    found = pace_bound(CONFIDENCES, 10.0, 3.0, 0.6, None)
    assert found.bound == pytest.approx(0.87)
    assert sum(confidence >= found.bound for confidence in CONFIDENCES) == 30
    assert found.explanation == "for the pace of 3 a day in 10.0 days of answers"


@given(
    st.lists(st.floats(0.34, 1.0), max_size=300),
    st.floats(1.0, 15.0),
    st.floats(0.1, 50.0),
    st.floats(0.4, 0.8),
    st.none() | st.floats(0.4, 1.0),
)
def test_bound_is_never_under_the_floor_and_never_jumps(
    confidences: list[float], days: float, wanted: float, floor: float, previous: float | None
) -> None:
    bound = pace_bound(confidences, days, wanted, floor, previous).bound
    assert floor <= bound <= 1.0
    if previous is None:
        assert sum(confidence > bound for confidence in confidences) < max(1, wanted * days) or bound == floor
    elif previous >= floor:
        assert abs(bound - previous) <= LARGEST_STEP + 1e-12
    assert bound == pace_bound(confidences[::-1], days, wanted, floor, previous).bound


def test_bound_moves_by_a_hundredth_a_slot_until_it_is_there() -> None:
    first = pace_bound(CONFIDENCES, 10.0, 3.0, 0.6, 0.85)
    assert first.bound == pytest.approx(0.86)
    assert first.explanation == "on its way to 0.870 for the pace of 3 a day in 10.0 days of answers"
    assert pace_bound(CONFIDENCES, 10.0, 3.0, 0.6, first.bound).bound == pytest.approx(0.87)
    assert pace_bound(CONFIDENCES, 10.0, 3.0, 0.6, 0.89).bound == pytest.approx(0.88)


def test_too_few_answers_leave_the_floor_and_say_so() -> None:
    short = pace_bound(CONFIDENCES, 0.9, 3.0, 0.6, 0.85)
    assert short.bound == 0.6
    assert "0.9 days of answers are too few" in short.explanation
    few = pace_bound([0.7, 0.65], 10.0, 3.0, 0.6, None)
    assert few.bound == 0.6
    assert few.explanation == "the lowest allowed, which gives at most the pace of 3 a day in 10.0 days of answers"


def test_less_than_one_signal_in_the_record_takes_its_surest_answer() -> None:
    assert pace_bound(CONFIDENCES, 2.0, 0.1, 0.6, None).bound == pytest.approx(0.899)


def test_days_are_counted_in_days_of_service() -> None:
    """A market of six hours, or quiet hours: forty answers are a day, also of the hold-out's."""
    hold_out = np.tile([0.05, 0.05, 0.9], (40, 1))
    bounds = Bounds(0.6, signals_per_day=3.0)
    record = PaceRecord(confidences=[0.7] * 20, answers=80, most_in_a_day=40)
    found = choose_pace(record, hold_out, bounds)
    assert found is not None
    assert found.explanation == "for the pace of 3 a day in 3.0 days of answers"
    assert found.bound == 0.9
    shared = choose_pace(record, hold_out, bounds, symbols=3)
    assert shared is not None
    assert "the pace of 1 a day" in shared.explanation
    without = choose_pace(PaceRecord(), hold_out, bounds)
    assert without is not None
    assert "0.3 days of answers are too few" in without.explanation
    assert choose_pace(record, hold_out, Bounds(0.6)) is None


def test_hold_out_answers_pass_the_same_gates_as_those_in_service() -> None:
    random = np.random.default_rng(5)
    probabilities = np.vstack([random.dirichlet([0.5] * 3, 300), [[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]])
    bounds = Bounds(0.0, min_prob_margin=0.3, max_entropy=0.7)
    context = GateContext(bounds, NO_PENALTY, 0.0, 15.0)
    answers = [Answer.of(row) for row in probabilities]
    expected = [answer.confidence for answer in answers if not refused_by(evaluate_gates(answer, context))]
    assert 20 < len(expected) < 200
    assert passing_confidences(probabilities, bounds) == pytest.approx(expected)
    assert passing_confidences(NONE, bounds) == []


def test_gate_states_the_bound_of_the_pace_and_the_penalty_adds_to_it() -> None:
    pace = Pace(0.7, "for the pace of 3 a day in 14.0 days of answers")
    answer = Answer(0.1, 0.15, 0.75)
    context = GateContext(Bounds(0.6), NO_PENALTY, 0.0, 15.0, pace=pace)
    gate = evaluate_gates(answer, context)[1]
    assert (gate.bound, gate.passed, gate.asked, gate.paced) == (0.7, True, None, 0.7)
    assert gate.meaning == "top probability at least 0.700, for the pace of 3 a day in 14.0 days of answers"
    penalised = GateContext(Bounds(0.6), Penalty(0.1, "poor"), 0.0, 15.0, pace=pace)
    verdicts = evaluate_gates(answer, penalised)
    assert (verdicts[1].bound, verdicts[1].asked, paced_bound(verdicts)) == (pytest.approx(0.8), 0.7, 0.7)
    assert silenced_by_penalty(verdicts)
    assert passes_but_for_confidence(verdicts)


def test_answers_refused_by_another_gate_do_not_count() -> None:
    context = GateContext(Bounds(0.9), NO_PENALTY, 0.0, 15.0)
    assert passes_but_for_confidence(evaluate_gates(Answer(0.1, 0.1, 0.8), context))
    assert not passes_but_for_confidence(evaluate_gates(Answer(0.1, 0.8, 0.1), context))
    passed = evaluate_gates(Answer(0.02, 0.02, 0.96), context)
    assert passes_but_for_confidence([*passed, max_signals_verdict(3, 2)])


def test_period_is_of_fourteen_whole_days() -> None:
    since, until = record_period(datetime(2024, 3, 20, 17, 30, tzinfo=UTC))
    assert (since, until) == (datetime(2024, 3, 6, tzinfo=UTC), datetime(2024, 3, 20, tzinfo=UTC))


def test_replay_forgets_answers_that_count_no_more_and_replaces_that_of_the_same_bar() -> None:
    ledger, start = Ledger(), datetime(2024, 3, 1, tzinfo=UTC)
    for hour in range(24 * 20):
        ledger.remember_pace(PacedAnswer(start + timedelta(hours=hour), 0.7, hour % 2 == 0, 0.6))
    now = start + timedelta(days=20)
    record = ledger.pace_record(now, now)
    assert (record.answers, len(record.confidences), record.most_in_a_day) == (14 * 24, 7 * 24, 24)
    assert len(ledger.paced) < 15 * 24 + 1
    last = start + timedelta(hours=24 * 20 - 1)
    ledger.remember_pace(PacedAnswer(last, 0.9, True, 0.65))
    assert ledger.pace_record(last, now).previous == 0.6
    assert ledger.pace_record(now, now).previous == 0.65
    copied = ledger.copy()
    ledger.remember_pace(PacedAnswer(now, 0.9, True, 0.65))
    assert len(copied.paced) == len(ledger.paced) - 1 or copied.paced != ledger.paced
