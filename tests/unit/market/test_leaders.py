"""Features of leaders: compared with pandas, blind to the future, absent where the leader is late."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from hybrid_ml.learning.rows import add_leaders, make_window
from hybrid_ml.market.bars import to_grid
from hybrid_ml.market.features import FEATURE_NAMES, LOOK_BACK_BARS
from hybrid_ml.market.leaders import (
    BLANK_SHARE,
    LEADER_FEATURES,
    LEADER_RETURN_BARS,
    OLDEST_MINUTES,
    blank_some,
    feature_names,
    leader_features,
    make_leader_bars,
    mirror_all,
    with_leaders,
)
from tests.simulated import bars_with_holes, reciprocal, simulated_bars

MINUTES = 1_400
GAP = 30


@pytest.fixture(scope="module")
def own() -> pd.DataFrame:
    return simulated_bars(MINUTES, seed=1)


@pytest.fixture(scope="module")
def leader() -> pd.DataFrame:
    return simulated_bars(MINUTES, seed=2)


def block(own: pd.DataFrame, leader: pd.DataFrame) -> pd.DataFrame:
    """The leader's features of every own row, by name."""
    window = make_window(own, GAP)
    values = leader_features(window.rows.features, window.rows.times, make_leader_bars(to_grid(leader, GAP)))
    return pd.DataFrame(values, index=window.rows.times, columns=list(LEADER_FEATURES))


def test_features_equal_those_of_pandas(own: pd.DataFrame, leader: pd.DataFrame) -> None:
    found = block(own, leader)
    expected = {}
    for name, bars in (("own", own), ("leader", leader)):
        grid = to_grid(bars, GAP)
        close = np.log(grid["close"])
        volatility = (close.diff() ** 2).rolling(60).mean() ** 0.5
        expected[name] = {
            "volatility": volatility,
            "fast": (close.diff() ** 2).rolling(5).mean() ** 0.5,
            "volume": np.log1p(grid["volume"]),
            **{bars: close.diff(bars) / (volatility * bars**0.5) for bars in LEADER_RETURN_BARS},
        }
    both, lead = expected["own"], expected["leader"]
    volume = lead["volume"]
    table = {
        **{f"return_{bars}": lead[bars] for bars in LEADER_RETURN_BARS},
        **{f"gap_{bars}": lead[bars] - both[bars] for bars in LEADER_RETURN_BARS},
        "log_volatility_ratio_60": np.log(lead["volatility"] / both["volatility"]),
        "volatility_ratio_5_60": lead["fast"] / lead["volatility"],
        "volume_zscore_60": (volume - volume.rolling(60).mean()) / volume.rolling(60).std(ddof=0),
    }
    for name, values in table.items():
        there = found[name].dropna()
        recorded = there.index[there.index.isin(leader["time"])]
        assert len(recorded) > MINUTES * 0.9
        np.testing.assert_allclose(
            found.loc[recorded, name], values.reindex(recorded), rtol=2e-4, atol=2e-4, err_msg=name
        )


@pytest.mark.parametrize("minute", [700, 1_000])
def test_later_bars_of_the_leader_change_nothing(own: pd.DataFrame, leader: pd.DataFrame, minute: int) -> None:
    moment = own["time"].iloc[minute]
    changed = leader.copy()
    changed.loc[changed["time"] > moment, ["open", "high", "low", "close"]] *= 1.7
    before, after = block(own, leader), block(own, changed)
    pd.testing.assert_frame_equal(before[:moment], after[:moment])
    cut = block(own, leader[leader["time"] <= moment])
    pd.testing.assert_frame_equal(before[:moment], cut[:moment])
    assert not before[moment:].equals(after[moment:])


def test_rows_depend_on_a_bounded_number_of_the_leaders_bars(own: pd.DataFrame, leader: pd.DataFrame) -> None:
    begin = 600
    short = block(own, leader[leader["time"] >= own["time"].iloc[begin]].reset_index(drop=True))
    settled = own["time"].iloc[begin + LOOK_BACK_BARS]
    pd.testing.assert_frame_equal(block(own, leader)[settled:], short[settled:])


def test_leader_is_absent_once_its_newest_bar_is_too_old(own: pd.DataFrame, leader: pd.DataFrame) -> None:
    moment = own["time"].iloc[1_000]
    stopped = block(own, leader[leader["time"] <= moment])
    age = (stopped.index - leader["time"][leader["time"] <= moment].iloc[-1]) / pd.Timedelta(minutes=1)
    present = stopped["return_1"].notna().to_numpy()
    assert (present[800:] == (age <= OLDEST_MINUTES)[800:]).all()
    assert present[800:].any() and not present[-1]


