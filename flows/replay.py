"""Replay: the past through the live decisions, to know what they are worth before any alert."""

import time
from datetime import UTC, datetime

from prefect import flow

from flows.ending import run_name
from hybrid_ml.errors import BadInput
from hybrid_ml.replay.standing import no_rivals
from hybrid_ml.reports import ReplayReport
from hybrid_ml.requests import ReplayRequest
from tasks.load import open_run
from tasks.replay import load_past, new_service, open_folder, replay_week, weekly_models
from tasks.replay_report import check_outputs, write_predictions, write_report


@flow(name="replay", flow_run_name=run_name)
def replay(request: ReplayRequest) -> ReplayReport:
    """Train every Sunday and analyse every ten minutes of the past, exactly as live."""
    started = time.perf_counter()
    run = open_run(request, now=datetime.now(UTC))
    if len(run.symbols) != 1:
        raise BadInput(f"a replay is of one symbol; say which of {', '.join(run.symbols)} with --symbol NAME")
    symbol = run.symbols[0]
    check_outputs(request)
    past = load_past(symbol, run, request)
    folder = open_folder(symbol, run, request, past)
    service, first = new_service(symbol, run, request), min(folder.finished(), request.weeks)
    if first:
        folder.restore(first - 1, service)
    with weekly_models(symbol, run, request, past, first) as trained:
        for week in range(first, request.weeks):
            replay_week(symbol, week, request, past, service, folder, trained(week))
    answers = folder.answers(request.weeks)
    if request.predictions_path:
        write_predictions(answers, request.predictions_path)
    rivals = no_rivals()  # other ways of answering the same bars, to be told beside these answers
    seconds = round(time.perf_counter() - started, 3)
    return write_report(symbol, request, answers, rivals, folder, seconds)
