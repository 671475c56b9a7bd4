"""Weekly training: load, validate the data, train, judge on unseen rows, save."""

import time
from datetime import UTC, datetime
from functools import partial
from typing import Literal

from prefect import flow
from prefect.client.schemas.objects import State

from flows.final_states import locks, state_without_symbols, to_final_state
from flows.scheduling import run_name, skip_if_late
from flows.task_runners import results, with_shared_threads, workers
from hybrid_ml.config.settings import load_settings
from hybrid_ml.pipeline.reports import training_report
from hybrid_ml.pipeline.run import Run
from hybrid_ml.pipeline.schedule import TRAINING_MINUTES
from hybrid_ml.schemas.reports import Training, TrainingReport
from hybrid_ml.schemas.requests import TrainingRequest
from tasks.files import refuse_disallowed_files
from tasks.load import find_trained, load_training_window, open_run
from tasks.lock import lock_symbols
from tasks.pages import send_pages
from tasks.pipeline_task import pipeline_task
from tasks.refresh import refresh_bars
from tasks.report import report_quality, report_training
from tasks.save import prune_models, save_base, save_copy
from tasks.train import choose_leaders, choose_rows, fit_base
from tasks.validate import compare_with_champion, validate_data, validate_on_hold_out


@flow(name="weekly training", flow_run_name=run_name)
def weekly_training(request: TrainingRequest = TrainingRequest()) -> State | TrainingReport:
    """Train a base for every symbol; it becomes champion where it is better than the champion."""
    if late := skip_if_late(TRAINING_MINUTES, request.as_of):
        return late
    refuse_disallowed_files(request)
    run = open_run(request, now=datetime.now(UTC))
    if not run.symbols:
        return state_without_symbols()
    late_bars, refused = refresh_bars(run) if run.is_live else ({}, [])
    before, lock_seconds = find_trained(run), load_settings().hybrid_ml_lock_wait_seconds
    with workers(request, run) as working:
        start = partial(working.start, train, run=with_shared_threads(run), request=request)
        missing = [symbol for symbol in run.symbols if symbol not in before]
        trainings, failures = results([start(symbol, wait_seconds=0.0) for symbol in missing])
        # Symbols locked by another run are trained after the free ones.
        busy = [failure.symbol for failure in failures if failure.busy]
        afterwards, unfinished = results([start(symbol, wait_seconds=lock_seconds) for symbol in busy])
    trainings += afterwards
    failures = [failure for failure in failures if not failure.busy] + unfinished
    late_bars |= {failure.symbol: failure.error for failure in refused}  # they were trained on what there is
    report = TrainingReport(trainings=trainings, failures=failures, finished_before=before, late=late_bars)
    report_training(report, run)
    send_pages()
    return to_final_state(report)


@pipeline_task("train {symbol}", timeout_seconds=7_200)
def train(symbol: str, run: Run, request: TrainingRequest, wait_seconds: float) -> Training:
    """Train one symbol under its lock, which is released at once, since many symbols may follow."""
    with locks(wait_seconds) as held:
        if not lock_symbols([symbol], held):
            raise held.busy(symbol)
        return train_symbol(symbol, run, week=request.week, limit=request.limit)


def train_symbol(
    symbol: str,
    run: Run,
    *,
    kind: Literal["base", "scratch"] = "base",
    week: int | None = None,
    limit: int | None = None,
) -> Training:
    """Train one symbol: from bars to an evaluated model in the registry."""
    started = time.perf_counter()
    week, row_limit = choose_rows(symbol, run, week, limit)
    window = load_training_window(symbol, run, row_limit)
    quality = validate_data(symbol, run, window)
    leaders = choose_leaders(symbol, run, window, row_limit) if window.rows.leader_features else []
    model, hold_out = fit_base(symbol, run, window, week, row_limit, kind, leaders)
    model = validate_on_hold_out(symbol, run, model, hold_out)
    promotion = compare_with_champion(symbol, run, model, hold_out)
    promotion = save_base(symbol, model, promotion)
    path = save_copy(symbol, run, model if promotion.is_new_champion(model.version) else None)
    prune_models(symbol)
    report_quality(symbol, quality)
    seconds = time.perf_counter() - started
    return training_report(model, promotion, minutes=len(window.rows), seconds=seconds, path=path)
