"""Analysis: load, validate, fine-tune, predict, gates, save, alert. Every ten minutes."""

from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from prefect import flow
from prefect.client.schemas.objects import State

from flows.failures import collect_failure, run_each
from flows.final_states import Stopwatch, locks, resting_state, state_without_symbols, to_final_state
from flows.scheduling import run_name, skip_if_late
from flows.task_runners import results, submit_as_locked, with_shared_threads, workers
from flows.weekly_training import train_symbol
from hybrid_ml.errors import ModelUnavailable
from hybrid_ml.learning.model_bytes import pack_file, seal
from hybrid_ml.market.bars import age_minutes
from hybrid_ml.pipeline.proposals import ModelInfo, Proposal, leaders_of, limit_signals
from hybrid_ml.pipeline.reports import analysis_report
from hybrid_ml.pipeline.run import Run
from hybrid_ml.pipeline.schedule import ANALYSIS_MINUTES
from hybrid_ml.reporting.signal_chart import SHOWN_MINUTES
from hybrid_ml.schemas.reports import Analysis, AnalysisReport, Failure
from hybrid_ml.schemas.requests import AnalysisRequest
from hybrid_ml.store.run_timestamps import Answered
from tasks.alert import compose_alert, confirm_alert, send_alerts
from tasks.files import refuse_disallowed_files
from tasks.fine_tune import fine_tune
from tasks.load import fill_in_bounds, find_answered, load_model, load_window, open_run
from tasks.markets import leave_out_closed
from tasks.pages import send_pages
from tasks.pipeline_task import pipeline_task
from tasks.predict import predict
from tasks.refresh import refresh_bars
from tasks.report import report_analysis
from tasks.resolve import resolve_outcomes
from tasks.save import prune_models, save_copy, save_proposal
from tasks.validate import decide_fallback, validate_model


@flow(name="analysis", flow_run_name=run_name)
def analysis(request: AnalysisRequest = AnalysisRequest()) -> State | AnalysisReport:
    """Compute an answer for each symbol's next ten minutes; an answer that passes every gate becomes an alert."""
    if late := skip_if_late(ANALYSIS_MINUTES, request.as_of):
        return late
    refuse_disallowed_files(request)
    run = open_run(request, now=datetime.now(UTC))
    if not run.symbols:
        return state_without_symbols()
    request = fill_in_bounds(request)
    run, closed, failures = leave_out_closed(run)
    late_bars, refused = refresh_bars(run) if run.is_live else ({}, [])
    failures += refused
    with collect_failure(failures, "outcomes"):
        resolve_outcomes(run, request)
    quiet = request.quiet_hours
    asleep = quiet.covers(run.as_of) and not request.disable_sleep_window
    report = AnalysisReport(
        as_of=run.as_of, asleep=asleep, analyses=[], failures=failures, late=late_bars, closed=closed
    )
    if asleep or not run.symbols:
        report.quiet_hours = str(quiet) if asleep else ""
        send_pages()
        return resting_state(report)
    answered_before = find_answered(run)
    with locks() as held, workers(request, run) as working:
        start = partial(working.start, analyse, run=with_shared_threads(run), request=request)
        started, unlocked = submit_as_locked(_without(run.symbols, answered_before), held, start)
        proposals, unanswered = results(started)
        ranked = limit_signals(
            proposals, max(0, request.bounds.max_signals - sum(earlier.signal for earlier in answered_before))
        )
        ready, uncomposed = compose(ranked, run, request)
        saved, unsaved = run_each(ready, lambda proposal: save(proposal, run, request))
    report.failures += unlocked + unanswered + uncomposed + unsaved
    with collect_failure(report.failures, "alerts"):
        send_alerts()
    for earlier in answered_before:
        if earlier.signal:
            with collect_failure(report.failures, earlier.symbol):
                confirm_alert(earlier.symbol, earlier.bar_time)
    report.analyses = [finish(proposal, run) for proposal in saved]
    report.failures += [
        Failure(symbol=answer.symbol, error=text) for answer in report.analyses for text in answer.problems
    ]
    report.finished_before = [earlier.symbol for earlier in answered_before]
    report_analysis(report, {proposal.symbol: proposal.picture_bars for proposal in saved}, quiet.zone)
    send_pages()
    return to_final_state(report)


