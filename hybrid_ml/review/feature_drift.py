"""Have the features of the last days changed more than days usually differ?

Each day (24 hours ending at the time of day of the review, so that all have the same hours) is summarised,
feature by feature, by two numbers: the mean rank of its rows among all rows of the timeline (0 to 1, so that
outliers count no more than others), and the share of rows without a value. A period of days is as unusual
as the largest of the differences between its means and those of the other days, each in units of the deviation
between days: the largest of all, so that 92 comparisons do not find something by chance (Westfall and Young,
"Resampling-based multiple testing", 1993, max-T). The newest period is unusual if few others of its length
are as unusual. These others are all its shifts nearby the timeline, its end joined to its beginning, so that
days keep their neighbours and the dependence between them (Politis and Romano, "A circular block-resampling
procedure for stationary data", 1992). No distribution is assumed, and there is no fixed bound as with the population
stability index, which does not consider chance.

Left out: features of the calendar alone (time of day, weekday, bars since the session began). Also considered and
left out: the spread of the ranks as a third number of each feature, which detected nothing more than the levels
did, and halved the detection of doubled volatility.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hybrid_ml.learning.rows import make_window
from hybrid_ml.market.bars import BAR_LENGTH
from hybrid_ml.market.features import FEATURE_NAMES, LOOK_BACK_BARS
from hybrid_ml.market.sessions import ALWAYS_OPEN, Sessions
from hybrid_ml.text.counts import counted

DAY = timedelta(days=1)
CALENDAR = frozenset({"day_sine", "day_cosine", "weekday", "session_bars"})
JUDGED = tuple(name for name in FEATURE_NAMES if name not in CALENDAR)
SUMMARIES = ("level", "missing")
MOST_REFERENCE_DAYS = 60
LEAST_REFERENCE_DAYS = 40
"""Days before the newest ones: those of the training window, but within these limits."""
FEWEST_DAYS = 20
FEWEST_STRETCHES = 6
"""The minimum number of days, and how many times the newest ones there must be: a rank among few has no meaning."""
FEWEST_SHARE_OF_ROWS = 0.5
"""A day with fewer rows than this share of the median day is left out."""
LONGEST_PAUSE = timedelta(days=7)
"""Where the newest day ended earlier than this, nothing recent can be judged."""
SMALLEST_DEVIATION = 0.005
"""A lower limit, so that days that hardly differ do not make a tiny difference large; ranks are from 0 to 1."""
ROWS_APART_MINUTES = 5
"""Adjacent rows are nearly the same; every fifth contains nearly as much information in a fifth of the time."""
ALARM = 0.05
MOST_NAMED = 5


@dataclass(frozen=True)
class Moved:
    """A feature that changed: by how many standard deviations of a day, and its means before and now.

    `summary`: level (mean rank) or missing (share of rows without a value).
    """

    feature: str
    summary: str
    difference: float
    before: float
    now: float

    def __str__(self) -> str:
        words = {"level": ("higher", "lower"), "missing": ("missing more often", "missing less often")}
        return f"{self.feature} {words[self.summary][self.difference < 0]}"


@dataclass(frozen=True)
class FeatureDrift:
    """Whether the newest days are unusual. `p`: probability of a period as unusual if nothing had changed;
    None, with the reason in `verdict`, where it cannot be computed. `days`: the number of days of the timeline.
    """

    days: int
    recent_days: int
    p: float | None
    statistic: float | None
    moved: list[Moved]
    verdict: str

    @property
    def alarm(self) -> bool:
        """Whether the change is beyond chance."""
        return self.p is not None and self.p <= ALARM


def timeline_begins(as_of: datetime, recent_days: int, trained_from: datetime | None) -> datetime:
    """The begin of the timeline: that of the training window of the model in use, within limits."""
    recent = as_of - recent_days * DAY
    earliest, latest = recent - MOST_REFERENCE_DAYS * DAY, recent - LEAST_REFERENCE_DAYS * DAY
    return min(max(trained_from or earliest, earliest), latest)


def bars_needed(begins: datetime, as_of: datetime) -> int:
    """The maximum number of bars from the begin of the timeline on, and those that its first features need."""
    return int((as_of - begins) / BAR_LENGTH) + LOOK_BACK_BARS


def feature_drift(
    bars: pd.DataFrame,
    begins: datetime,
    as_of: datetime,
    recent_days: int,
    max_gap_minutes: int,
    sessions: Sessions = ALWAYS_OPEN,
) -> FeatureDrift:
    """Compare the newest `recent_days` days of clean `bars` (BAR_COLUMNS, ascending) with all since `begins`."""
    bars = bars[bars["time"] >= pd.Timestamp(begins - LOOK_BACK_BARS * BAR_LENGTH)].reset_index(drop=True)
    if bars.empty:
        return _not_known(0, recent_days, f"no bar since {begins:%Y-%m-%d}")
    rows = make_window(bars, max_gap_minutes, sessions).rows.newer_than(begins)
    rows = rows.take(np.flatnonzero(rows.times.minute.to_numpy() % ROWS_APART_MINUTES == 0))
    days = _days_before(as_of, rows.times)
    chosen = [FEATURE_NAMES.index(name) for name in JUDGED]
    kept, summaries = summarise_days(rows.features[:, chosen], days)
    if len(kept) and as_of - int(kept[-1]) * DAY < as_of - LONGEST_PAUSE:
        return _not_known(len(kept), recent_days, f"the newest whole day ended {counted(int(kept[-1]), 'day')} ago")
    return judge_days(summaries, recent_days, [(name, summary) for summary in SUMMARIES for name in JUDGED])


def _days_before(as_of: datetime, times: pd.DatetimeIndex) -> NDArray[np.int64]:
    """Whole days from the end of each bar's 24 hours until `as_of`, (n,): 0 for those that end at `as_of`."""
    return np.asarray((pd.Timestamp(as_of) - BAR_LENGTH - times) // pd.Timedelta(DAY), dtype=np.int64)


def summarise_days(
    features: NDArray[np.float32], days: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Days with enough rows, oldest first (d,), and their summaries (d, 2 * features): levels, missing.

    `features` (n, features) with NaN for no value; `days` (n,) as counted by `_days_before`. A day
    without any value of a feature gets the median level, 0.5: the share of missing values shows it.
    """
    numbers, place = np.unique(-days, return_inverse=True)
    counts = np.bincount(place)
    if not len(counts):
        return numbers, np.empty((0, 2 * features.shape[1]))
    there = np.isfinite(features)
    from scipy.stats import rankdata

    ranks = rankdata(np.where(there, features, np.nan), axis=0, nan_policy="omit")
    ranks = (ranks - 0.5) / np.maximum(there.sum(axis=0), 1)
    present = _day_sums(there.astype(np.float64), place)
    level = np.where(present > 0, _day_sums(np.where(there, ranks, 0.0), place) / np.maximum(present, 1), 0.5)
    enough = counts >= FEWEST_SHARE_OF_ROWS * np.median(counts)
    return -numbers[enough], np.concatenate([level, 1 - present / counts[:, None]], axis=1)[enough]


def _day_sums(values: NDArray[np.float64], place: NDArray[np.intp]) -> NDArray[np.float64]:
    """Sums (d, features) of `values` (n, features) over the rows of each day; `place` (n,) ascends."""
    starts = np.flatnonzero(np.diff(place, prepend=-1))
    return np.add.reduceat(values, starts, axis=0)


def judge_days(summaries: NDArray[np.float64], recent_days: int, names: Sequence[tuple[str, str]]) -> FeatureDrift:
    """How unusual the last `recent_days` of `summaries` (days, numbers), oldest first, are among all their shifts.

    `names`: feature and summary of each number.
    """
    days = len(summaries)
    needed = max(FEWEST_DAYS, FEWEST_STRETCHES * recent_days)
    if days < needed:
        return _not_known(days, recent_days, f"{counted(days, 'day')} with enough bars, {needed} are needed")
    differences = _differences(summaries, recent_days)
    unusual = np.abs(differences).max(axis=1)
    p = float(np.mean(unusual >= unusual[-1] * (1 - 1e-12)))
    newest = differences[-1]
    order = np.argsort(-np.abs(newest), kind="stable")[:MOST_NAMED]
    before, now = summaries[:-recent_days].mean(axis=0), summaries[-recent_days:].mean(axis=0)
    moved = [
        Moved(feature, summary, float(newest[at]), float(before[at]), float(now[at]))
        for at, (feature, summary) in ((at, names[at]) for at in order)
    ]
    message = f"the last {recent_days} of {counted(days, 'day')} are as unusual as {p:.1%} of all periods as long"
    return FeatureDrift(days, recent_days, p, float(unusual[-1]), moved, message)


def _differences(summaries: NDArray[np.float64], recent_days: int) -> NDArray[np.float64]:
    """Means of the period that ends with each day minus those of the others, (days, numbers), in deviations of a day.

    As many days on both sides as the period has are excluded from the others: what lasts over days would make
    them similar, and the newest period, which has such neighbours on one side only, seem more unusual.
    """
    days, excluded = len(summaries), 3 * recent_days
    deviation = np.maximum(summaries.std(axis=0, ddof=1), SMALLEST_DEVIATION)
    period = sum(np.roll(summaries, shift, axis=0) for shift in range(recent_days))
    nearby = sum(np.roll(summaries, shift, axis=0) for shift in range(-recent_days, 2 * recent_days))
    others = (summaries.sum(axis=0) - nearby) / (days - excluded)
    difference: NDArray[np.float64] = (period / recent_days - others) / deviation
    return difference


def _not_known(days: int, recent_days: int, why: str) -> FeatureDrift:
    return FeatureDrift(days, recent_days, None, None, [], f"not known: {why}")
