"""Who serves: only a challenger that is better on rows neither has seen."""

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
def contrary(model: HybridModel) -> HybridModel:
    """A model that says the opposite of the trained one, and is therefore worse."""
    return changed(model, leaf_values=-model.base.leaf_values)


def loss_on(model: HybridModel, rows: Rows, threshold: float) -> float:
    return float(log_loss(rows.labels(threshold), model.base_probabilities(rows.features), labels=[0, 1, 2]))


def test_without_a_champion_the_challenger_serves(contrary: HybridModel, trained: Trained) -> None:
    promotion = decide(contrary, None, trained.hold_out)
    assert promotion.promoted
    assert promotion.reason == "there was no champion"
    assert (promotion.of_the_past, promotion.challenger_log_loss, promotion.comparison) == (False, None, None)
    assert promotion.champion is None


def test_a_worse_challenger_is_rejected(model: HybridModel, contrary: HybridModel, trained: Trained) -> None:
    promotion = decide(contrary, model, trained.hold_out)
    assert not promotion.promoted
    assert not promotion.of_the_past
    threshold = model.base.label_threshold
    assert promotion.challenger_log_loss == pytest.approx(loss_on(contrary, trained.hold_out, threshold))
    assert promotion.champion == model.base.version
    assert promotion.comparison is not None
    champions = promotion.comparison.gain + promotion.challenger_log_loss
    assert champions == pytest.approx(loss_on(model, trained.hold_out, threshold))
    assert promotion.comparison.rows == len(trained.hold_out) == 600
    assert "600 rows" in promotion.reason


def test_a_better_challenger_is_promoted(model: HybridModel, contrary: HybridModel, trained: Trained) -> None:
    promotion = decide(model, contrary, trained.hold_out)
    assert promotion.promoted
    assert promotion.comparison is not None
    assert promotion.comparison.gain > CAUTION * promotion.comparison.standard_error > 0


def test_a_challenger_that_is_only_as_good_does_not_replace_the_champion(model: HybridModel, trained: Trained) -> None:
    promotion = decide(model, changed(model), trained.hold_out)
    assert not promotion.promoted
    assert promotion.comparison is not None
    assert promotion.comparison.gain == 0


def test_a_gain_within_the_caution_does_not_replace_the_champion(model: HybridModel, trained: Trained) -> None:
    """A champion a hair worse than the challenger: the mean gain is positive, and not enough."""
    rows = trained.hold_out
    labels = rows.labels(model.base.label_threshold)
    noise = np.random.default_rng(3).normal(0.0, 0.02, model.base.leaf_values.shape)
    for share in (0.001, -0.001, 0.01, -0.01, 0.1, -0.1):
        champion = changed(model, leaf_values=model.base.leaf_values * (1 + share) + noise * abs(share))
        comparison = compare(base_log_losses(champion, rows, labels), base_log_losses(model, rows, labels))
        expected = comparison.gain > CAUTION * comparison.standard_error
        assert decide(model, champion, rows).promoted is expected


def test_a_champion_that_has_seen_later_bars_keeps_serving(
    model: HybridModel, contrary: HybridModel, trained: Trained
) -> None:
    later = model.base.data_until + timedelta(minutes=1)
    promotion = decide(model, changed(contrary, data_until=later), trained.hold_out)
    assert not promotion.promoted
    assert promotion.of_the_past
    assert f"seen bars until {later:%Y-%m-%d %H:%M}" in promotion.reason
    assert promotion.comparison is None


@pytest.mark.parametrize(
    ("unseen", "judged"), [(MINIMUM_JUDGING_ROWS, True), (MINIMUM_JUDGING_ROWS - 1, False), (0, False)]
)
def test_too_few_rows_unseen_by_both_promote_nobody(
    model: HybridModel, trained: Trained, unseen: int, judged: bool
) -> None:
    """The champion is hopelessly sure of itself, so that only the number of rows can refuse the challenger."""
    hold_out = trained.hold_out
    hopeless = 50 * model.base.leaf_values
    data_cutoff = hold_out.times[len(hold_out) - unseen - 1].to_pydatetime() + timedelta(minutes=1)
    promotion = decide(model, changed(model, leaf_values=hopeless, trained_until=data_cutoff), hold_out)
    assert promotion.promoted is judged
    assert (promotion.comparison.rows if promotion.comparison else 0) == (unseen if judged else 0)
    if not judged:
        assert promotion.reason == f"unseen by both: only {unseen} rows, fewer than 200"


def test_rows_the_champion_was_trained_on_do_not_judge(
    model: HybridModel, contrary: HybridModel, trained: Trained
) -> None:
    hold_out = trained.hold_out
    champion = changed(contrary, trained_until=hold_out.times[250].to_pydatetime())
    promotion = decide(model, champion, hold_out)
    assert promotion.comparison is not None
    assert promotion.comparison.rows == 350
    assert promotion.challenger_log_loss == pytest.approx(
        loss_on(model, hold_out.last(350), model.base.label_threshold)
    )


def test_both_answer_the_challengers_question(model: HybridModel, contrary: HybridModel, trained: Trained) -> None:
    other_question = changed(contrary, label_threshold=contrary.base.label_threshold * 5)
    first, second = (decide(model, champion, trained.hold_out) for champion in (contrary, other_question))
    assert first.comparison == second.comparison


def test_bases_are_compared_without_their_adapters(
    model: HybridModel, adapted: HybridModel, contrary: HybridModel, trained: Trained
) -> None:
    assert adapted.adapter is not None
    ruined = replace(adapted.adapter, leaf_values=np.full_like(adapted.base.leaf_values, 9.0, dtype=np.float32))
    plain = decide(model, contrary, trained.hold_out)
    assert decide(model.with_adapter(ruined), contrary.with_adapter(ruined), trained.hold_out) == plain


def test_the_champion_trained_again_stays_champion(model: HybridModel, trained: Trained) -> None:
    promotion = decide(model, HybridModel(replace(model.base)), trained.hold_out)
    assert promotion.promoted
    assert promotion.reason == "it is the champion already"
