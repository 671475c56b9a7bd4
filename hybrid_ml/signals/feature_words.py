"""A feature's value in words, in units that people know: from the bars, or for a leader from its features.

Every function tells about the newest bars of a symbol whose feature has a value, so its window is full and within
one session. "It" is the symbol of the answer.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hybrid_ml.text.amounts import moved, percent, span, times, within
from hybrid_ml.text.counts import counted

NEAR = 0.1
"""Within a tenth of the range from its low or its high, a price is near it."""
FOLLOWED = 0.25
"""A symbol that moved less than this share of a leader's move, or against it, has not followed."""
PLAIN_CORRELATION = 0.1
"""A correlation of less, over thirty minutes, is no habit."""
FEATURE_NAME = re.compile(r"(?:leader(?P<leader>[1-3])_)?(?P<stem>[a-z_]*[a-z])(?P<bars>(?:_\d+)*)")


@dataclass(frozen=True)
class Series:
    """The newest bars of a symbol, one for each minute, as `to_grid` returns them."""

    symbol: str
    grid: pd.DataFrame

    def tail(self, column: str, bars: int) -> NDArray[np.float64]:
        """The newest `bars` values of a column, oldest first."""
        return self.grid[column].to_numpy(dtype=np.float64)[-bars:]

    def change(self, minutes: int) -> float:
        """Relative change of the close over so many minutes."""
        close = self.tail("close", minutes + 1)
        return float(close[-1] / close[0] - 1)

    def returns(self, minutes: int) -> NDArray[np.float64]:
        """One-minute log returns, (minutes,)."""
        return np.diff(np.log(self.tail("close", minutes + 1)))

    def volatility(self, minutes: int) -> float:
        """Root mean square of one-minute log returns."""
        return float(np.sqrt(np.mean(self.returns(minutes) ** 2)))


@dataclass(frozen=True)
class Follower:
    """A symbol, the names of its leaders in the order of their features, and the values of its features by name.

    The words about a leader come from the values: its own bars are not at hand, and the values of a leader that is
    there determine its moves to six digits.
    """

    own: Series
    leaders: tuple[str, ...] = ()
    values: Mapping[str, float] = field(default_factory=dict)


def feature_words(feature: str, follower: Follower) -> str | None:
    """The value of `feature` at the newest bar; None where there are no words or no such leader."""
    parts = FEATURE_NAME.fullmatch(feature)
    if parts is None:
        return None
    numbers = [int(number) for number in parts["bars"].split("_") if number]
    if parts["leader"] is None:
        own_words = OWN_WORDS.get(parts["stem"])
        return own_words(follower.own, *numbers) if own_words else None
    leader, words = int(parts["leader"]), LEADER_WORDS.get(parts["stem"])
    if words is None or leader > len(follower.leaders):
        return None
    try:
        return words(follower, leader, *numbers)
    except KeyError:
        return None  # a value that it needs is not known, such as the volatility of a price that has not moved


def _moved(series: Series, minutes: int) -> str:
    return f"it {moved(series.change(minutes))} {within(minutes)}"


def _beside_average(series: Series, minutes: int) -> str:
    close = series.tail("close", minutes)
    difference = float(close[-1] / close.mean() - 1)
    side = "above" if difference > 0 else "below"
    return f"its price is {percent(difference)} {side} the average of the last {span(minutes)}"


def _in_range(series: Series, minutes: int) -> str:
    high, low = series.tail("high", minutes).max(), series.tail("low", minutes).min()
    return f"its price is {_position(series, float(low), float(high))} of the last {span(minutes)}"


def _in_bar(series: Series) -> str:
    high, low = float(series.tail("high", 1)[0]), float(series.tail("low", 1)[0])
    return f"the last minute closed {_position(series, low, high)} of that minute"


