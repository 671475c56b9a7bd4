"""Reasons: the groups that weigh most, for or against the answer, in words; or why there are none."""

import json
import re

import numpy as np
import pytest

from hybrid_ml.learning.contributions import LEADERS_MOVES, OWN_MOVES, VOLUME, GroupContribution
from hybrid_ml.learning.model import HybridModel
from hybrid_ml.learning.rows import Window
from hybrid_ml.signals import reasons as module
from hybrid_ml.signals.feature_words import Series
from hybrid_ml.signals.gates import Answer
from hybrid_ml.signals.reasons import (
    NO_NODE_COUNTS,
    NO_WEIGHT,
    Explanation,
    Reason,
    as_reasons_record,
    explain,
    format_reason,
)


def explained(model: HybridModel, market: Window, features: np.ndarray | None = None) -> Explanation:
    row = market.rows.latest().features if features is None else features
    answer = Answer.of(model.probabilities(row)[0])
    return explain(model, row, answer, Series("DEMO", market.grid))


def test_answer_has_up_to_three_reasons_the_strongest_first(model: HybridModel, market: Window) -> None:
    found = explained(model, market)
    assert 1 <= len(found.reasons) <= 3
    assert not found.problem
    sizes = [abs(reason.towards_nats) for reason in found.reasons]
    assert sizes == sorted(sizes, reverse=True)
    assert len({reason.group for reason in found.reasons}) == len(found.reasons)
    assert found == explained(model, market)


def test_model_without_node_counts_says_so(without_counts: HybridModel, market: Window) -> None:
    assert explained(without_counts, market) == Explanation(problem=NO_NODE_COUNTS)


def test_groups_without_weight_are_no_reasons(
    model: HybridModel, market: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    weak = [GroupContribution(VOLUME, 0.004, ("volume_ratio_5_60",)), GroupContribution(OWN_MOVES, 0.0, ())]
    monkeypatch.setattr(module, "contributions", lambda *_: weak)
    assert explained(model, market) == Explanation(problem=NO_WEIGHT)


def test_words_are_of_the_strongest_feature_that_has_a_value(
    model: HybridModel, market: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = market.rows.latest().features.copy()
    names = model.base.feature_names
    row[0, names.index("return_5")] = np.nan
    groups = [
        GroupContribution(OWN_MOVES, -0.2, ("return_5", "return_10")),
        GroupContribution(VOLUME, 0.1, ("volume_ratio_5_60",)),
        GroupContribution(LEADERS_MOVES, 0.05, ("leader1_gap_5",)),  # its bars are not there
    ]
    monkeypatch.setattr(module, "contributions", lambda *_: groups)
    found = explained(model, market, row).reasons
    assert [reason.feature for reason in found] == ["return_10", "volume_ratio_5_60", "leader1_gap_5"]
    assert [reason.is_for for reason in found] == [False, True, True]
    assert re.fullmatch(r"against UP: it (rose|fell) \d.\d+ % in 10 minutes", format_reason(found[0], "up"))
    assert format_reason(found[1], "down").startswith("for DOWN: volume of the last 5 minutes is ")
    assert found[2].words == "its leaders' moves, which are not known now"


def test_record_for_the_ledger_is_plain_json() -> None:
    record = as_reasons_record([Reason(VOLUME, 0.25, "volume_ratio_5_60", "words")])
    assert json.loads(json.dumps(record)) == [
        {"group": "volume", "towards_nats": 0.25, "feature": "volume_ratio_5_60", "words": "words"}
    ]
