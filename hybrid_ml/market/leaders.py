"""Features of a leader: another market whose moves come before those of the symbol that follows it.

A row of the symbol sees the leader's newest bar that closed no later than its own and is at most
OLDEST_MINUTES older. Otherwise (the leader is late, gone, closed, or does not trade) all of them are NaN, a case that
training shows the model as well. What is compared are two markets' moves in units of each one's own
volatility, so neither price nor currency matters.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hybrid_ml.market.bars import MINUTE_MICROSECONDS
from hybrid_ml.market.features import FEATURE_NAMES, TINY, bars_into_session, mirror, ratio, within
from hybrid_ml.market.rolling import Rolling, shift

OLDEST_MINUTES = 3
"""A leader that trades less often tells little, and one whose bars are later than this is not used."""
BLANK_SHARE, BLANK_SEED = 0.10, 11
LEADER_RETURN_BARS = (1, 2, 3, 5, 10, 15, 30, 60)
_RETURNS = [f"return_{bars}" for bars in LEADER_RETURN_BARS]
_OWN_RETURNS = [FEATURE_NAMES.index(name) for name in _RETURNS]
_OWN_VOLATILITY = FEATURE_NAMES.index("log_volatility_60")
LEADER_FEATURES = (
    *_RETURNS,
    *(f"gap_{bars}" for bars in LEADER_RETURN_BARS),
    "log_volatility_ratio_60",
    "volatility_ratio_5_60",
    "volume_zscore_60",
)
"""`gap`: the leader's return less the symbol's own, each in units of its own volatility."""
DIRECTED = np.array([name.startswith(("return_", "gap_")) for name in LEADER_FEATURES])


@dataclass(frozen=True)
class LeaderBars:
    """What followers read of a leader: its recorded bars, at least one, oldest first.

    `times`: (n,) bar open times, microseconds since 1970, UTC. `returns`: (n, LEADER_RETURN_BARS) in units of the
    hour's volatility. `log_volatility`: of 60 bars. `others`: (n, 2), the volatility ratio and the volume's z-score.
    """

    times: NDArray[np.int64]
    returns: NDArray[np.float32]
    log_volatility: NDArray[np.float32]
    others: NDArray[np.float32]


NO_LEADERS: Mapping[str, LeaderBars] = MappingProxyType({})


def make_leader_bars(grid: pd.DataFrame) -> LeaderBars:
    """What followers read of the leader on `grid` (see `to_grid`); the same function of its bars as own features."""
    in_session = bars_into_session(grid["session"].to_numpy())
    log_close, log_volume = np.log(grid["close"].to_numpy()), np.log1p(grid["volume"].to_numpy())
    change = within(log_close - shift(log_close, 1), in_session, 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        squares = Rolling(change * change)
        fast, slow = np.sqrt(squares.mean(5)), np.sqrt(squares.mean(60))
        moves = [within(log_close - shift(log_close, bars), in_session, bars) for bars in LEADER_RETURN_BARS]
        returns = [ratio(move, slow * np.sqrt(bars)) for move, bars in zip(moves, LEADER_RETURN_BARS, strict=True)]
        mean, deviation = Rolling(log_volume).mean_and_deviation(60)
        zscore = within(ratio(log_volume - mean, deviation), in_session, 59)
        log_volatility = np.where(slow > TINY, np.log(slow), np.nan)
        others = np.column_stack([ratio(fast, slow), zscore])
    recorded = ~grid["carried"].to_numpy()
    times = pd.DatetimeIndex(grid.index).as_unit("us").asi8[recorded]
    return LeaderBars(
        times,
        np.column_stack(returns)[recorded].astype(np.float32),
        log_volatility[recorded].astype(np.float32),
        others[recorded].astype(np.float32),
    )


def leader_features(own: NDArray[np.float32], times: pd.DatetimeIndex, leader: LeaderBars) -> NDArray[np.float32]:
    """A leader's features for rows of the symbol, (n, LEADER_FEATURES) float32.

    `own`: (n, FEATURE_NAMES) of the symbol's bars that open at `times` (n,). NaN where the leader has no bar in time,
    and where one of the two markets has too short a history.
    """
    moments = times.as_unit("us").asi8
    place = np.searchsorted(leader.times, moments, side="right") - 1
    found = np.maximum(place, 0)
    present = (place >= 0) & (moments - leader.times[found] <= OLDEST_MINUTES * MINUTE_MICROSECONDS)
    returns = leader.returns[found]
    features = np.column_stack(
        [
            returns,
            returns - own[:, _OWN_RETURNS],
            leader.log_volatility[found] - own[:, _OWN_VOLATILITY],
            leader.others[found],
        ]
    )
    features[~present] = np.nan
    return features


def feature_names(leaders: int) -> tuple[str, ...]:
    """The columns of a model with so many leaders: its own features, then each leader's."""
    blocks = (f"leader{number}_{name}" for number in range(1, leaders + 1) for name in LEADER_FEATURES)
    return (*FEATURE_NAMES, *blocks)


def mirror_all(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """`features` (n, those of a model) as they would be with the reciprocal of every price, the leaders' too."""
    own = mirror(features[:, : len(FEATURE_NAMES)])
    leaders = (features.shape[1] - len(FEATURE_NAMES)) // len(LEADER_FEATURES)
    if not leaders:
        return own
    signs = np.tile(np.where(DIRECTED, -1, 1).astype(np.float32), leaders)
    return np.hstack([own, signs * features[:, len(FEATURE_NAMES) :]])


def blank_some(features: NDArray[np.float32], seed: int = BLANK_SEED) -> NDArray[np.float32]:
    """`features` (n, those of a model) with some leaders absent in BLANK_SHARE of the rows, any of them equally often.

    Otherwise a model would know no row without its leaders, and an absent one would mislead it.
    """
    leaders = (features.shape[1] - len(FEATURE_NAMES)) // len(LEADER_FEATURES)
    if not leaders:
        return features
    random = np.random.default_rng(seed)
    blank = random.random(len(features)) < BLANK_SHARE
    # Each subset but the empty one is as likely as any other.
    subset = random.integers(1, 2**leaders, len(features))
    blanked = features.copy()
    for leader in range(leaders):
        begin = len(FEATURE_NAMES) + leader * len(LEADER_FEATURES)
        absent = blank & (subset >> leader & 1).astype(bool)
        blanked[absent, begin : begin + len(LEADER_FEATURES)] = np.nan
    return blanked


def with_leaders(
    own: NDArray[np.float32], blocks: Mapping[str, NDArray[np.float32]], leaders: Sequence[str]
) -> NDArray[np.float32]:
    """`own` features (n, FEATURE_NAMES) followed by the blocks of `leaders`; one without a block is absent (NaN)."""
    if not leaders:
        return own
    absent = np.full((len(own), len(LEADER_FEATURES)), np.nan, dtype=np.float32)
    return np.hstack([own, *(blocks.get(leader, absent) for leader in leaders)])
