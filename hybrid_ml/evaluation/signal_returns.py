"""What following the signals gave: from close to close, and as a person could have had it.

From close to close nobody could trade: the bar of an answer is over when the answer is made. A person could enter at
the next traded minute's open (`market.entries`) and pays a fee. Beside it stands a guess on the same signals.
One unit is put on each signal, nothing is reinvested; returns are logarithmic, in basis points.
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hybrid_ml.evaluation.day_blocks import interval, t_over_days
from hybrid_ml.market.bars import BAR_LENGTH
from hybrid_ml.market.labels import FLAT

FOLLOWED_COLUMNS = ["bar_time", "forward_return", "entry_time", "entry_return", "tradable", "right", "along", "guess"]
"""A row for each signal with an outcome. `right`: whether it came true; `along`: 1 for UP, -1 for DOWN; `guess`: the
same of a guess without a model; the others as in the ledger, `tradable` None where it is not known."""


def returns_bps(forward_returns: NDArray[np.float64], direction: NDArray[np.int64]) -> NDArray[np.float64]:
    """The return of following `direction` (n,) of 0..2 before fees, basis points (n,); FLAT gives 0."""
    return (direction - FLAT) * forward_returns * 1e4


def measure_followed(followed: pd.DataFrame, day_count: int, fee_bps: float) -> dict[str, Any]:
    """Metrics of `followed` (FOLLOWED_COLUMNS) on `day_count` days with answers, at least one: basis points, shares.

    Returns are from close to close; `entry` has those that a person could have had, as returned by `measure_entries`.
    Only count and per_day where there is no signal.
    """
    result: dict[str, Any] = {"count": len(followed), "per_day": len(followed) / day_count}
    if followed.empty:
        return result
    right, days = followed["right"].to_numpy(dtype=np.float64), days_of(followed)
    gained = along_bps(followed, "forward_return")
    return result | {
        "precision": float(right.mean()),
        "precision_interval_of_days": interval(right, days),
        "mean_return_bps": float(gained.mean()),
        "mean_return_interval_bps": interval(gained, days),
        "mean_return_after_fee_bps": float(gained.mean() - fee_bps),
        "median_return_bps": float(np.median(gained)),
        "entry": measure_entries(followed, day_count, fee_bps),
    }


def measure_entries(followed: pd.DataFrame, day_count: int, fee_bps: float) -> dict[str, Any]:
    """What a person could have had of `followed` (FOLLOWED_COLUMNS, at least one row), basis points.

    Counts of signals `traded`, `not_tradable` and of `unknown` entry; `stale_share`: of those whose entry is known,
    which had no trade in the minute after their bar. Where any was traded: returns from the entry, before and after
    the fee, of a guess after it; `t` over `day_count` days with answers; the end and the deepest fall of the equity
    line.
    """
    known, traded = followed["tradable"].notna().to_numpy(), is_traded(followed)
    late = ~(followed["entry_time"] == followed["bar_time"] + BAR_LENGTH).to_numpy()
    counts = {
        "traded": int(traded.sum()),
        "not_tradable": int((known & ~traded).sum()),
        "unknown": int((~known).sum()),
        "stale_share": float(late[known].mean()) if known.any() else None,
    }
    if not traded.any():
        return counts
    gained, days = along_bps(followed[traded], "entry_return"), days_of(followed[traded])
    guessed, line = along_bps(followed[traded], "entry_return", "guess"), equity(followed, fee_bps)
    return counts | {
        "mean_return_bps": float(gained.mean()),
        "median_return_bps": float(np.median(gained)),
        "mean_return_after_fee_bps": float(gained.mean() - fee_bps),
        "mean_return_after_fee_interval_bps": interval(gained - fee_bps, days),
        "median_return_after_fee_bps": float(np.median(gained) - fee_bps),
        "guess_mean_return_after_fee_bps": float(guessed.mean() - fee_bps),
        "t": t_over_days(gained - fee_bps, days, day_count),
        "total_bps": float(line["total_bps"].iloc[-1]),
        "drawdown_bps": drawdown_bps(line["total_bps"].to_numpy()),
    }


def equity(followed: pd.DataFrame, fee_bps: float) -> pd.DataFrame:
    """The sum of returns after the fee, one unit a signal, and that of the guess, after each traded one of `followed`.

    Columns: time (of the entry), total_bps, guess_total_bps; no row where none was traded.
    """
    traded = followed[is_traded(followed)].sort_values("entry_time", kind="stable")
    totals = {
        name: np.cumsum(along_bps(traded, "entry_return", way) - fee_bps)
        for name, way in (("total_bps", "along"), ("guess_total_bps", "guess"))
    }
    return pd.DataFrame({"time": traded["entry_time"].array, **totals})


def drawdown_bps(totals: NDArray[np.float64]) -> float:
    """The deepest fall of `totals` (n,) below its highest value until then, at least 0, the beginning; 0 of no fall."""
    from_start = np.concatenate([[0.0], totals])
    return float((np.maximum.accumulate(from_start) - from_start).max())


def along_bps(followed: pd.DataFrame, returns: str, way: str = "along") -> NDArray[np.float64]:
    """Basis points (n,) of going `way` ("along" or "guess") for the return of the price in column `returns`."""
    return followed[way].to_numpy(dtype=np.float64) * followed[returns].to_numpy(dtype=np.float64) * 1e4


def is_traded(followed: pd.DataFrame) -> NDArray[np.bool_]:
    """Which signals have an entry, (n,)."""
    return np.asarray(followed["tradable"].eq(True), dtype=bool)


def days_of(followed: pd.DataFrame) -> NDArray[Any]:
    """The day, UTC, of the bar of each, (n,)."""
    return followed["bar_time"].dt.floor("D").to_numpy()
