"""Degenerate fine-tuning windows: constant prices, a single class, missing features."""

import math
from collections.abc import Callable
from datetime import timedelta

import pandas as pd
import pytest
from sqlalchemy import text

from hybrid_ml.market.bars import PRICE_COLUMNS
from hybrid_ml.store.bars import store_bars
from tests.faults.conftest import ANALYSIS, Installation, timed
from tests.faults.table import FaultRows
from tests.flows.running import AS_OF, analyze

WINDOW_MINUTES = 1_600


def constant(bars: pd.DataFrame) -> pd.DataFrame:
    bars.loc[:, PRICE_COLUMNS] = 50.0
    return bars


def always_rising(bars: pd.DataFrame) -> pd.DataFrame:
    """Every label is UP."""
    price = 50.0 * 1.002 ** pd.Series(range(len(bars)), index=bars.index)
    for column in PRICE_COLUMNS:
        bars[column] = price
    return bars


def alternating_sessions(bars: pd.DataFrame) -> pd.DataFrame:
    """An hour of bars, then an hour without: long windows are never full, so their features are NaN."""
    return bars[bars["time"].dt.hour % 2 == (AS_OF - timedelta(minutes=1)).hour % 2]


@pytest.mark.parametrize("shape", [constant, always_rising, alternating_sessions])
def test_degenerate_fine_tuning_windows_keep_the_model_valid(
    installation: Installation,
    faults: FaultRows,
    shape: Callable[[pd.DataFrame], pd.DataFrame],
) -> None:
    with installation.engine.begin() as connection:
        newest = pd.read_sql(
            text("SELECT time, open, high, low, close, volume FROM bars WHERE time >= :since ORDER BY time"),
            connection,
            params={"since": AS_OF - timedelta(minutes=WINDOW_MINUTES)},
        )
        connection.execute(
            text("DELETE FROM bars WHERE time >= :since"), {"since": AS_OF - timedelta(minutes=WINDOW_MINUTES)}
        )
    store_bars(installation.engine, "ABC", shape(newest))
    answer, seconds = timed(lambda: analyze(**ANALYSIS))
    assert sum(answer.probabilities.values()) == pytest.approx(1.0)
    assert all(math.isfinite(value) for value in answer.probabilities.values())
    assert installation.is_consistent()
    lengths = installation.rows("SELECT max(length) FROM model_versions WHERE kind = 'adapter'")
    assert lengths[0][0] is None or lengths[0][0] < 150_000
    again = analyze(**{**ANALYSIS, "as_of": AS_OF + timedelta(minutes=10)})
    assert math.isfinite(again.confidence)
    faults.add(f"fine-tuning window: {shape.__name__.replace('_', ' ')}", "an answer, finite; adapter small", seconds)