def _position(series: Series, low: float, high: float) -> str:
    """Where the newest close lies between `low` and `high`, which differ."""
    share = (float(series.tail("close", 1)[0]) - low) / (high - low)
    for name, distance in (("low", share), ("high", 1 - share)):
        if distance <= NEAR:
            return f"{'at' if distance == 0 else 'near'} the {name}"
    return f"{100 * share:.0f} % of the way up from the low to the high"


def _body(series: Series) -> str:
    change = float(series.tail("close", 1)[0] / series.tail("open", 1)[0] - 1)
    if change == 0:
        return "the last minute closed at its open"
    return f"the last minute closed {percent(change)} {'above' if change > 0 else 'below'} its open"


def _share_of_rises(series: Series, minutes: int) -> str:
    returns = series.returns(minutes)
    share = float(np.maximum(returns, 0).sum() / np.abs(returns).sum())
    return f"{100 * share:.0f} % of its movement in the last {span(minutes)} was upwards"


def _efficiency(series: Series, minutes: int) -> str:
    path = float(np.abs(series.returns(minutes)).sum())
    return f"it {moved(series.change(minutes))} {within(minutes)}, with {percent(path)} of movement on the way"


def _autocorrelation(series: Series, minutes: int) -> str:
    returns = series.returns(minutes + 1)
    correlation = float((returns[1:] * returns[:-1]).sum() / (returns[1:] ** 2).sum())
    habits = {True: "followed each other", False: "turned back"}
    habit = habits[correlation > 0] if abs(correlation) >= PLAIN_CORRELATION else "had no habit"
    return f"its one-minute moves of the last {span(minutes)} {habit} (correlation {correlation:+z.2f})"


def _skewness(series: Series, minutes: int) -> str:
    returns = np.expm1(series.returns(minutes))
    strongest, weakest = moved(float(returns.max())), moved(float(returns.min()))
    return f"in its strongest minute of the last {span(minutes)} it {strongest}, in its weakest it {weakest}"


def _volatility(series: Series, minutes: int) -> str:
    return f"volatility of the last {span(minutes)} is {percent(series.volatility(minutes))} a minute"


def _volatility_ratio(series: Series, short: int, long: int) -> str:
    ratio = series.volatility(short) / series.volatility(long)
    return f"volatility of the last {span(short)} is {times(ratio)} that of the last {span(long)}"


def _range(series: Series, minutes: int) -> str:
    ranges = series.tail("high", minutes) / series.tail("low", minutes) - 1
    average = " on average" if minutes > 1 else ""
    each = "the last minute" if minutes == 1 else f"a minute of the last {span(minutes)}"
    return f"{each} has {percent(float(ranges.mean()))} between low and high{average}"


def _volume_beside_median(series: Series, minutes: int) -> str:
    volume = series.tail("volume", minutes)
    median, newest = float(np.median(volume)), float(volume[-1])
    if median <= 0:
        had = "some" if newest else "none"
        return f"half of the minutes of the last {span(minutes)} or more had no volume, the last one had {had}"
    return f"volume of the last minute is {times(newest / median)} the median of the last {span(minutes)}"


def _volume_ratio(series: Series, short: int, long: int) -> str:
    ratio = float(series.tail("volume", short).mean() / series.tail("volume", long).mean())
    return f"volume of the last {span(short)} is {times(ratio)} that of the last {span(long)}, minute for minute"


def _volume_by_direction(series: Series, minutes: int) -> str:
    returns, volume = series.returns(minutes), series.tail("volume", minutes)
    rising, falling = (float(volume[where].sum() / volume.sum()) for where in (returns > 0, returns < 0))
    return (
        f"of the volume of the last {span(minutes)}, {100 * rising:.0f} % came in rising minutes and "
        f"{100 * falling:.0f} % in falling ones"
    )


def _traded(series: Series, minutes: int) -> str:
    traded = int((series.tail("volume", minutes) > 0).sum())
    return f"{traded} of the last {minutes} minutes had trades"


