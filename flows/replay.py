"""Replay: the live decisions on past bars, to measure them before any alert is sent."""

import time
from datetime import UTC, datetime

from prefect import flow

from flows.scheduling import run_name
from hybrid_ml.errors import BadInput
from hybrid_ml.replay.replayed_weeks import answers_of
from hybrid_ml.replay.result import ReplayReport
from hybrid_ml.schemas.requests import ReplayRequest
from tasks.files import refuse_disallowed_files
from tasks.load import fill_in_bounds, open_run
from tasks.pages import send_pages
from tasks.replay import load_past, open_executor, open_folder, replay_rivals, replay_weeks
from tasks.replay_report import check_outputs, write_predictions, write_report


@flow(name="replay", flow_run_name=run_name)
def replay(request: ReplayRequest) -> ReplayReport:
    """Train every Sunday and analyse every ten minutes of the past, with the live code."""
    started = time.perf_counter()
    refuse_disallowed_files(request)
    run = open_run(request, now=datetime.now(UTC))
    request = fill_in_bounds(request)
    if len(run.symbols) != 1:
        raise BadInput(f"a replay is of one symbol; choose one of {', '.join(run.symbols)} with --symbol NAME")
    symbol = run.symbols[0]
    check_outputs(request)
    past = load_past(symbol, run, request)
    folder = open_folder(symbol, run, request, past)
    with folder.reserved(), open_executor(request) as pool:
        weeks = replay_weeks(symbol, run, request, past, folder, pool)
        replay_rivals(symbol, run, request, past, folder, weeks, pool)
    answers = past.with_entries(answers_of(weeks))
    if request.predictions_path:
        write_predictions(answers, request.predictions_path)
    seconds = round(time.perf_counter() - started, 3)
    report = write_report(symbol, request, answers, weeks, folder, seconds)
    send_pages()
    return report
