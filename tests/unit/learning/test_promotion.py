"""Promotion: only a challenger that is better on rows that neither model has seen."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from sklearn.metrics import log_loss

from hybrid_ml.learning.comparison import compare
from hybrid_ml.learning.model import Base, HybridModel
from hybrid_ml.learning.promotion import CAUTION, MINIMUM_JUDGING_ROWS, base_log_losses, decide
from hybrid_ml.learning.rows import Rows
from tests.unit.conftest import Trained


def changed(model: HybridModel, **fields: object) -> HybridModel:
    base: Base = replace(model.base, version=f"{model.base.version}-changed", **fields)
    return HybridModel(base)


@pytest.fixture
def inverted(model: HybridModel) -> HybridModel:
    """A model with inverted leaf values, which is worse than the trained one."""
    return changed(model, leaf_values=-model.base.leaf_values)


def loss_on(model: HybridModel, rows: Rows, threshold: float) -> float:
    return float(log_loss(rows.labels(threshold), model.base_probabilities(rows.features), labels=[0, 1, 2]))


def test_challenger_without_champion_is_promoted(inverted: HybridModel, trained: Trained) -> None:
    promotion = decide(inverted, None, trained.hold_out)
    assert promotion.promoted
    assert promotion.reason == "there was no champion"
    assert (promotion.of_the_past, promotion.challenger_log_loss, promotion.comparison) == (False, None, None)
    assert promotion.champion is None
    assert promotion.is_new_champion(inverted.version)


def test_worse_challenger_is_rejected(model: HybridModel, inverted: HybridModel, trained: Trained) -> None:
    promotion = decide(inverted, model, trained.hold_out)
    assert not promotion.promoted
    assert not promotion.of_the_past
    threshold = model.base.label_threshold
    assert promotion.challenger_log_loss == pytest.approx(loss_on(inverted, trained.hold_out, threshold))
    assert promotion.champion == model.base.version
    assert promotion.comparison is not None
    champion_loss = promotion.comparison.gain + promotion.challenger_log_loss
    assert champion_loss == pytest.approx(loss_on(model, trained.hold_out, threshold))
    assert promotion.comparison.rows == len(trained.hold_out) == 600
    assert "600 rows" in promotion.reason


def test_better_challenger_is_promoted(model: HybridModel, inverted: HybridModel, trained: Trained) -> None:
    promotion = decide(model, inverted, trained.hold_out)
    assert promotion.promoted
    assert promotion.comparison is not None
    assert promotion.comparison.gain > CAUTION * promotion.comparison.standard_error > 0


def test_equal_challenger_is_rejected(model: HybridModel, trained: Trained) -> None:
    promotion = decide(model, changed(model), trained.hold_out)
    assert not promotion.promoted
    assert promotion.comparison is not None
    assert promotion.comparison.gain == 0


def test_gain_below_the_margin_is_rejected(model: HybridModel, trained: Trained) -> None:
    """A champion slightly worse than the challenger: a small positive gain is not enough."""
    rows = trained.hold_out
    labels = rows.labels(model.base.label_threshold)
    noise = np.random.default_rng(3).normal(0.0, 0.02, model.base.leaf_values.shape)
    for share in (0.001, -0.001, 0.01, -0.01, 0.1, -0.1):
        champion = changed(model, leaf_values=model.base.leaf_values * (1 + share) + noise * abs(share))
        comparison = compare(base_log_losses(champion, rows, labels), base_log_losses(model, rows, labels))
        expected = comparison.gain > CAUTION * comparison.standard_error
        assert decide(model, champion, rows).promoted is expected


def test_champion_with_later_bars_is_kept(model: HybridModel, inverted: HybridModel, trained: Trained) -> None:
    later = model.base.data_until + timedelta(minutes=1)
    promotion = decide(model, changed(inverted, data_until=later), trained.hold_out)
    assert not promotion.promoted
    assert promotion.of_the_past
    assert f"seen bars until {later:%Y-%m-%d %H:%M}" in promotion.reason
    assert promotion.comparison is None


@pytest.mark.parametrize(
    ("unseen", "compared"), [(MINIMUM_JUDGING_ROWS, True), (MINIMUM_JUDGING_ROWS - 1, False), (0, False)]
)
def test_too_few_unseen_rows_prevent_promotion(
    model: HybridModel, trained: Trained, unseen: int, compared: bool
) -> None:
    """The champion is extremely overconfident, so that only the number of rows can prevent promotion."""
    hold_out = trained.hold_out
    overconfident = 50 * model.base.leaf_values
    data_cutoff = hold_out.times[len(hold_out) - unseen - 1].to_pydatetime() + timedelta(minutes=1)
    promotion = decide(model, changed(model, leaf_values=overconfident, trained_until=data_cutoff), hold_out)
    assert promotion.promoted is compared
    assert (promotion.comparison.rows if promotion.comparison else 0) == (unseen if compared else 0)
    if not compared:
        assert promotion.reason == f"unseen by both: only {unseen} rows, fewer than 200"


def test_training_rows_of_the_champion_are_not_compared(
    model: HybridModel, inverted: HybridModel, trained: Trained
) -> None:
    hold_out = trained.hold_out
    champion = changed(inverted, trained_until=hold_out.times[250].to_pydatetime())
    promotion = decide(model, champion, hold_out)
    assert promotion.comparison is not None
    assert promotion.comparison.rows == 350
    assert promotion.challenger_log_loss == pytest.approx(
        loss_on(model, hold_out.last(350), model.base.label_threshold)
    )


def test_comparison_uses_the_threshold_of_the_challenger(
    model: HybridModel, inverted: HybridModel, trained: Trained
) -> None:
    other_threshold = changed(inverted, label_threshold=inverted.base.label_threshold * 5)
    first, second = (decide(model, champion, trained.hold_out) for champion in (inverted, other_threshold))
    assert first.comparison == second.comparison


def test_adapters_do_not_affect_the_comparison(
    model: HybridModel, adapted: HybridModel, inverted: HybridModel, trained: Trained
) -> None:
    assert adapted.adapter is not None
    broken_adapter = replace(adapted.adapter, leaf_values=np.full_like(adapted.base.leaf_values, 9.0, dtype=np.float32))
    expected = decide(model, inverted, trained.hold_out)
    assert (
        decide(model.with_adapter(broken_adapter), inverted.with_adapter(broken_adapter), trained.hold_out) == expected
    )


def test_champion_trained_again_stays_champion(model: HybridModel, trained: Trained) -> None:
    promotion = decide(model, HybridModel(replace(model.base)), trained.hold_out)
    assert promotion.promoted
    assert promotion.reason == "it is the champion already"
    assert not promotion.is_new_champion(model.version)