def _time_of_day(series: Series) -> str:
    return f"the time of day is {series.grid.index[-1]:%H:%M} UTC"


def _weekday(series: Series) -> str:
    return f"the day of the week is {series.grid.index[-1]:%A}"


def _session(series: Series) -> str:
    sessions = series.grid["session"].to_numpy()
    bars = int((sessions == sessions[-1]).sum())
    return f"the session began {'more than ' * (bars == len(sessions))}{counted(bars, 'minute')} ago"


def _leader_change(follower: Follower, leader: int, minutes: int) -> float:
    """The leader's relative change: its feature is in units of its volatility, which is stated beside the symbol's."""
    values = follower.values
    log_volatility = values[f"leader{leader}_log_volatility_ratio_60"] + values["log_volatility_60"]
    units = values[f"leader{leader}_return_{minutes}"] * math.sqrt(minutes)
    return math.expm1(units * math.exp(log_volatility))


def _leader_moved(follower: Follower, leader: int, minutes: int) -> str:
    change = _leader_change(follower, leader, minutes)
    return f"{follower.leaders[leader - 1]} {moved(change)} {within(minutes)}"


def _leader_gap(follower: Follower, leader: int, minutes: int) -> str:
    """The leader's move and the own one, with the judgement that the second has not followed where that is so."""
    leads, follows = _leader_change(follower, leader, minutes), follower.own.change(minutes)
    words = f"{follower.leaders[leader - 1]} {moved(leads)} {within(minutes)}, {follower.own.symbol}"
    if leads and follows / leads < FOLLOWED:
        return f"{words} has not followed ({moved(follows)})"
    return f"{words} {moved(follows)}"


def _leader_volatility_beside_own(follower: Follower, leader: int, minutes: int) -> str:
    ratio = math.exp(follower.values[f"leader{leader}_log_volatility_ratio_{minutes}"])
    name = follower.leaders[leader - 1]
    return f"volatility of {name} in the last {span(minutes)} is {times(ratio)} that of {follower.own.symbol}"


def _leader_volatility_ratio(follower: Follower, leader: int, short: int, long: int) -> str:
    ratio = follower.values[f"leader{leader}_volatility_ratio_{short}_{long}"]
    name = follower.leaders[leader - 1]
    return f"volatility of {name} in the last {span(short)} is {times(ratio)} that of its last {span(long)}"


def _leader_volume(follower: Follower, leader: int, minutes: int) -> str:
    score = follower.values[f"leader{leader}_volume_zscore_{minutes}"]
    side = "above" if score > 0 else "below"
    name = follower.leaders[leader - 1]
    size = f"{abs(score):.1f} standard deviations {side} the mean"
    return f"the log of {name}'s last volume is {size} of the last {span(minutes)}"


OWN_WORDS: dict[str, Callable[..., str]] = {
    "return": _moved,
    "zscore": _beside_average,
    "stochastic": _in_range,
    "relative_strength": _share_of_rises,
    "efficiency": _efficiency,
    "autocorrelation": _autocorrelation,
    "skewness": _skewness,
    "body_share": _body,
    "close_in_bar": _in_bar,
    "log_volatility": _volatility,
    "volatility_ratio": _volatility_ratio,
    "range": _range,
    "log_range": _range,
    "volume_zscore": _volume_beside_median,
    "volume_ratio": _volume_ratio,
    "signed_volume": _volume_by_direction,
    "traded_share": _traded,
    "day_sine": _time_of_day,
    "day_cosine": _time_of_day,
    "weekday": _weekday,
    "session_bars": _session,
}
LEADER_WORDS: dict[str, Callable[..., str]] = {
    "return": _leader_moved,
    "gap": _leader_gap,
    "log_volatility_ratio": _leader_volatility_beside_own,
    "volatility_ratio": _leader_volatility_ratio,
    "volume_zscore": _leader_volume,
}
