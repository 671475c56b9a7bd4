"""How often the review's alarms are false, and how often they find what is there, where the truth is known.

Features: (1) made-up summaries of days, each depending on the day before by a known correlation; (2) minute
bars of the simulated market with another seed each time: as they are, with the volatility of the newest three
days doubled, and with every other of their minutes without a trade; once as the market is, whose volatility
itself differs by a factor of 1.6 from day to day, and once steadier. With --csv_path instead of all that: how often
a review every three days of those bars alarms; whether rightly is not known. Record: streams of right and wrong answers
that stay as they are, or fall by fifteen points after 500; signals that come true as often as they state, or
fifteen points less often, one by one or in runs that share confidence and outcome.
"""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
from common import Report, options, show_progress
from numpy.typing import NDArray
from scipy.signal import lfilter

from hybrid_ml.market import simulation
from hybrid_ml.market.bars import MAX_GAP_MINUTES, PRICE_COLUMNS, clean_bars
from hybrid_ml.market.simulation import simulate_bars
from hybrid_ml.market.sources import read_bar_file
from hybrid_ml.review.accuracy_drift import ALARM, changes, shortfall
from hybrid_ml.review.feature_drift import MOST_REFERENCE_DAYS, feature_drift, judge_days, timeline_begins

AS_OF = datetime(2024, 3, 5, 0, 30, tzinfo=UTC)
RECENT_DAYS, FEATURES, BURN_IN_DAYS = 3, 92, 50
NAMES = [(str(number), "level") for number in range(FEATURES)]
STEADIER = 0.25
ANSWERS_A_MONTH, ACCURACY, FALL = 4_320, 0.45, 0.15
SIGNALS_AN_HOUR = 6


def days(count: int, correlation: float, random: np.random.Generator) -> NDArray[np.float64]:
    """Summaries (count, FEATURES) that depend on the day before, and by half on one another."""
    shocks = random.standard_normal((count + BURN_IN_DAYS, FEATURES + 1)) * np.sqrt(1 - correlation**2)
    walk = lfilter([1.0], [1.0, -correlation], shocks, axis=0)[BURN_IN_DAYS:]
    return 0.5 + 0.1 * np.sqrt(0.5) * (walk[:, :1] + walk[:, 1:])


def share(count: int, alarms: Callable[[np.random.Generator], bool]) -> float:
    """How often `alarms` says so, of `count` seeded tries."""
    return float(np.mean([alarms(np.random.default_rng(seed)) for seed in range(count)]))


def made_up_days(tries: int) -> list[dict[str, float]]:
    rows = []
    for correlation in (0.0, 0.3, 0.6, 0.8):
        show_progress(f"made-up days, correlation {correlation:g}")
        row = {"correlation with the day before": correlation}
        for count in (20, 43, 63):
            row[f"{count} days"] = share(
                tries,
                lambda random, c=correlation, n=count: judge_days(days(n, c, random), RECENT_DAYS, NAMES).alarm,
            )
        rows.append(row)
    return rows


def doubled(bars: pd.DataFrame, since: datetime) -> pd.DataFrame:
    """The same bars with every move and range from `since` on twice as large."""
    newest = (bars["time"] >= since).to_numpy()
    before, close = (np.log(bars["close"].shift(fill_value=bars["close"].iloc[0])), np.log(bars["close"]))
    moved = close.iloc[0] + np.cumsum(np.where(newest, 2.0, 1.0) * (close - before))
    changed = bars.copy()
    for column in PRICE_COLUMNS:
        distance = np.log(bars[column]) - close
        changed[column] = np.exp(moved + np.where(newest, 2.0, 1.0) * distance)
    return changed


def untraded(bars: pd.DataFrame, since: datetime) -> pd.DataFrame:
    """The same bars, every other minute from `since` on without volume."""
    idle = (bars["time"] >= since) & (bars["time"].dt.minute % 2 == 0)
    return bars.assign(volume=bars["volume"].mask(idle, 0.0))


def minute_bars(tries: int, spread: float) -> list[dict[str, object]]:
    """`spread`: standard deviation of the logarithm of a minute's volatility."""
    begins, since = timeline_begins(AS_OF, RECENT_DAYS, None), AS_OF - timedelta(days=RECENT_DAYS)
    alarms = {"as it is": 0, "volatility doubled": 0, "every other minute untraded": 0}
    for seed in range(tries):
        if seed % 10 == 0:
            show_progress(f"market {seed + 1} of {tries}, spread of volatility {spread:g}")
        with patch.object(simulation, "LOG_VOLATILITY_SPREAD", spread):
            bars = clean_bars(simulate_bars(AS_OF, bars=64 * 1_440, seed=seed)).bars
        for name, item in zip(alarms, (bars, doubled(bars, since), untraded(bars, since)), strict=True):
            alarms[name] += feature_drift(item, begins, AS_OF, RECENT_DAYS, MAX_GAP_MINUTES).alarm
    return [{"the newest three days": name, "alarm": count / tries} for name, count in alarms.items()]


