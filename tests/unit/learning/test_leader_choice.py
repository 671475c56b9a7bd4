"""The choice of leaders on simulated markets of which one follows another."""

from dataclasses import replace

import numpy as np
import pytest

from hybrid_ml.learning.leader_choice import CHOSEN_AT_MOST, choose_leaders
from hybrid_ml.learning.rows import Rows, add_leaders, make_window
from hybrid_ml.learning.training import train_base
from hybrid_ml.market.bars import to_grid
from hybrid_ml.market.leaders import make_leader_bars
from tests.simulated import following_bars, moment, simulated_bars

MINUTES = 21_000
GAP = 30


@pytest.fixture(scope="module")
def rows() -> Rows:
    """Labelled rows of a market that follows FIRST, and SECOND a little; not OTHER."""
    bars = {name: simulated_bars(MINUTES, seed=seed) for name, seed in (("FIRST", 21), ("SECOND", 22), ("OTHER", 23))}
    own = following_bars(bars["FIRST"], seed=24)
    echo = following_bars(bars["SECOND"], seed=25, share=0.4)
    ratio = (echo["close"] / 100).reindex(range(len(own))).ffill().to_numpy()
    for column in ("open", "high", "low", "close"):
        own[column] = own[column].to_numpy() * ratio
    own["open"] = own["close"].shift(1, fill_value=100.0)
    own["high"], own["low"] = own[["open", "close"]].max(axis=1) * 1.0001, own[["open", "close"]].min(axis=1) * 0.9999
    leaders = {name: make_leader_bars(to_grid(frame, GAP)) for name, frame in bars.items()}
    return add_leaders(make_window(own, GAP).rows, leaders).labelled()


def test_markets_that_lead_are_chosen_the_strongest_first(rows: Rows) -> None:
    chosen = choose_leaders(rows, ["OTHER", "SECOND", "FIRST"])
    assert [leader.symbol for leader in chosen] == ["FIRST", "SECOND"]
    assert chosen[0].gain > chosen[1].gain > 0
    assert all(leader.t > 2 for leader in chosen)
    assert "FIRST (saves" in str(chosen[0])


def test_no_more_are_chosen_than_wanted(rows: Rows) -> None:
    assert CHOSEN_AT_MOST == 2
    assert [leader.symbol for leader in choose_leaders(rows, ["FIRST", "SECOND"], at_most=1)] == ["FIRST"]
    assert choose_leaders(rows, ["FIRST"], at_most=0) == []


def test_market_that_does_not_lead_is_not_chosen(rows: Rows) -> None:
    assert choose_leaders(rows, ["OTHER"]) == []


def test_candidates_without_bars_are_left_out(rows: Rows) -> None:
    mostly_absent = rows.leader_features["FIRST"].copy()
    mostly_absent[: len(rows) * 3 // 4] = np.nan
    rare = replace(rows, leader_features={"FIRST": mostly_absent})
    assert choose_leaders(rare, ["FIRST", "UNKNOWN"]) == []


def test_nothing_is_chosen_from_few_days(rows: Rows) -> None:
    assert choose_leaders(rows.last(5_000), ["FIRST"]) == []
    assert choose_leaders(rows.last(0), ["FIRST"]) == []


def test_model_with_its_leader_is_better_and_without_it_no_worse_than_alone(rows: Rows) -> None:
    def trained(leaders: list[str]) -> tuple[float, float]:
        """Log loss on the hold-out with all bars, and with those of the leader absent."""
        model, hold_out = train_base(
            rows,
            symbol="X",
            kind="base",
            row_limit=16_000,
            week=0,
            as_of=moment(MINUTES),
            num_threads=1,
            leaders=leaders,
        )
        labels = hold_out.labels(model.base.label_threshold)
        known, absent = (
            -np.log(model.probabilities_of(judged)[np.arange(len(labels)), labels]).mean()
            for judged in (hold_out, replace(hold_out, leader_features={}))
        )
        assert model.base.leaders == tuple(leaders)
        return float(known), float(absent)

    alone, _ = trained([])
    followed, absent = trained(["FIRST"])
    assert followed < alone - 0.05
    assert absent < alone + 0.02
