"""Words about features: true of bars whose numbers are known, with their sign and size, for every feature there is."""

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from hybrid_ml.market.bars import MAX_GAP_MINUTES, to_grid
from hybrid_ml.market.features import FEATURE_NAMES, make_features
from hybrid_ml.market.leaders import LEADER_FEATURES, feature_names, make_leader_bars
from hybrid_ml.signals.feature_words import Follower, Series, feature_words
from hybrid_ml.text.amounts import moved, percent, span, times, within
from tests.simulated import NOON, hand_made_bars, simulated_bars, simulated_window


def series(closes: list[float], symbol: str = "EOSUSD", **columns: list[float]) -> Series:
    """Bars with these closes, which are also their other prices unless `columns` state some."""
    bars = hand_made_bars(closes)
    for name, values in columns.items():
        bars.loc[bars.index[-len(values) :], name] = values
    bars["high"] = bars[["open", "high", "close"]].max(axis=1)
    bars["low"] = bars[["open", "low", "close"]].min(axis=1)
    return Series(symbol, to_grid(bars))


FLAT = [100.0] * 500
TURNING = [100.0 * (1.001 if minute % 2 else 1.0) for minute in range(500)]
CALM_THEN_WILD = [100.0 * (1.001 if minute % 2 else 1.0) for minute in range(485)] + [
    100.0 * (1.004 if minute % 2 else 1.0) for minute in range(485, 500)
]


@pytest.mark.parametrize(
    ("feature", "own", "expected"),
    [
        ("return_10", series([*FLAT, *np.linspace(100, 100.4, 11)]), "it rose 0.40 % in 10 minutes"),
        ("return_10", series([*FLAT, *np.linspace(100, 99.6, 11)]), "it fell 0.40 % in 10 minutes"),
        ("return_60", series([*FLAT, *np.linspace(100, 103, 61)]), "it rose 3.00 % in an hour"),
        ("return_1", series([*FLAT, 100.02]), "it rose 0.020 % in a minute"),
        ("return_5", series(FLAT), "it did not move in 5 minutes"),
        ("zscore_20", series([*FLAT, 102.0]), "its price is 1.90 % above the average of the last 20 minutes"),
        ("zscore_20", series([*FLAT, 98.0]), "its price is 1.90 % below the average of the last 20 minutes"),
        ("stochastic_60", series([*FLAT, 101, 99]), "its price is at the low of the last hour"),
        ("stochastic_60", series([*FLAT, 99, 101]), "its price is at the high of the last hour"),
        ("stochastic_60", series([*FLAT, 110, 90, 91]), "its price is near the low of the last hour"),
        (
            "stochastic_15",
            series([*FLAT, 110, 90, 95]),
            "its price is 25 % of the way up from the low to the high of the last 15 minutes",
        ),
        (
            "relative_strength_14",
            series([*FLAT, 103.0, 103.0 * np.exp(-np.log(1.03) / 3)]),
            "75 % of its movement in the last 14 minutes was upwards",
        ),
        (
            "efficiency_10",
            series([*FLAT, 101.0, 100.5]),
            "it rose 0.50 % in 10 minutes, with 1.49 % of movement on the way",
        ),
        (
            "autocorrelation_30",
            series(TURNING),
            "its one-minute moves of the last 30 minutes turned back (correlation -1.00)",
        ),
        (
            "autocorrelation_30",
            series([100 * 1.001**minute for minute in range(500)]),
            "its one-minute moves of the last 30 minutes followed each other (correlation +1.00)",
        ),
        (
            "skewness_60",
            series([*FLAT, 102.0, 101.0]),
            "in its strongest minute of the last hour it rose 2.00 %, in its weakest it fell 0.98 %",
        ),
        ("body_share", series([*FLAT, 100.3], open=[100.0]), "the last minute closed 0.30 % above its open"),
        ("body_share", series([*FLAT, 99.7], open=[100.0]), "the last minute closed 0.30 % below its open"),
        (
            "close_in_bar",
            series([*FLAT, 100.0], high=[101.0], low=[98.0]),
            "the last minute closed 67 % of the way up from the low to the high of that minute",
        ),
        ("log_volatility_15", series(TURNING), "volatility of the last 15 minutes is 0.10 % a minute"),
        ("log_volatility_479", series(TURNING), "volatility of the last 8 hours is 0.10 % a minute"),
        (
            "volatility_ratio_15_120",
            series(CALM_THEN_WILD),
            "volatility of the last 15 minutes is 2.4 times that of the last 2 hours",
        ),
        (
            "range_1",
            series([*FLAT, 100.0], high=[101.0]),
            "the last minute has 1.00 % between low and high",
        ),
        (
            "log_range_10",
            series([*FLAT, 100.0], high=[101.0]),
            "a minute of the last 10 minutes has 0.10 % between low and high on average",
        ),
        (
            "volume_zscore_60",
            series(FLAT, volume=[2.0] * 60 + [7.0]),
            "volume of the last minute is 3.5 times the median of the last hour",
        ),
        (
            "volume_zscore_60",
            series(FLAT, volume=[0.0] * 60 + [7.0]),
            "half of the minutes of the last hour or more had no volume, the last one had some",
        ),
        (
            "volume_ratio_5_60",
            series(FLAT, volume=[2.0] * 55 + [8.0] * 5),
            "volume of the last 5 minutes is 3.2 times that of the last hour, minute for minute",
        ),
        (
            "signed_volume_15",
            series([*FLAT, 101, 100, 101, 101], volume=[0.0] * 15 + [2.0, 3.0, 1.0, 4.0]),
            "of the volume of the last 15 minutes, 30 % came in rising minutes and 30 % in falling ones",
        ),
        ("traded_share_30", series(FLAT, volume=[0.0] * 6), "24 of the last 30 minutes had trades"),
        ("day_sine", series(FLAT[:76]), "the time of day is 13:15 UTC"),
        ("day_cosine", series(FLAT[:76]), "the time of day is 13:15 UTC"),
        ("weekday", series(FLAT), "the day of the week is Tuesday"),
        ("session_bars", series(FLAT), "the session began more than 500 minutes ago"),
    ],
)
def test_words_state_sign_and_size(feature: str, own: Series, expected: str) -> None:
    assert feature_words(feature, Follower(own)) == expected