def real_bars(csv_path: Path) -> list[dict[str, object]]:
    """Alarms of reviews every RECENT_DAYS days of a file, so that no newest day is looked at twice."""
    bars = read_bar_file(csv_path).bars
    first = bars["time"].iloc[0].ceil("D").to_pydatetime() + timedelta(days=RECENT_DAYS + MOST_REFERENCE_DAYS)
    moments = pd.date_range(first, bars["time"].iloc[-1], freq=timedelta(days=RECENT_DAYS))
    found = []
    for moment in moments:
        begins = timeline_begins(moment.to_pydatetime(), RECENT_DAYS, None)
        part = bars[(bars["time"] >= begins - timedelta(days=1)) & (bars["time"] < moment)]
        found.append(feature_drift(part, begins, moment.to_pydatetime(), RECENT_DAYS, MAX_GAP_MINUTES))
    lines = [item for item in found if item.p is not None]
    named = Counter(str(item.moved[0]) for item in lines if item.alarm)
    alarms = sum(named.values())
    return [
        {"bars": csv_path.stem, "reviews": len(lines), "alarm": alarms / max(1, len(lines)),
         "most often first": ", ".join(f"{name} {count}" for name, count in named.most_common(3))}
    ]  # fmt: skip


def falls(right: NDArray[np.bool_]) -> bool:
    cuts = changes(right)
    if not cuts:
        return False
    before = cuts[-2] if len(cuts) > 1 else 0
    return bool(right[cuts[-1] :].mean() < right[before : cuts[-1]].mean())


def streams(tries: int) -> list[dict[str, object]]:
    def fall(random: np.random.Generator, after: int) -> bool:
        shares = np.repeat([ACCURACY, ACCURACY - FALL], [500, after])
        return falls(random.random(len(shares)) < shares)

    rows: list[dict[str, object]] = [
        {
            "stream": f"{ANSWERS_A_MONTH:,} answers that stay at {ACCURACY}",
            "alarm": share(tries, lambda random: falls(random.random(ANSWERS_A_MONTH) < ACCURACY)),
        }
    ]
    for after in (300, 500, 1_000):
        show_progress(f"answers, {after:,} after the fall")
        rows.append(
            {
                "stream": f"500 at {ACCURACY}, {after:,} at {ACCURACY - FALL:.2f}",
                "alarm": share(tries, lambda random, n=after: fall(random, n)),
            }
        )
    return rows


def short(random: np.random.Generator, count: int, fall: float, run: int) -> bool:
    """Of `count` signals without a pause, six an hour, each `run` share what they state and what came of it."""
    stated = np.repeat(random.uniform(0.6, 0.8, count // run), run)
    right = np.repeat(random.random(count // run) < stated[::run] - fall, run)
    return shortfall(right, stated, range(0, len(right), SIGNALS_AN_HOUR)) <= ALARM


def signals(tries: int) -> list[dict[str, object]]:
    show_progress("signals")
    return [
        {
            "signals": count,
            "in runs of": run,
            "as stated": share(tries, lambda random, n=count, r=run: short(random, n, 0.0, r)),
            "fifteen points less": share(tries, lambda random, n=count, r=run: short(random, n, FALL, r)),
        }
        for run in (1, 3, 6)
        for count in (12, 30, 60, 120, 300)
    ]


def main() -> None:
    parser = options(__doc__, smallest={"tries": 2, "markets": 1})
    parser.add_argument("--tries", type=int, default=1_000, help="seeds of each made-up case")
    parser.add_argument("--markets", type=int, default=200, help="seeds of the simulated market")
    chosen = parser.parse_args()
    report = Report("Alarms of the review, as shares")
    if chosen.csv_path:
        report.tables = {"Features, real bars": real_bars(chosen.csv_path)}
        report.show(as_json=chosen.json)
        return
    days_made_up = made_up_days(chosen.tries)
    worst = max(value for row in days_made_up for name, value in row.items() if name.endswith(" days"))
    report.add("made-up days, most false alarms of any case", 100 * worst, "%")
    report.tables = {
        "Features, made-up days: false alarms": days_made_up,
        "Features, simulated market": minute_bars(chosen.markets, simulation.LOG_VOLATILITY_SPREAD),
        "Features, steadier market": minute_bars(chosen.markets, STEADIER),
        "Right and wrong answers: alarms": streams(chosen.tries),
        "Signals against what they state: alarms": signals(chosen.tries),
    }
    report.show(as_json=chosen.json)


if __name__ == "__main__":
    main()
