"""Replay: the live decisions on past bars, to measure them before any alert is sent."""

import time
from datetime import UTC, datetime

import pandas as pd
from prefect import flow

from flows.scheduling import run_name
from hybrid_ml.pipeline.run import Run
from hybrid_ml.replay.executors import WorkerPool
from hybrid_ml.replay.replayed_weeks import answers_of
from hybrid_ml.replay.result import ReplayReport, ReplaysReport
from hybrid_ml.replay.setup import request_of
from hybrid_ml.schemas.requests import ReplayRequest
from tasks.files import refuse_disallowed_files
from tasks.load import fill_in_bounds, open_run
from tasks.pages import send_pages
from tasks.replay import load_past, open_executor, open_folder, replay_rivals, replay_weeks
from tasks.replay_report import check_outputs, compare_replays, write_predictions, write_report


@flow(name="replay", flow_run_name=run_name)
def replay(request: ReplayRequest) -> ReplayReport | ReplaysReport:
    """Train every Sunday and analyse every ten minutes of the past, with the live code."""
    refuse_disallowed_files(request)
    run = open_run(request, now=datetime.now(UTC))
    request = fill_in_bounds(request)
    check_outputs(request)
    with open_executor(request) as pool:
        replayed = [replay_symbol(symbol, run, request_of(symbol, run, request), pool) for symbol in run.symbols]
    reports = [report for report, _ in replayed]
    if request.predictions_path:
        write_predictions(pd.concat([answers for _, answers in replayed], ignore_index=True), request.predictions_path)
    report = compare_replays(reports, request) if len(reports) > 1 else reports[0]
    send_pages()
    return report


def replay_symbol(symbol: str, run: Run, request: ReplayRequest, pool: WorkerPool) -> tuple[ReplayReport, pd.DataFrame]:
    """Replay one symbol: its bars, its weeks, the comparison methods, its report; the answers as well."""
    started = time.perf_counter()
    past = load_past(symbol, run, request)
    folder = open_folder(symbol, run, request, past)
    with folder.reserved():
        weeks = replay_weeks(symbol, run, request, past, folder, pool)
        replay_rivals(symbol, run, request, past, folder, weeks, pool)
    answers = past.with_entries(answers_of(weeks))
    seconds = round(time.perf_counter() - started, 3)
    return write_report(symbol, request, answers, weeks, folder, seconds), answers