def test_age_of_a_session_counts_from_its_first_bar() -> None:
    bars = pd.concat([hand_made_bars(FLAT[:50]), hand_made_bars(FLAT[:20], start=NOON + timedelta(hours=4))])
    own = Series("EOSUSD", to_grid(bars.reset_index(drop=True)))
    assert feature_words("session_bars", Follower(own)) == "the session began 20 minutes ago"


def follower(own: Series, leader: Series, *, minutes: int = 5) -> Follower:
    """A symbol that follows `leader`; values as features have them: moves in units of each one's own volatility."""
    volatility, its = own.volatility(60), leader.volatility(60)
    move = np.log1p(leader.change(minutes)) / (its * np.sqrt(minutes))
    values = {
        "log_volatility_60": np.log(volatility),
        "leader1_log_volatility_ratio_60": np.log(its / volatility),
        f"leader1_return_{minutes}": move,
        "leader1_volatility_ratio_5_60": leader.volatility(5) / its,
        "leader1_volume_zscore_60": 2.13,
    }
    return Follower(own, (leader.symbol,), {name: float(np.float32(value)) for name, value in values.items()})


BEFORE = TURNING[:495]
FALLEN = series([*BEFORE, *np.linspace(100, 99.1, 6)], "BTCUSD")


@pytest.mark.parametrize(
    ("feature", "own", "expected"),
    [
        ("leader1_return_5", [100.0] * 6, "BTCUSD fell 0.90 % in 5 minutes"),
        (
            "leader1_gap_5",
            [100.0] * 6,
            "BTCUSD fell 0.90 % in 5 minutes, EOSUSD has not followed (did not move)",
        ),
        (
            "leader1_gap_5",
            [*np.linspace(100, 100.5, 6)],
            "BTCUSD fell 0.90 % in 5 minutes, EOSUSD has not followed (rose 0.50 %)",
        ),
        ("leader1_gap_5", [*np.linspace(100, 99.4, 6)], "BTCUSD fell 0.90 % in 5 minutes, EOSUSD fell 0.60 %"),
        (
            "leader1_log_volatility_ratio_60",
            [100.0] * 6,
            "volatility of BTCUSD in the last hour is 1.1 times that of EOSUSD",
        ),
        (
            "leader1_volatility_ratio_5_60",
            [100.0] * 6,
            "volatility of BTCUSD in the last 5 minutes is 1.7 times that of its last hour",
        ),
        (
            "leader1_volume_zscore_60",
            [100.0] * 6,
            "the log of BTCUSD's last volume is 2.1 standard deviations above the mean of the last hour",
        ),
        ("leader2_return_5", [100.0] * 6, None),  # there is no second one
    ],
)
def test_words_about_a_leader_name_it(feature: str, own: list[float], expected: str | None) -> None:
    assert feature_words(feature, follower(series([*BEFORE, *own]), FALLEN)) == expected


