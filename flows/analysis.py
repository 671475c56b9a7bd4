"""Analysis: load, validate, fine-tune, predict, gates, save, alert. Every ten minutes."""

from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from prefect import flow
from prefect.client.schemas.objects import State

from flows.failures import run_each
from flows.final_states import Stopwatch, asleep, locks, to_final_state
from flows.scheduling import run_name, skipped
from flows.task_runners import results, submit_as_locked, with_shared_threads, workers
from flows.weekly_training import train_symbol
from hybrid_ml.errors import ModelUnavailable
from hybrid_ml.learning.model_bytes import pack_file, seal
from hybrid_ml.market.bars import age_minutes
from hybrid_ml.pipeline.context import ModelInfo, Proposal, Run, limit_signals
from hybrid_ml.pipeline.schedule import ANALYSIS_MINUTES
from hybrid_ml.reporting.signal_chart import SHOWN_MINUTES
from hybrid_ml.schemas.reports import Analysis, AnalysisReport, Failure, ModelSummary
from hybrid_ml.schemas.requests import AnalysisRequest
from hybrid_ml.signals.gates import refused_by
from hybrid_ml.store.run_timestamps import Answered
from tasks.alert import compose_alert, confirm_alert, send_alerts
from tasks.files import refuse_foreign_files
from tasks.fine_tune import fine_tune
from tasks.load import find_answered, load_model, load_window, open_run, settle_bounds
from tasks.pages import send_pages
from tasks.pipeline_task import pipeline_task
from tasks.predict import predict
from tasks.report import report_analysis
from tasks.resolve import resolve_outcomes
from tasks.save import prune_models, save_copy, save_proposal
from tasks.validate import decide_fallback, validate_model


@flow(name="analysis", flow_run_name=run_name)
def analysis(request: AnalysisRequest = AnalysisRequest()) -> State | AnalysisReport:
    """Ask every symbol's model about the next ten minutes; only a sure answer becomes an alert."""
    if late := skipped(ANALYSIS_MINUTES, request.as_of):
        return late
    refuse_foreign_files(request)
    run = open_run(request, now=datetime.now(UTC))
    request = settle_bounds(request)
    _, failures = run_each(["outcomes"], lambda _: resolve_outcomes(run, request))
    quiet = request.quiet_hours
    if quiet.covers(run.as_of) and not request.disable_sleep_window:
        report = AnalysisReport(as_of=run.as_of, asleep=True, quiet_hours=str(quiet), analyses=[], failures=failures)
        send_pages()
        return asleep(report)
    before = find_answered(run)
    with locks() as held, workers(request, run) as working:
        start = partial(working.start, analyse, run=with_shared_threads(run), request=request)
        started, unlocked = submit_as_locked(_without(run.symbols, before), held, start)
        proposals, unanswered = results(started)
        ranked = limit_signals(
            proposals, max(0, request.bounds.max_signals - sum(earlier.signal for earlier in before))
        )
        ready, compose_failures = compose(ranked, run, request)
        saved, unsaved = run_each(ready, lambda proposal: save(proposal, run, request))
    _, unsent = run_each(["alerts"], lambda _: send_alerts())
    _, unconfirmed_failures = run_each(
        [earlier for earlier in before if earlier.signal], lambda item: confirm_alert(item.symbol, item.bar_time)
    )
    analyses = [settle(proposal, run) for proposal in saved]
    failures += unlocked + unanswered + compose_failures + unsaved + unsent + unconfirmed_failures
    failures += [Failure(symbol=answer.symbol, error=problem) for answer in analyses for problem in answer.problems]
    done = [earlier.symbol for earlier in before]
    report = AnalysisReport(as_of=run.as_of, asleep=False, analyses=analyses, failures=failures, finished_before=done)
    report_analysis(report, {proposal.symbol: proposal.picture_bars for proposal in saved}, quiet.zone)
    send_pages()
    return to_final_state(report)


def _without(symbols: list[str], before: list[Answered]) -> list[str]:
    answered = {earlier.symbol for earlier in before}
    return [symbol for symbol in symbols if symbol not in answered]


