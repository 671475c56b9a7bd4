"""Backfill: bars of a file, or of the simulated market, into the database."""

from datetime import datetime
from pathlib import Path

import pandas as pd

from hybrid_ml.config.settings import load_settings
from hybrid_ml.console.progress import progress
from hybrid_ml.errors import BadInput
from hybrid_ml.learning.scaling import FULL_ROW_LIMIT
from hybrid_ml.market.bar_rows import BarRows
from hybrid_ml.market.bars import clean_bars, to_grid
from hybrid_ml.market.file_formats import Reading
from hybrid_ml.market.file_limits import FileLimits
from hybrid_ml.market.quality import DataQuality, measure_quality
from hybrid_ml.market.simulation import simulate_bars
from hybrid_ml.market.sources import load_rows
from hybrid_ml.store.bars import recent_bars
from hybrid_ml.store.loading import Loaded, load_bars
from hybrid_ml.text.counts import counted
from tasks.pipeline_task import database, log, pipeline_task


@pipeline_task("read {path}", timeout_seconds=1_800)
def read_bars(path: Path | None, reading: Reading, now: datetime) -> BarRows:
    """Rows that are valid for themselves, and rejected ones; logs what each file was taken for."""
    rows = load_rows(path, FileLimits(load_settings().hybrid_ml_max_file_mb), reading, now)
    for source, description in zip(rows.sources, rows.descriptions, strict=True):
        log().info("%s taken for: %s", source, description)
    return rows


@pipeline_task("simulate bars ({bars})", timeout_seconds=600)
def simulate(until: datetime, bars: int, seed: int, sessions: bool) -> BarRows:
    """Bars of the simulated market."""
    try:
        simulated = simulate_bars(until, bars=bars, seed=seed, sessions=sessions)
    except ValueError as error:
        raise BadInput(str(error)) from None
    return BarRows.of(clean_bars(simulated).bars, "the simulated market")


@pipeline_task("store bars {symbol}", timeout_seconds=3_600, uses_io=True)
def store_bars(symbol: str, rows: BarRows) -> Loaded:
    """Clean, compare with the stored bars and upsert by COPY."""
    with progress(f"bars of {symbol}", len(rows)) as advance:
        loaded = load_bars(database(), symbol, rows, FULL_ROW_LIMIT, advance)
    for reason, count in loaded.reasons.items():
        log().warning("%s: %s rejected: %s", symbol, counted(count, "row"), reason)
    usable = counted(loaded.rows_usable, "bar")
    log().info("%s: %s new, %s changed, of %s", symbol, f"{loaded.rows_new:,}", f"{loaded.rows_changed:,}", usable)
    if loaded.doubt:
        log().warning("%s: %s", symbol, loaded.doubt)
    return loaded


@pipeline_task("load newest bars {symbol}", timeout_seconds=120, uses_io=True)
def load_newest(symbol: str, now: datetime) -> pd.DataFrame:
    """The newest stored bars of a symbol, at most as many as a training can use."""
    with database().connect() as connection:
        return recent_bars(connection, symbol, now, FULL_ROW_LIMIT)


@pipeline_task("validate data {symbol}", timeout_seconds=600)
def measure_bars(symbol: str, newest: pd.DataFrame, now: datetime) -> DataQuality:
    """Counts and warnings about the newest bars of a load, at most as many as a training can use."""
    quality = measure_quality(to_grid(newest, load_settings().hybrid_ml_max_gap_minutes), now)
    for warning in quality.warnings:
        log().warning("%s: %s", symbol, warning)
    return quality
