"""Gates: all are evaluated, a value equal to its bound passes, verdicts are recorded."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybrid_ml.signals.gates import (
    GATES,
    Answer,
    GateContext,
    as_record,
    evaluate_gates,
    max_signals_verdict,
    refused_by,
    silenced_by_penalty,
)
from hybrid_ml.signals.penalty import NO_PENALTY, Penalty
from hybrid_ml.signals.presets import PRESETS, Bounds

EVERY_GATE = ["direction", "confidence", "margin", "entropy", "freshness", "session"]
CERTAIN = Answer(0.03125, 0.03125, 0.9375)
A_TENTH = Penalty(0.1, "9 of 30 right")
PROBABILITIES = st.lists(st.floats(0.001, 1.0), min_size=3, max_size=3).map(
    lambda parts: [p / sum(parts) for p in parts]
)


def make_context(
    bounds: Bounds = PRESETS["balanced"],
    *,
    penalty: Penalty = NO_PENALTY,
    age: float = 0.0,
    oldest: float = 15.0,
    left: float | None = None,
) -> GateContext:
    return GateContext(
        bounds=bounds,
        penalty=penalty,
        bar_age_minutes=age,
        max_bar_age_minutes=oldest,
        minutes_to_close=left,
    )


def refusals(answer: Answer, context: GateContext) -> list[str]:
    return refused_by(evaluate_gates(answer, context))


def just_above(bound: float) -> float:
    return float(np.nextafter(bound, np.inf))


def just_below(bound: float) -> float:
    return float(np.nextafter(bound, -np.inf))


def test_confident_fresh_answer_passes_all_gates() -> None:
    verdicts = evaluate_gates(CERTAIN, make_context())
    assert [verdict.gate for verdict in verdicts] == EVERY_GATE
    assert len(verdicts) == len(GATES)
    assert refused_by(verdicts) == []


def test_all_gates_are_evaluated_after_a_refusal() -> None:
    verdicts = evaluate_gates(
        Answer(0.3125, 0.375, 0.3125),
        make_context(age=99.0, penalty=A_TENTH, left=9.0),
    )
    assert refused_by(verdicts) == EVERY_GATE
    assert [verdict.value for verdict in verdicts] == [
        None,
        0.375,
        0.0625,
        pytest.approx(1.0948, abs=1e-4),
        99.0,
        9.0,
    ]
    assert [verdict.bound for verdict in verdicts] == [None, pytest.approx(0.7), 0.2, 0.85, 9.0, 10.0]
    assert all(verdict.meaning for verdict in verdicts)


@pytest.mark.parametrize(
    ("answer", "passes"),
    [
        (Answer(0.9, 0.05, 0.05), True),
        (Answer(0.05, 0.9, 0.05), False),
        (Answer(0.05, 0.05, 0.9), True),
    ],
)
def test_flat_answer_is_refused_at_any_confidence(answer: Answer, passes: bool) -> None:
    assert refusals(answer, make_context()) == ([] if passes else ["direction"])


def test_confidence_equal_to_its_bound_passes() -> None:
    answer = Answer(0.25, 0.0625, 0.6875)
    for bound, refused in ((0.6875, []), (just_above(0.6875), ["confidence"])):
        assert refusals(answer, make_context(Bounds(min_confidence=bound))) == refused


def test_margin_equal_to_its_bound_passes() -> None:
    answer = Answer(0.25, 0.0625, 0.6875)
    for bound, refused in ((0.4375, []), (just_above(0.4375), ["margin"])):
        assert refusals(answer, make_context(Bounds(0.5, min_prob_margin=bound))) == refused


def test_entropy_equal_to_its_bound_passes() -> None:
    answer = Answer(0.25, 0.0625, 0.6875)
    for bound, refused in ((answer.entropy, []), (just_below(answer.entropy), ["entropy"])):
        assert refusals(answer, make_context(Bounds(0.5, max_entropy=bound))) == refused


@pytest.mark.parametrize(
    ("age", "refused"),
    [(0.0, []), (9.0, []), (just_above(9.0), ["freshness"]), (-0.1, ["freshness"]), (-301.0, ["freshness"])],
)
def test_bar_up_to_the_maximum_age_passes_and_one_of_the_future_does_not(age: float, refused: list[str]) -> None:
    assert refusals(CERTAIN, make_context(age=age)) == refused


@pytest.mark.parametrize(
    ("left", "refused"), [(None, []), (375.0, []), (10.0, []), (9.0, ["session"]), (0.0, ["session"])]
)
def test_session_that_ends_within_the_ten_minutes_gives_no_signal(left: float | None, refused: list[str]) -> None:
    assert refusals(CERTAIN, make_context(left=left)) == refused


def test_penalty_raises_the_confidence_bound_with_its_reason() -> None:
    answer = Answer(0.25, 0.0625, 0.6875)
    assert refusals(answer, make_context()) == []
    verdicts = evaluate_gates(answer, make_context(penalty=A_TENTH))
    assert refused_by(verdicts) == ["confidence"]
    confidence = verdicts[EVERY_GATE.index("confidence")]
    assert confidence.bound == pytest.approx(0.7)
    assert confidence.meaning == "top probability at least 0.700 (raised by 0.10: 9 of 30 right)"
    assert "raised" not in evaluate_gates(answer, make_context())[1].meaning


@given(bound=st.floats(0.0, 0.99), penalty=st.floats(0.0, 0.15))
def test_penalty_raises_the_bound_to_at_most_0_99(bound: float, penalty: float) -> None:
    verdict = evaluate_gates(CERTAIN, make_context(Bounds(bound), penalty=Penalty(penalty, "poor")))[1]
    assert verdict.bound is not None
    assert bound <= verdict.bound <= 0.99
    assert verdict.bound == pytest.approx(min(0.99, bound + penalty))
    assert verdict.asked == (bound if verdict.bound > bound else None)


@pytest.mark.parametrize(
    ("answer", "context", "suppressed"),
    [
        (Answer(0.25, 0.0625, 0.6875), make_context(penalty=A_TENTH), True),
        (Answer(0.25, 0.0625, 0.6875), make_context(Bounds(0.6875), penalty=A_TENTH), True),
        (Answer(0.25, 0.0625, 0.6875), make_context(Bounds(just_above(0.6875)), penalty=A_TENTH), False),
        (Answer(0.25, 0.0625, 0.6875), make_context(Bounds(0.7)), False),
        (Answer(0.25, 0.0625, 0.6875), make_context(Bounds(0.6, min_prob_margin=0.5), penalty=A_TENTH), False),
        (Answer(0.25, 0.0625, 0.6875), make_context(age=99.0, penalty=A_TENTH), False),
        (Answer(0.25, 0.6875, 0.0625), make_context(penalty=A_TENTH), False),
        (CERTAIN, make_context(penalty=A_TENTH), False),
    ],
    ids=[
        "suppressed",
        "at the bound",
        "below the bound without penalty",
        "no penalty",
        "margin too",
        "stale",
        "flat",
        "a signal",
    ],
)
def test_answer_refused_only_by_the_penalty_is_suppressed(
    answer: Answer, context: GateContext, suppressed: bool
) -> None:
    assert silenced_by_penalty(evaluate_gates(answer, context)) is suppressed


@given(probabilities=PROBABILITIES)
def test_answer_has_direction_confidence_margin_and_entropy(probabilities: list[float]) -> None:
    answer = Answer.of(np.array(probabilities))
    ordered = sorted(probabilities, reverse=True)
    assert answer.probabilities == tuple(probabilities)
    assert probabilities[answer.top] == answer.confidence == ordered[0]
    assert answer.direction == ["down", "flat", "up"][answer.top]
    assert answer.margin == ordered[0] - ordered[1]
    assert answer.entropy == pytest.approx(-sum(p * math.log(p) for p in probabilities))
    assert 0.0 <= answer.entropy <= math.log(3) + 1e-12


def test_certain_answer_has_zero_entropy() -> None:
    assert Answer(0.0, 0.0, 1.0).entropy == 0.0
    assert Answer(0.0, 0.0, 1.0).margin == 1.0


@given(probabilities=PROBABILITIES)
def test_looser_preset_passes_all_signals_of_a_stricter_one(probabilities: list[float]) -> None:
    answer = Answer(*probabilities)
    passed = [not refusals(answer, make_context(PRESETS[name])) for name in PRESETS]
    assert list(PRESETS) == ["conservative", "balanced", "aggressive", "very_aggressive"]
    assert passed == sorted(passed)


def test_nan_answer_is_refused() -> None:
    assert {"confidence", "margin"} <= set(refusals(Answer(math.nan, math.nan, math.nan), make_context()))


@pytest.mark.parametrize(("rank", "passed"), [(1, True), (5, True), (6, False)])
def test_rank_beyond_max_signals_is_refused(rank: int, passed: bool) -> None:
    verdict = max_signals_verdict(rank, 5)
    assert (verdict.gate, verdict.value, verdict.bound, verdict.passed) == ("max_signals", rank, 5, passed)


def test_verdicts_are_recorded_with_value_and_bound() -> None:
    record = as_record(evaluate_gates(CERTAIN, make_context()))[1]
    assert record == {
        "gate": "confidence",
        "value": 0.9375,
        "bound": 0.6,
        "passed": True,
        "meaning": "top probability at least 0.600",
        "asked": None,
        "paced": None,
    }
