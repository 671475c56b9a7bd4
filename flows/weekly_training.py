"""Weekly training: load, validate the data, train, judge on unseen rows, save."""

import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal

from prefect import flow
from prefect.client.schemas.objects import State

from flows.final_states import locks, to_final_state
from flows.scheduling import run_name, skipped
from flows.task_runners import results, with_shared_threads, workers
from hybrid_ml.config.settings import load_settings
from hybrid_ml.learning.model import HybridModel
from hybrid_ml.learning.promotion import Promotion
from hybrid_ml.pipeline.context import Run
from hybrid_ml.pipeline.schedule import TRAINING_MINUTES
from hybrid_ml.schemas.reports import Training, TrainingReport
from hybrid_ml.schemas.requests import TrainingRequest
from tasks.files import refuse_foreign_files
from tasks.load import find_trained, load_training_window, open_run
from tasks.lock import lock_symbols
from tasks.pages import send_pages
from tasks.pipeline_task import pipeline_task
from tasks.report import report_quality, report_training
from tasks.save import prune_models, save_base, save_copy
from tasks.train import choose_rows, fit_base
from tasks.validate import compare_with_champion, validate_data, validate_on_hold_out


@flow(name="weekly training", flow_run_name=run_name)
def weekly_training(request: TrainingRequest = TrainingRequest()) -> State | TrainingReport:
    """Train a base model for every symbol; it serves from now on where it is better than the champion."""
    if late := skipped(TRAINING_MINUTES, request.as_of):
        return late
    refuse_foreign_files(request)
    run = open_run(request, now=datetime.now(UTC))
    before, patience = find_trained(run), load_settings().hybrid_ml_lock_wait_seconds
    with workers(request, run) as working:
        start = partial(working.start, train, run=with_shared_threads(run), request=request)
        missing = [symbol for symbol in run.symbols if symbol not in before]
        trainings, failures = results([start(symbol, wait_seconds=0.0) for symbol in missing])
        # Symbols that another run is at have their turn when the free ones have had theirs.
        busy = [failure.symbol for failure in failures if failure.busy]
        afterwards, unfinished = results([start(symbol, wait_seconds=patience) for symbol in busy])
    trainings += afterwards
    failures = [failure for failure in failures if not failure.busy] + unfinished
    report = TrainingReport(trainings=trainings, failures=failures, finished_before=before)
    report_training(report, run)
    send_pages()
    return to_final_state(report)


@pipeline_task("train {symbol}", timeout_seconds=7_200)
def train(symbol: str, run: Run, request: TrainingRequest, wait_seconds: float) -> Training:
    """One symbol, kept from other runs meanwhile; its lock is let go at once, for there may be many to train."""
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
    """One symbol from bars to a judged model in the registry."""
    started = time.perf_counter()
    week, row_limit = choose_rows(symbol, run, week, limit)
    window = load_training_window(symbol, run, row_limit)
    report_quality(symbol, validate_data(symbol, run, window))
    model, hold_out = fit_base(symbol, run, window, week, row_limit, kind)
    model = validate_on_hold_out(symbol, run, model, hold_out)
    promotion = compare_with_champion(symbol, run, model, hold_out)
    promotion = save_base(symbol, model, promotion)
    path = save_copy(symbol, run, model)
    prune_models(symbol)
    return _training(model, len(window.rows), promotion, time.perf_counter() - started, path)


def _training(model: HybridModel, minutes: int, promotion: Promotion, seconds: float, path: Path | None) -> Training:
    base = model.base
    return Training(
        symbol=base.symbol,
        version=base.version,
        kind=base.kind,
        week=base.week,
        row_limit=base.row_limit,
        rows=base.rows,
        minutes=minutes,
        trained_until=base.trained_until,
        metrics=base.metrics,
        promoted=promotion.promoted,
        reason=promotion.reason,
        champion=promotion.champion,
        challenger_log_loss=promotion.challenger_log_loss,
        comparison=promotion.comparison,
        seconds=round(seconds, 3),
        path=path,
    )
