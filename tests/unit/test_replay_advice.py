"""Advice on bounds: signals of a setting equal those of the gates, and chance is rarely taken for precision."""

import numpy as np
import pandas as pd
import pytest

from hybrid_ml.evaluation.threshold_search import FEWEST_SIGNALS, Advice, Half, advise
from hybrid_ml.market.labels import CLASSES
from hybrid_ml.signals.gates import Answer, GateContext, evaluate_gates, refused_by
from hybrid_ml.signals.penalty import NO_PENALTY
from hybrid_ml.signals.presets import PRESETS, Bounds
from tests.unit.test_replay_worth import answers

BALANCED = PRESETS["balanced"]


def replayed(count: int = 2_000, seed: int = 0) -> pd.DataFrame:
    """Calibrated answers at intervals of ten minutes that no other gate refuses."""
    frame = answers(count, seed).assign(refused_by="")
    return frame.assign(bar_time=pd.date_range(frame["bar_time"].iloc[0], periods=count, freq="10min"))


def get_advice(frame: pd.DataFrame, wanted_precision: float = 0.6, bounds: Bounds = BALANCED) -> Advice:
    found = advise(frame, bounds, wanted_precision=wanted_precision, fee_bps=3.0)
    assert found is not None
    return found


@pytest.mark.parametrize("half_index", [0, 1])
def test_signals_of_a_setting_equal_those_of_the_gates(half_index: int) -> None:
    frame = replayed()
    advice = get_advice(frame)
    split = pd.Timestamp(advice.split_at)
    early = frame["bar_time"] < split - pd.Timedelta(minutes=10)
    part = frame[early] if half_index == 0 else frame[frame["bar_time"] >= split]
    for setting in advice.settings[:: len(advice.settings) // 12]:
        bounds = Bounds(setting.min_confidence, setting.min_prob_margin, setting.max_entropy)
        context = GateContext(bounds, NO_PENALTY, 0.0, 15.0)
        probabilities = part[[f"p_{name}" for name in CLASSES]].to_numpy()
        is_signal = np.array([not refused_by(evaluate_gates(Answer.of(row), context)) for row in probabilities])
        half = (setting.found, setting.shown)[half_index]
        assert half.count == is_signal.sum()
        assert half.coverage == pytest.approx(is_signal.mean())
        if half.count:
            text = probabilities[is_signal].argmax(axis=1)
            right = np.array(CLASSES)[text] == part["outcome"][is_signal]
            returns_bps = np.where(text == 2, 1, -1) * part["forward_return"][is_signal] * 1e4
            assert half.precision == pytest.approx(right.mean())
            assert half.mean_return_bps == pytest.approx(returns_bps.mean())
            assert half.mean_return_after_fee_bps == pytest.approx(returns_bps.mean() - 3.0)


def test_answer_refused_by_another_gate_is_never_a_signal() -> None:
    frame = replayed()
    none = get_advice(frame.assign(refused_by="margin,recent_accuracy"))
    assert sum(setting.found.count + setting.shown.count for setting in none.settings) == 0
    assert none.verdict.startswith("No setting had 20 separate signals")
    assert (
        max(setting.found.count for setting in get_advice(frame.assign(refused_by="confidence,margin")).settings) > 500
    )


def test_lasting_skill_is_advised_and_confirmed() -> None:
    advice = get_advice(replayed(8_000), wanted_precision=0.75)
    assert advice.advised is not None
    assert advice.advised.shown.precision == pytest.approx(advice.advised.found.precision, abs=0.05)
    reaching = [setting for setting in advice.settings if setting.surely is not None and setting.surely >= 0.75]
    assert advice.advised.found.count == max(setting.found.count for setting in reaching) > 100
    assert "confirmed" in advice.verdict


def test_second_half_does_not_choose_and_can_reject() -> None:
    frame = replayed(8_000)
    shuffled = frame.copy()
    later = frame.index >= 4_000
    shuffled.loc[later, "outcome"] = np.roll(shuffled.loc[later, "outcome"].to_numpy(), 1)
    expected, not_confirmed = get_advice(frame, 0.75), get_advice(shuffled, 0.75)
    assert expected.advised is not None
    assert not_confirmed.advised is not None
    assert not_confirmed.advised.found == expected.advised.found
    assert not_confirmed.advised.shown != expected.advised.shown
    assert not_confirmed.verdict.endswith("not confirmed. Do not rely on it.")


def test_chance_is_rarely_advised() -> None:
    """Random directions: the best of 768 settings often reaches 0.6, but is rarely advised."""
    by_chance = advised_settings = 0
    for seed in range(10):
        random = np.random.default_rng(seed)
        frame = replayed(500, seed)
        frame = frame.assign(outcome=np.array(["down", "up"])[random.integers(0, 2, len(frame))])
        advice = get_advice(frame)
        precise = [
            setting.found.precision or 0.0 for setting in advice.settings if setting.found.separate >= FEWEST_SIGNALS
        ]
        by_chance += max(precise) >= 0.6
        advised_settings += advice.advised is not None
    assert by_chance > 2
    assert advised_settings <= 1


def loosest(frame: pd.DataFrame) -> Half:
    """The result of the loosest setting in the first half."""
    found = [setting.found for setting in get_advice(frame).settings]
    return max(found, key=lambda half: half.count)


def test_overlapping_signals_count_once() -> None:
    frame = replayed(2_000)
    separate = loosest(frame)
    frame["bar_time"] = pd.date_range(frame["bar_time"].iloc[0], periods=len(frame), freq="1min")
    overlapping = loosest(frame)
    assert separate.separate == separate.count
    assert overlapping.separate <= 101 < overlapping.count == pytest.approx(separate.count, rel=0.05)
    assert overlapping.interval is not None
    assert separate.interval is not None
    assert overlapping.interval[1] - overlapping.interval[0] > 2 * (separate.interval[1] - separate.interval[0])


def test_requested_bounds_and_presets_are_always_shown() -> None:
    shown = get_advice(replayed(), bounds=Bounds(0.47, 0.11, 0.99)).shortened().settings
    assert {setting.name for setting in shown} >= {*PRESETS, "as requested"}
    assert len(shown) < 25


def test_answers_without_outcomes_give_no_advice() -> None:
    assert advise(replayed(50).assign(outcome=None), BALANCED, wanted_precision=0.6, fee_bps=0.0) is None