def test_minutes_without_a_trade_use_the_bar_before(own: pd.DataFrame) -> None:
    holes = bars_with_holes(MINUTES, {1_000: 2}, seed=2)
    found = block(own, holes)["return_5"]
    quiet = own["time"][~own["time"].isin(holes["time"]) & (own["time"] > own["time"].iloc[990])]
    assert len(quiet)
    known = found[found.index.isin(holes["time"])]
    for time in quiet:
        assert found[time] == known[:time].iloc[-1]


def test_market_that_trades_in_other_hours_leads_nobody(own: pd.DataFrame, leader: pd.DataFrame) -> None:
    elsewhere = leader.assign(time=leader["time"] + pd.Timedelta(days=30))
    assert block(own, elsewhere).isna().all(axis=None)


def test_mirrored_features_are_those_of_reciprocal_prices(own: pd.DataFrame, leader: pd.DataFrame) -> None:
    def matrix(own: pd.DataFrame, leader: pd.DataFrame) -> np.ndarray:
        rows = add_leaders(make_window(own, GAP).rows, {"L": make_leader_bars(to_grid(leader, GAP))})
        return rows.matrix(["L"])[LOOK_BACK_BARS:]

    mirrored = mirror_all(matrix(own, leader))
    np.testing.assert_allclose(mirrored, matrix(reciprocal(own), reciprocal(leader)), rtol=2e-3, atol=2e-3)


def test_names_follow_the_columns() -> None:
    assert feature_names(0) == FEATURE_NAMES
    names = feature_names(2)
    assert len(set(names)) == len(FEATURE_NAMES) + 2 * len(LEADER_FEATURES)
    assert names[-1] == f"leader2_{LEADER_FEATURES[-1]}"


def test_leader_without_features_is_absent() -> None:
    own = np.zeros((3, len(FEATURE_NAMES)), dtype=np.float32)
    known = np.ones((3, len(LEADER_FEATURES)), dtype=np.float32)
    both = with_leaders(own, {"A": known}, ["B", "A"])
    assert both.shape == (3, len(feature_names(2)))
    assert np.isnan(both[:, len(FEATURE_NAMES) : -len(LEADER_FEATURES)]).all()
    assert (both[:, -len(LEADER_FEATURES) :] == 1).all()


@pytest.mark.parametrize("leaders", [0, 1, 2, 3])
def test_some_rows_lose_each_combination_of_leaders(leaders: int) -> None:
    rows = 30_000
    features = np.ones((rows, len(feature_names(leaders))), dtype=np.float32)
    blanked = blank_some(features)
    assert not np.isnan(blanked[:, : len(FEATURE_NAMES)]).any()
    blocks = blanked[:, len(FEATURE_NAMES) :].reshape(rows, leaders, len(LEADER_FEATURES))
    absent = np.isnan(blocks).all(axis=2)
    assert (absent == np.isnan(blocks).any(axis=2)).all()
    patterns, counts = np.unique(absent, axis=0, return_counts=True)
    shares = {tuple(pattern): count / rows for pattern, count in zip(patterns.tolist(), counts, strict=True)}
    assert len(shares) == 2**leaders
    whole = shares.pop((False,) * leaders)
    assert whole == pytest.approx(1.0 if leaders == 0 else 1 - BLANK_SHARE, abs=0.01)
    assert all(share == pytest.approx(BLANK_SHARE / (2**leaders - 1), abs=0.01) for share in shares.values())
    assert np.array_equal(blanked, blank_some(features), equal_nan=True), "the same training gives the same model"


def test_rows_keep_their_leaders_when_they_are_chosen(own: pd.DataFrame, leader: pd.DataFrame) -> None:
    rows = add_leaders(make_window(own, GAP).rows, {"L": make_leader_bars(to_grid(leader, GAP))})
    part = rows.labelled().last(100).take(slice(10, 20))
    place = rows.times.get_indexer(part.times)
    np.testing.assert_array_equal(part.leader_features["L"], rows.leader_features["L"][place])
    assert rows.absent(["L", "M"]) == ["M"]
    assert replace(rows, leader_features={}).absent(["L"]) == ["L"]
    assert list(rows.following([]).leader_features) == []
