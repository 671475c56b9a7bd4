"""Contributions: those of LightGBM, complete, in groups that cover every feature, for base and adapter alike."""

import numpy as np
import pytest

from hybrid_ml.learning.contributions import (
    CLOCK,
    GROUPS,
    LEADERS_MOVES,
    OWN_MOVES,
    VOLATILITY,
    VOLUME,
    contributions,
    group_of,
)
from hybrid_ml.learning.model import HybridModel
from hybrid_ml.learning.rows import Window
from hybrid_ml.market.features import FEATURE_NAMES


def test_every_feature_is_in_the_group_of_its_kind() -> None:
    groups = {name: group_of(name) for name in FEATURE_NAMES}
    assert set(groups.values()) >= {OWN_MOVES, VOLATILITY, VOLUME, CLOCK}
    assert {groups[name] for name in ("return_5", "zscore_60", "stochastic_15", "efficiency_10")} == {OWN_MOVES}
    assert {groups[name] for name in ("skewness_60", "body_share", "close_in_bar")} == {OWN_MOVES}
    assert {groups[name] for name in ("log_volatility_5", "volatility_ratio_5_60", "range_1")} == {VOLATILITY}
    assert {groups[name] for name in ("volume_zscore_60", "signed_volume_15", "traded_share_30")} == {VOLUME}
    assert {groups[name] for name in ("day_sine", "weekday", "session_bars")} == {CLOCK}
    for name in ("leader1_return_5", "leader2_gap_5", "leader3_log_volatility_ratio_60", "leader1_volume_zscore_60"):
        assert group_of(name) == LEADERS_MOVES


def test_groups_and_the_mean_of_the_trees_add_up_to_the_log_odds(model: HybridModel, market: Window) -> None:
    for place in (-1, -400, -900):
        row = market.rows.features[place : len(market.rows) + place + 1][:1]
        probabilities = model.probabilities(row)[0]
        for answered in range(3):
            others = np.delete(probabilities, answered)
            expected = np.log(probabilities[answered] / np.sqrt(others.prod()))
            groups = contributions(model, row, answered)
            means = np.asarray(model.base.booster.predict(row, pred_contrib=True)).reshape(3, -1)[:, -1]
            constant = (means[answered] - np.delete(means, answered).mean()) / model.base.temperature
            assert sum(group.towards_nats for group in groups) + constant == pytest.approx(expected, abs=1e-9)
            assert {group.group for group in groups} == set(GROUPS)


def test_largest_group_comes_first_and_its_features_work_its_way(model: HybridModel, market: Window) -> None:
    groups = contributions(model, market.rows.latest().features, 2)
    sizes = [abs(group.towards_nats) for group in groups]
    assert sizes == sorted(sizes, reverse=True)
    assert groups[0].features
    assert all(group_of(name) == group.group for group in groups for name in group.features)


def test_removing_the_strongest_feature_moves_the_answer_away(model: HybridModel, market: Window) -> None:
    """What is said to speak for an answer does: without it the answered class is less probable, on most rows."""
    fewer = 0
    rows = market.rows.features[-600::20]
    for row in rows:
        answered = int(model.probabilities(row[None])[0].argmax())
        first = next(group for group in contributions(model, row[None], answered) if group.towards_nats > 0)
        without = row.copy()
        without[[FEATURE_NAMES.index(name) for name in first.features]] = np.nan
        fewer += model.probabilities(without[None])[0, answered] < model.probabilities(row[None])[0, answered]
    assert fewer > 0.8 * len(rows)


def test_adapter_gives_contributions_of_its_base(model: HybridModel, adapted: HybridModel, market: Window) -> None:
    row = market.rows.latest().features
    assert adapted.adapted
    assert contributions(adapted, row, 0) == contributions(model, row, 0)


def test_model_without_node_counts_answers_the_same_and_is_refused_here(
    model: HybridModel, without_counts: HybridModel, market: Window
) -> None:
    """LightGBM's contributions of it are NaN."""
    row = market.rows.latest().features
    assert model.base.has_node_counts
    assert not without_counts.base.has_node_counts
    np.testing.assert_array_equal(without_counts.probabilities(row), model.probabilities(row), strict=True)
    assert np.isnan(np.asarray(without_counts.base.booster.predict(row, pred_contrib=True))).any()
    with pytest.raises(ValueError, match="no node counts"):
        contributions(without_counts, row, 0)