def test_leader_beside_a_price_that_has_not_moved_has_no_words() -> None:
    known = follower(series([*BEFORE, *[100.0] * 6]), FALLEN)
    without = {name: value for name, value in known.values.items() if not name.startswith("log_volatility")}
    assert feature_words("leader1_return_5", Follower(known.own, known.leaders, without)) is None


def test_every_feature_has_words_wherever_it_has_a_value() -> None:
    for window in (simulated_window(1_600), simulated_window(6_100, sessions=True)):
        newest = window.rows.latest().features[0]
        for name, value in zip(FEATURE_NAMES, newest, strict=True):
            if np.isfinite(value) and not name.startswith("leader"):
                words = feature_words(name, Follower(Series("DEMO", window.grid)))
                assert words, name
                assert "nan" not in words, name


def test_every_feature_of_a_leader_has_words_wherever_it_has_a_value() -> None:
    leader = to_grid(simulated_bars(1_600, seed=8), MAX_GAP_MINUTES)
    window = simulated_window(1_600).with_leaders({"LEAD": make_leader_bars(leader)})
    row = window.rows.latest().matrix(["LEAD"])[0]
    values = {name: float(value) for name, value in zip(feature_names(1), row, strict=True) if np.isfinite(value)}
    for name in LEADER_FEATURES:
        words = feature_words(f"leader1_{name}", Follower(Series("DEMO", window.grid), ("LEAD",), values))
        assert words, name
        assert "LEAD" in words
        assert "nan" not in words, name


def test_direction_in_words_is_that_of_the_feature() -> None:
    """On simulated bars, whatever a return or a volume by direction says has the sign that the feature has."""
    grid = to_grid(simulated_bars(2_400))
    features = make_features(grid)
    for end in range(1_000, 2_400, 100):
        own, row = Series("DEMO", grid.iloc[:end]), features.iloc[end - 1]
        for name in ("return_5", "return_240", "efficiency_30"):
            assert (" rose " in str(feature_words(name, Follower(own)))) == (row[name] > 0)
        ratio = float(str(feature_words("volatility_ratio_15_120", Follower(own))).partition(" is ")[2].split()[0])
        assert ratio == pytest.approx(row["volatility_ratio_15_120"], abs=0.051)


def test_unknown_feature_has_no_words() -> None:
    assert feature_words("moon_phase", Follower(series(FLAT))) is None
    assert feature_words("Return!", Follower(series(FLAT))) is None


def test_amounts() -> None:
    assert [percent(share) for share in (0.123, 0.00123, 0.0005, 0.00002, 1e-9)] == [
        "12.30 %", "0.12 %", "0.050 %", "0.002 %", "less than 0.001 %"
    ]  # fmt: skip
    assert [moved(change) for change in (0.01, -0.01, 0.0)] == ["rose 1.00 %", "fell 1.00 %", "did not move"]
    assert [span(minutes) for minutes in (1, 15, 60, 90, 120, 479)] == [
        "minute", "15 minutes", "hour", "90 minutes", "2 hours", "8 hours"
    ]  # fmt: skip
    assert [within(minutes) for minutes in (1, 5, 60, 240)] == [
        "in a minute",
        "in 5 minutes",
        "in an hour",
        "in 4 hours",
    ]
    assert [times(ratio) for ratio in (0.05, 0.5, 3.0, 25.0)] == ["0.05 times", "0.5 times", "3.0 times", "25 times"]