def _without(symbols: list[str], answered_before: list[Answered]) -> list[str]:
    answered = {earlier.symbol for earlier in answered_before}
    return [symbol for symbol in symbols if symbol not in answered]


@pipeline_task("analyse {symbol}", timeout_seconds=7_200)
def analyse(symbol: str, run: Run, request: AnalysisRequest) -> Proposal:
    """One symbol from bars to an answer and every gate's verdict on it."""
    watch = Stopwatch()
    with watch("load"):
        saved = load_model(symbol, run)
        window = load_window(symbol, run, leaders_of(saved))
    with watch("validate"):
        recent = validate_model(symbol, saved.model, window) if saved.model else None
        reason = decide_fallback(symbol, run, saved, recent, window, request.max_bar_age_minutes)
    if reason:
        with watch("train"):
            training = train_symbol(symbol, run, kind="scratch")
            outcome = "which is now in use" if training.promoted else f"the champion stays: {training.reason}"
            reason = f"{reason}; trained from scratch, {outcome}"
            saved = load_model(symbol, run)
            window = load_window(symbol, run, leaders_of(saved))
            recent = validate_model(symbol, saved.model, window) if saved.model else None
    model = saved.model
    if model is None or recent is None:
        raise ModelUnavailable(f"{symbol}: {saved.problem}, and training from scratch produced no model")
    stale = age_minutes(window.bar_time, run.as_of) > request.max_bar_age_minutes
    trial = None
    if not request.fast_mode and not stale:
        with watch("fine_tune"):
            trial = fine_tune(symbol, run, model, window, request.fine_tune_rows)
            model = model.with_adapter(trial.adapter) if trial else model
    with watch("predict"):
        answer, verdicts, explanation = predict(symbol, run, request, model, window)
    return Proposal(
        symbol,
        window.bar_time,
        window.close,
        window.grid[["close"]].tail(SHOWN_MINUTES).copy(),
        ModelInfo.of(model),
        recent,
        trial,
        answer,
        verdicts,
        fallback=reason,
        stale=stale,
        absent_leaders=window.rows.absent(model.base.leaders),
        explanation=explanation,
        file=seal(pack_file(model)) if trial else None,
        stage_ms=watch.stage_ms,
    )


def compose(proposals: list[Proposal], run: Run, request: AnalysisRequest) -> tuple[list[Proposal], list[Failure]]:
    """Text and chart of each signal, made before any answer is saved, so that alerts are sent right after that."""
    signals = [proposal for proposal in proposals if proposal.signal and not proposal.stale]
    composed, failures = run_each(signals, lambda proposal: compose_alert(proposal.symbol, run, request, proposal))
    by_symbol = {proposal.symbol: proposal for proposal in composed}
    return [by_symbol.get(proposal.symbol, proposal) for proposal in proposals], failures


def save(proposal: Proposal, run: Run, request: AnalysisRequest) -> Proposal:
    """Record one symbol's answer, and its alert."""
    watch = Stopwatch()
    if not proposal.stale:
        with watch("save"):
            save_proposal(proposal.symbol, run, request, proposal)
    return replace(proposal, stage_ms=proposal.stage_ms | watch.stage_ms)


def finish(proposal: Proposal, run: Run) -> Analysis:
    """Record the state of one symbol's alert, and update the local copy of its model."""
    symbol, watch = proposal.symbol, Stopwatch()
    alert, problems = None, list[Failure]()
    if proposal.composed:
        alert = "not sent to all"
        with collect_failure(problems, symbol):
            alert = confirm_alert(symbol, proposal.bar_time)
    if proposal.trial and not proposal.stale:
        with watch("copy"), collect_failure(problems, symbol):
            save_copy(symbol, run)
        with watch("prune"), collect_failure(problems, symbol):
            prune_models(symbol)
    stage_ms = proposal.stage_ms | watch.stage_ms
    return analysis_report(proposal, alert, [problem.error for problem in problems], stage_ms)