@pipeline_task("analyse {symbol}", timeout_seconds=7_200)
def analyse(symbol: str, run: Run, request: AnalysisRequest) -> Proposal:
    """One symbol from bars to an answer and every gate's verdict on it."""
    watch = Stopwatch()
    with watch("load"):
        window = load_window(symbol, run)
        saved = load_model(symbol, run)
    with watch("validate"):
        recent = validate_model(symbol, saved.model, window) if saved.model else None
        reason = decide_fallback(symbol, run, saved, recent, window, request.max_bar_age_minutes)
    if reason:
        with watch("train"):
            training = train_symbol(symbol, run, kind="scratch")
            outcome = "which serves" if training.promoted else f"the champion stays: {training.reason}"
            reason = f"{reason}; trained from scratch, {outcome}"
            saved = load_model(symbol, run)
            recent = validate_model(symbol, saved.model, window) if saved.model else None
    model = saved.model
    if model is None or recent is None:
        raise ModelUnavailable(f"{symbol}: {saved.problem}, and training from scratch gave none")
    stale = age_minutes(window.bar_time, run.as_of) > request.max_bar_age_minutes
    trial = None
    if not request.fast_mode and not stale:
        with watch("fine_tune"):
            trial = fine_tune(symbol, run, model, window, request.fine_tune_rows)
            model = model.with_adapter(trial.adapter) if trial else model
    with watch("predict"):
        answer, verdicts = predict(symbol, run, request, model, window, recent, saved.was_degraded)
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
        was_degraded=saved.was_degraded,
        file=seal(pack_file(model)) if trial else None,
        stage_ms=watch.stage_ms,
    )


def compose(proposals: list[Proposal], run: Run, request: AnalysisRequest) -> tuple[list[Proposal], list[Failure]]:
    """Every signal with its words and chart, before the first answer is saved: an alert then leaves at once."""
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


def settle(proposal: Proposal, run: Run) -> Analysis:
    """What became of one symbol's alert; and keep the local copy in step."""
    symbol, watch = proposal.symbol, Stopwatch()
    alert, problems = None, []
    if proposal.composed:
        text, unconfirmed_failures = run_each([symbol], lambda _: confirm_alert(symbol, proposal.bar_time))
        alert = text[0] if text else "not sent to all"
        problems += unconfirmed_failures
    if proposal.trial and not proposal.stale:
        with watch("copy"):
            _, uncopied = run_each([symbol], lambda _: save_copy(symbol, run))
        with watch("prune"):
            _, unpruned = run_each([symbol], prune_models)
        problems += uncopied + unpruned
    return _analysis(proposal, alert, [problem.error for problem in problems], proposal.stage_ms | watch.stage_ms)


def _analysis(proposal: Proposal, alert: str | None, problems: list[str], stage_ms: dict[str, float]) -> Analysis:
    answer, model, recent = proposal.answer, proposal.model, proposal.recent
    return Analysis(
        symbol=proposal.symbol,
        bar_time=proposal.bar_time,
        close=proposal.close,
        threshold=model.label_threshold,
        probabilities={"down": answer.down, "flat": answer.flat, "up": answer.up},
        direction=answer.direction,
        confidence=answer.confidence,
        margin=answer.margin,
        entropy=answer.entropy,
        signal=proposal.signal,
        refused_by=refused_by(proposal.verdicts),
        gates=proposal.verdicts,
        model=ModelSummary(version=model.version, kind=model.kind, trained_until=model.trained_until),
        recent_accuracy=recent.accuracy,
        recent_rows=recent.rows,
        recent_majority_accuracy=recent.majority_accuracy,
        fell_back=proposal.fallback is not None,
        fallback=proposal.fallback,
        degraded=proposal.degraded,
        fine_tune_step=proposal.trial.adapter.step if proposal.trial else None,
        refit_summary=str(proposal.trial.refit) if proposal.trial else None,
        alert=alert,
        problems=problems,
        stage_ms=stage_ms,
    )
