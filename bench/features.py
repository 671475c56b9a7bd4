"""Features: their cost, and why their windows are not taken from pandas, bottleneck or TA-Lib.

Measured: `make_features` on as many bars as a full training and as one analysis use, and its
rolling primitives against the three libraries on the same log closes. How to read the table:
  times ours      time of the library over ours; under 1 the library is faster
  off exact       largest difference from the windows computed one by one in extended precision
  off ours        largest difference from our numbers
  moves when cut  most that a newest value moves when only the last 1,500 bars are at hand
  flat windows    largest standard deviation given to windows in which nothing moved
  lost to a NaN   values that one missing bar makes missing; right is the length of the window
A feature must be the same number in training (a long history) and in analysis (a short one), a
z-score must not divide by rounding, and a window over a session's break must be missing, that
window and no other: "moves when cut" and "flat windows" have to be exactly zero, "lost to a NaN"
exactly the window. Most of the libraries' functions are faster than ours; for what the features
need, none of the libraries has all three right.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import bottleneck
import numpy as np
import pandas as pd
import talib
from common import Report, cross_check, interleaved, options, show_progress, some_bars
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from hybrid_ml.market.bars import MAX_GAP_MINUTES, to_grid
from hybrid_ml.market.features import make_features
from hybrid_ml.market.rolling import Rolling

Series = NDArray[np.float64]
Primitive = Callable[[Series, int], Series]

FEW = 1_500
WINDOW = 60
FLAT_BARS = 2 * WINDOW
FLAT_STRETCHES = 80
CUTS = 50
OURS = "ours"
PRIMITIVES: dict[str, dict[str, Primitive]] = {
    "mean": {
        OURS: lambda values, window: Rolling(values).mean(window),
        "pandas": lambda values, window: pd.Series(values).rolling(window).mean().to_numpy(),
        "bottleneck": bottleneck.move_mean,
        "TA-Lib": talib.SMA,
    },
    "standard deviation": {
        OURS: lambda values, window: Rolling(values).mean_and_deviation(window)[1],
        "pandas": lambda values, window: pd.Series(values).rolling(window).std(ddof=0).to_numpy(),
        "bottleneck": bottleneck.move_std,
        "TA-Lib": talib.STDDEV,
    },
    "maximum": {
        OURS: lambda values, window: Rolling(values).maximum(window),
        "pandas": lambda values, window: pd.Series(values).rolling(window).max().to_numpy(),
        "bottleneck": bottleneck.move_max,
        "TA-Lib": talib.MAX,
    },
}


def exactly(statistic: str, values: Series, window: int) -> NDArray[np.longdouble]:
    """Each full window on its own, in extended precision."""
    windows = sliding_window_view(values, window).astype(np.longdouble)
    reductions: dict[str, Callable[..., Any]] = {"mean": np.mean, "standard deviation": np.std, "maximum": np.max}
    return np.asarray(reductions[statistic](windows, axis=1))


def with_flat_stretches(values: Series) -> tuple[Series, NDArray[np.bool_]]:
    """The series with pauses in which the price stands still, and which windows lie inside a pause."""
    parts = np.array_split(values, FLAT_STRETCHES)
    paused = np.concatenate([np.append(part, np.full(FLAT_BARS, part[-1])) for part in parts])
    rolling = Rolling(paused)
    return paused, rolling.maximum(WINDOW) == rolling.minimum(WINDOW)


def compare(statistic: str, values: Series, repetitions: int) -> list[dict[str, Any]]:
    """One row for each library; `values` must hold no NaN."""
    show_progress(f"rolling windows: {statistic}")
    found = PRIMITIVES[statistic]
    median = interleaved({name: partial(work, values, WINDOW) for name, work in found.items()}, repetitions)
    exact = exactly(statistic, values, WINDOW)
    reference = found[OURS](values, WINDOW)[WINDOW - 1 :]
    ends = np.linspace(2 * FEW, len(values), CUTS, dtype=int)
    stretches, flat = with_flat_stretches(values)
    holed = values.copy()
    holed[len(values) // 2] = np.nan
    rows = []
    for name, work in found.items():
        whole = work(values, WINDOW)
        rows.append(
            {
                "statistic": statistic,
                "library": name,
                "ms": median[name] * 1000,
                "times ours": median[name] / median[OURS],
                "off exact": float(np.abs(whole[WINDOW - 1 :] - exact).max()),
                "off ours": float(np.abs(whole[WINDOW - 1 :] - reference).max()),
                "moves when cut": max(float(abs(whole[e - 1] - work(values[e - FEW : e], WINDOW)[-1])) for e in ends),
                "flat windows": float(work(stretches, WINDOW)[flat].max()) if "deviation" in statistic else None,
                "lost to a NaN": int(np.isnan(work(holed, WINDOW)).sum() - np.isnan(whole).sum()),
            }
        )
    return rows


def main() -> None:
    parser = options(__doc__, smallest={"bars": 4_000, "repetitions": 1})
    parser.add_argument("--bars", type=int, default=80_000)
    parser.add_argument("--repetitions", type=int, default=15)
    chosen = parser.parse_args()
    bars = some_bars(chosen.bars, chosen.csv_path)
    grid = to_grid(bars, MAX_GAP_MINUTES)
    median = interleaved(
        {"many": lambda: make_features(grid), "few": lambda: make_features(grid.tail(FEW))}, chosen.repetitions
    )
    same = make_features(grid).tail(1).equals(make_features(grid.tail(FEW)).tail(1))
    cross_check(same, f"the newest features are the same bits on {len(grid):,} and on {FEW:,} bars")

    values = np.log(bars["close"].to_numpy(dtype=np.float64))
    tables = [row for statistic in PRIMITIVES for row in compare(statistic, values, chosen.repetitions)]
    ours = [row for row in tables if row["library"] == OURS]
    cross_check(all(row["moves when cut"] == 0 for row in ours), "our windows do not depend on the history before them")
    cross_check(not any(row["flat windows"] for row in ours), "our flat windows have no deviation")
    cross_check(all(row["lost to a NaN"] == WINDOW for row in ours), "our windows lose no more than a window to a NaN")
    report = Report(f"features: {make_features(grid.tail(1)).shape[1]} of them, median of {chosen.repetitions}")
    report.add(f"make_features, {len(grid):,} bars", median["many"] * 1000, "ms")
    report.add(f"make_features, {FEW:,} bars", median["few"] * 1000, "ms")
    report.tables[f"rolling windows of {WINDOW} bars over {len(values):,} log closes"] = tables
    report.show(as_json=chosen.json)


if __name__ == "__main__":
    main()
