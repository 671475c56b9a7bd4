"""Backfill: the bars of a file, reject bad rows, store by COPY; or the history of an exchange, page by page."""

import time
from datetime import UTC, datetime

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.task_runners import ThreadPoolTaskRunner

from flows.final_states import to_final_state
from flows.scheduling import run_name
from flows.task_runners import MOST_SYMBOLS_OF_FEEDS, Workers, results
from hybrid_ml.console.progress import shared_progress
from hybrid_ml.errors import BadInput
from hybrid_ml.market.file_formats import Reading
from hybrid_ml.market.simulation import SIMULATED_SYMBOL
from hybrid_ml.market.sources import source_name
from hybrid_ml.pipeline.reports import backfill_report
from hybrid_ml.schemas.backfill_request import BackfillRequest
from hybrid_ml.schemas.reports import BackfillReport, HistoryReport
from hybrid_ml.text.counts import counted
from tasks.backfill import load_newest, measure_bars, read_bars, simulate, store_bars
from tasks.files import refuse_disallowed_files
from tasks.history import ending_with_block, exchange_symbols, load_history
from tasks.pages import send_pages
from tasks.report import report_quality


@flow(name="backfill", flow_run_name=run_name)
def backfill(request: BackfillRequest) -> State | HistoryReport | BackfillReport:
    """Load bars into the database; loading the same ones again does no harm."""
    started, now = time.perf_counter(), datetime.now(UTC)
    refuse_disallowed_files(request)
    if request.source == "exchange":
        report = _load_exchange(request)
        for history in report.histories:
            if history.bars or history.known:
                report_quality(history.symbol, measure_bars(history.symbol, load_newest(history.symbol, now), now))
        send_pages()
        return to_final_state(report)
    if request.source == "demo":
        symbol, source = SIMULATED_SYMBOL, f"the simulated market (seed {request.seed})"
        rows = simulate(request.until or now, request.bars, request.seed, request.sessions)
    else:
        symbol, source = str(request.symbol), source_name(request.csv_path)
        reading = Reading(request.column_names, request.time_format, request.timezone)
        rows = read_bars(request.csv_path, reading, now)
    loaded = store_bars(symbol, rows)
    if loaded.newest.empty:
        raise BadInput(
            f"{source}: no usable bar in {counted(loaded.rows_read, 'row')}: {_format_reasons(loaded.reasons)}; "
            "correct them and load them again"
        )
    report_quality(symbol, measure_bars(symbol, loaded.newest, now))
    send_pages()
    return backfill_report(symbol, source, rows.taken_for, loaded, time.perf_counter() - started)


def _load_exchange(request: BackfillRequest) -> HistoryReport:
    """Every symbol side by side; one that fails does not stop the others."""
    symbols = exchange_symbols(request)
    threads: ThreadPoolTaskRunner[HistoryReport] = ThreadPoolTaskRunner(min(MOST_SYMBOLS_OF_FEEDS, len(symbols)))
    with (
        shared_progress(f"minutes from {request.exchange}") as bar,
        threads as runner,
        ending_with_block() as ending,
    ):
        parameters = {"request": request, "progress": bar, "ending": ending}
        histories, failures = results([Workers(runner).start(load_history, name, **parameters) for name in symbols])
    return HistoryReport(histories=histories, failures=failures)


def _format_reasons(reasons: dict[str, int]) -> str:
    return "; ".join(f"{count:,} because {reason}" for reason, count in reasons.items())
