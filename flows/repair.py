"""Repair: what is missing of the bars of feeds, newest first, so that an outage heals by itself."""

from datetime import UTC, datetime

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.task_runners import ThreadPoolTaskRunner

from flows.final_states import to_final_state
from flows.scheduling import run_name, skip_if_late
from flows.task_runners import MOST_SYMBOLS_OF_FEEDS, Workers, results
from hybrid_ml.console.progress import shared_progress
from hybrid_ml.pipeline.schedule import REPAIR_MINUTES
from hybrid_ml.schemas.reports import HistoryReport
from hybrid_ml.schemas.requests import RepairRequest
from tasks.history import ending_with_block, feed_symbols, repair_bars
from tasks.pages import send_pages
from tasks.report import report_bars


@flow(name="repair", flow_run_name=run_name)
def repair(request: RepairRequest = RepairRequest()) -> State | HistoryReport:
    """Ask the feed of every symbol for its missing minutes; those of which it knows nothing are asked once more."""
    if late := skip_if_late(REPAIR_MINUTES, None):
        return late
    symbols = feed_symbols(request)
    threads: ThreadPoolTaskRunner[HistoryReport] = ThreadPoolTaskRunner(MOST_SYMBOLS_OF_FEEDS)
    with shared_progress("missing minutes") as bar, threads as runner, ending_with_block() as ending:
        start = Workers(runner).start
        histories, failures = results([start(repair_bars, name, progress=bar, ending=ending) for name in symbols])
    report_bars(datetime.now(UTC))
    send_pages()
    return to_final_state(HistoryReport(histories=histories, failures=failures))
