"""Backfill: bars of a file, or of the simulated market, into the database."""

from datetime import datetime
from pathlib import Path

from hybrid_ml.config.settings import load_settings
from hybrid_ml.console.run_tables import progress
from hybrid_ml.errors import BadInput
from hybrid_ml.learning.scaling import FULL_ROW_LIMIT
from hybrid_ml.market.bars import CleanBars, clean_bars, to_grid
from hybrid_ml.market.quality import DataQuality, measure_quality
from hybrid_ml.market.simulation import simulate_bars
from hybrid_ml.store import bars as stored_bars
from hybrid_ml.text.counts import counted
from tasks.files import read_bars_of
from tasks.pipeline_task import database, log, pipeline_task


@pipeline_task("read {path}", timeout_seconds=1_800)
def read_bars(path: Path | None) -> CleanBars:
    """Good rows and rows set aside."""
    cleaned = read_bars_of(path)
    for reason, count in cleaned.reasons.items():
        log().warning("%s: %s set aside: %s", path, counted(count, "row"), reason)
    return cleaned


@pipeline_task("simulate bars ({bars})", timeout_seconds=600)
def simulate(until: datetime, bars: int, seed: int, sessions: bool) -> CleanBars:
    """Bars of the simulated market."""
    try:
        return clean_bars(simulate_bars(until, bars=bars, seed=seed, sessions=sessions))
    except ValueError as error:
        raise BadInput(str(error)) from None


@pipeline_task("store bars {symbol}", timeout_seconds=3_600, uses_io=True)
def store_bars(symbol: str, source: str, cleaned: CleanBars) -> int:
    """Upsert by COPY; returns how many rows were new or different."""
    engine = database()
    with progress(f"bars of {symbol}", len(cleaned.bars)) as advance:
        written = stored_bars.store_bars(engine, symbol, cleaned.bars, advance)
    stored_bars.store_set_aside(engine, symbol, source, cleaned)
    log().info("%s: new or different: %s of %s", symbol, f"{written:,}", counted(len(cleaned.bars), "bar"))
    return written


@pipeline_task("validate data {symbol}", timeout_seconds=600)
def measure_bars(symbol: str, cleaned: CleanBars, now: datetime) -> DataQuality:
    """Counts and warnings about the newest bars of a load, as many as a training could want."""
    newest = cleaned.bars.tail(FULL_ROW_LIMIT).reset_index(drop=True)
    quality = measure_quality(to_grid(newest, load_settings().hybrid_ml_max_gap_minutes), now)
    for warning in quality.warnings:
        log().warning("%s: %s", symbol, warning)
    return quality
