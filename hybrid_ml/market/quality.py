"""The quality of data for training: counts, and warnings for a person."""

from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import pandas as pd

from hybrid_ml.market.bars import age_minutes

MOST_CARRIED_SHARE = 0.6
MOST_UNCHANGED_SHARE = 0.7
OLD_MINUTES = 24 * 60


@dataclass(frozen=True)
class DataQuality:
    """Counts over a period of the grid, shares between 0 and 1."""

    bars: int
    first: datetime
    last: datetime
    sessions: int
    carried_share: float
    no_volume_share: float
    unchanged_share: float
    age_minutes: float
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Revisions:
    """How many bars were replaced by other values, and when the last one was."""

    count: int
    newest: datetime | None


def measure_quality(grid: pd.DataFrame, as_of: datetime) -> DataQuality:
    """Measure `grid` (see `to_grid`, at least one bar) as of `as_of`."""
    last = grid.index[-1].to_pydatetime()
    quality = DataQuality(
        bars=len(grid),
        first=grid.index[0].to_pydatetime(),
        last=last,
        sessions=int(grid["session"].nunique()),
        carried_share=float(grid["carried"].mean()),
        no_volume_share=float((grid["volume"] == 0).mean()),
        unchanged_share=float(np.mean(np.diff(grid["close"].to_numpy()) == 0)) if len(grid) > 1 else 0.0,
        age_minutes=age_minutes(last, as_of),
    )
    if quality.age_minutes > OLD_MINUTES:
        quality.warnings.append(f"the newest bar is {quality.age_minutes / 1440:,.1f} days old")
    if quality.carried_share > MOST_CARRIED_SHARE:
        quality.warnings.append(f"{quality.carried_share:.0%} of the minutes had no trade and repeat the last close")
    if quality.unchanged_share > MOST_UNCHANGED_SHARE:
        quality.warnings.append(f"the price did not move in {quality.unchanged_share:.0%} of the minutes")
    return quality
