"""Backfill: read, set bad rows aside, store by COPY."""

import time
from datetime import UTC, datetime

from prefect import flow

from flows.scheduling import run_name
from hybrid_ml.errors import BadInput
from hybrid_ml.market.simulation import SIMULATED_SYMBOL
from hybrid_ml.schemas.reports import BackfillReport
from hybrid_ml.schemas.requests import BackfillRequest
from hybrid_ml.text.counts import counted
from tasks.backfill import measure_bars, read_bars, simulate, store_bars
from tasks.files import refuse_foreign_files
from tasks.pages import send_pages
from tasks.report import report_quality


@flow(name="backfill", flow_run_name=run_name)
def backfill(request: BackfillRequest) -> BackfillReport:
    """Load bars into the database; loading the same ones again does no harm."""
    started, now = time.perf_counter(), datetime.now(UTC)
    refuse_foreign_files(request)
    if request.source == "demo":
        symbol, source = SIMULATED_SYMBOL, f"the simulated market (seed {request.seed})"
        cleaned = simulate(request.until or now, request.bars, request.seed, request.sessions)
    else:
        symbol, source = str(request.symbol), str(request.csv_path)
        cleaned = read_bars(request.csv_path)
    written = store_bars(symbol, source, cleaned)
    if cleaned.bars.empty:
        raise BadInput(f"{source}: no usable bar in {counted(len(cleaned.set_aside), 'row')}: {_told(cleaned.reasons)}")
    report_quality(symbol, measure_bars(symbol, cleaned, now))
    send_pages()
    times = cleaned.bars["time"]
    return BackfillReport(
        symbol=symbol,
        source=source,
        rows_read=len(cleaned.bars) + len(cleaned.set_aside),
        rows_written=written,
        rows_unchanged=len(cleaned.bars) - written,
        rows_set_aside=len(cleaned.set_aside),
        reasons=cleaned.reasons,
        first=times.iloc[0].to_pydatetime(),
        last=times.iloc[-1].to_pydatetime(),
        seconds=round(time.perf_counter() - started, 3),
    )


def _told(reasons: dict[str, int]) -> str:
    return "; ".join(f"{count:,} because {reason}" for reason, count in reasons.items())
