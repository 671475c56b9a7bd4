"""Gates: every one evaluated, its bound included, its verdict kept."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybrid_ml.learning.evaluation import RecentRecord
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

EVERY_GATE = ["direction", "confidence", "margin", "entropy", "freshness", "recent_accuracy"]
SURE = Answer(0.03125, 0.03125, 0.9375)
UNKNOWN = RecentRecord(0, None, None)
A_TENTH = Penalty(0.1, "9 of 30 right")
CHANCES = st.lists(st.floats(0.001, 1.0), min_size=3, max_size=3).map(lambda parts: [p / sum(parts) for p in parts])


def around(
    bounds: Bounds = PRESETS["balanced"],
    *,
    penalty: Penalty = NO_PENALTY,
    recent: RecentRecord = UNKNOWN,
    age: float = 0.0,
    oldest: float = 15.0,
) -> GateContext:
    return GateContext(bounds=bounds, penalty=penalty, recent=recent, bar_age_minutes=age, max_bar_age_minutes=oldest)


def refusals(answer: Answer, circumstances: GateContext) -> list[str]:
    return refused_by(evaluate_gates(answer, circumstances))


def just_above(bound: float) -> float:
    return float(np.nextafter(bound, np.inf))


def just_below(bound: float) -> float:
    return float(np.nextafter(bound, -np.inf))


def test_a_sure_fresh_answer_passes_every_gate() -> None:
    verdicts = evaluate_gates(SURE, around())
    assert [verdict.gate for verdict in verdicts] == EVERY_GATE
    assert len(verdicts) == len(GATES)
    assert refused_by(verdicts) == []


def test_every_gate_is_evaluated_even_after_a_refusal() -> None:
    verdicts = evaluate_gates(
        Answer(0.3125, 0.375, 0.3125), around(age=99.0, recent=RecentRecord(200, 0.1, 0.5), penalty=A_TENTH)
    )
    assert refused_by(verdicts) == EVERY_GATE
    assert [verdict.value for verdict in verdicts] == [None, 0.375, 0.0625, pytest.approx(1.0948, abs=1e-4), 99.0, 0.1]
    assert [verdict.bound for verdict in verdicts] == [None, pytest.approx(0.7), 0.2, 0.85, 9.0, 0.45]
    assert all(verdict.meaning for verdict in verdicts)


@pytest.mark.parametrize(
    ("answer", "passes"),
    [
        (Answer(0.9, 0.05, 0.05), True),
        (Answer(0.05, 0.9, 0.05), False),
        (Answer(0.05, 0.05, 0.9), True),
    ],
)
def test_a_flat_answer_is_refused_however_sure(answer: Answer, passes: bool) -> None:
    assert refusals(answer, around()) == ([] if passes else ["direction"])


def test_confidence_at_its_bound_passes() -> None:
    answer = Answer(0.25, 0.0625, 0.6875)
    for bound, refused in ((0.6875, []), (just_above(0.6875), ["confidence"])):
        assert refusals(answer, around(Bounds(min_confidence=bound))) == refused


def test_margin_at_its_bound_passes() -> None:
    answer = Answer(0.25, 0.0625, 0.6875)
    for bound, refused in ((0.4375, []), (just_above(0.4375), ["margin"])):
        assert refusals(answer, around(Bounds(0.5, min_prob_margin=bound))) == refused


def test_entropy_at_its_bound_passes() -> None:
    answer = Answer(0.25, 0.0625, 0.6875)
    for bound, refused in ((answer.entropy, []), (just_below(answer.entropy), ["entropy"])):
        assert refusals(answer, around(Bounds(0.5, max_entropy=bound))) == refused


@pytest.mark.parametrize(("age", "refused"), [(0.0, []), (9.0, []), (just_above(9.0), ["freshness"])])
def test_a_bar_as_old_as_allowed_passes(age: float, refused: list[str]) -> None:
    assert refusals(SURE, around(age=age)) == refused


@pytest.mark.parametrize(
    ("recent", "refused"),
    [
        (RecentRecord(100, 0.45, 0.5), []),
        (RecentRecord(100, just_below(0.45), 0.5), ["recent_accuracy"]),
        (RecentRecord(99, 0.0, 0.5), []),
        (UNKNOWN, []),
    ],
)
def test_a_model_that_is_known_to_be_poor_gives_no_signal(recent: RecentRecord, refused: list[str]) -> None:
    assert refusals(SURE, around(recent=recent)) == refused


def test_a_penalty_raises_the_bound_and_says_so() -> None:
    answer = Answer(0.25, 0.0625, 0.6875)
    assert refusals(answer, around()) == []
    verdicts = evaluate_gates(answer, around(penalty=A_TENTH))
    assert refused_by(verdicts) == ["confidence"]
    confidence = verdicts[EVERY_GATE.index("confidence")]
    assert confidence.bound == pytest.approx(0.7)
    assert confidence.meaning == "top probability at least 0.700 (raised by 0.10: 9 of 30 right)"
    assert "raised" not in evaluate_gates(answer, around())[1].meaning


@given(stated=st.floats(0.0, 0.99), penalty=st.floats(0.0, 0.15))
def test_a_penalty_never_lowers_the_bound_nor_puts_it_out_of_reach(stated: float, penalty: float) -> None:
    verdict = evaluate_gates(SURE, around(Bounds(stated), penalty=Penalty(penalty, "poor")))[1]
    assert verdict.bound is not None
    assert stated <= verdict.bound <= 0.99
    assert verdict.bound == pytest.approx(min(0.99, stated + penalty))
    assert verdict.asked == (stated if verdict.bound > stated else None)


@pytest.mark.parametrize(
    ("answer", "circumstances", "silenced"),
    [
        (Answer(0.25, 0.0625, 0.6875), around(penalty=A_TENTH), True),
        (Answer(0.25, 0.0625, 0.6875), around(Bounds(0.6875), penalty=A_TENTH), True),
        (Answer(0.25, 0.0625, 0.6875), around(Bounds(just_above(0.6875)), penalty=A_TENTH), False),
        (Answer(0.25, 0.0625, 0.6875), around(Bounds(0.7)), False),
        (Answer(0.25, 0.0625, 0.6875), around(Bounds(0.6, min_prob_margin=0.5), penalty=A_TENTH), False),
        (Answer(0.25, 0.0625, 0.6875), around(age=99.0, penalty=A_TENTH), False),
        (Answer(0.25, 0.6875, 0.0625), around(penalty=A_TENTH), False),
        (SURE, around(penalty=A_TENTH), False),
    ],
    ids=["silenced", "at the bound", "under it anyway", "no penalty", "margin too", "stale", "flat", "a signal"],
)
def test_silenced_is_what_only_the_penalty_refuses(answer: Answer, circumstances: GateContext, silenced: bool) -> None:
    assert silenced_by_penalty(evaluate_gates(answer, circumstances)) is silenced


@given(chances=CHANCES)
def test_an_answer_knows_its_class_lead_and_spread(chances: list[float]) -> None:
    answer = Answer.of(np.array(chances))
    ordered = sorted(chances, reverse=True)
    assert answer.probabilities == tuple(chances)
    assert chances[answer.top] == answer.confidence == ordered[0]
    assert answer.direction == ["down", "flat", "up"][answer.top]
    assert answer.margin == ordered[0] - ordered[1]
    assert answer.entropy == pytest.approx(-sum(p * math.log(p) for p in chances))
    assert 0.0 <= answer.entropy <= math.log(3) + 1e-12


def test_a_certain_answer_has_no_entropy() -> None:
    assert Answer(0.0, 0.0, 1.0).entropy == 0.0
    assert Answer(0.0, 0.0, 1.0).margin == 1.0


@given(chances=CHANCES)
def test_a_looser_preset_refuses_nothing_that_a_stricter_one_lets_pass(chances: list[float]) -> None:
    answer = Answer(*chances)
    passed = [not refusals(answer, around(PRESETS[name])) for name in PRESETS]
    assert list(PRESETS) == ["conservative", "balanced", "aggressive", "very_aggressive"]
    assert passed == sorted(passed)


def test_an_answer_that_is_no_number_is_refused() -> None:
    assert {"confidence", "margin"} <= set(refusals(Answer(math.nan, math.nan, math.nan), around()))


@pytest.mark.parametrize(("rank", "passed"), [(1, True), (5, True), (6, False)])
def test_only_so_many_of_the_surest_may_leave(rank: int, passed: bool) -> None:
    verdict = max_signals_verdict(rank, 5)
    assert (verdict.gate, verdict.value, verdict.bound, verdict.passed) == ("max_signals", rank, 5, passed)


def test_verdicts_are_recorded_with_value_and_bound() -> None:
    record = as_record(evaluate_gates(SURE, around()))[1]
    assert record == {
        "gate": "confidence",
        "value": 0.9375,
        "bound": 0.6,
        "passed": True,
        "meaning": "top probability at least 0.600",
        "asked": None,
    }
