"""The commands that run a flow: run it, print its report, end with the right exit code."""

import json
import os
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from deployments.service.instance_lock import join_running_server
from deployments.service.worker import HEARTBEAT

join_running_server()
# The run watcher reads heartbeats of runs by hand as well.
os.environ.setdefault(*HEARTBEAT)
# A server for one command must not spend its time on telemetry, and its SQLite cannot handle both.
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
# When it ends it logs many errors about data of finished runs that it had not written yet.
os.environ.setdefault("PREFECT_SERVER_LOGGING_LEVEL", "CRITICAL")
# On a busy machine its first start takes longer than the default of twenty seconds.
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")

from prefect import Flow, tags
from prefect.client.schemas.objects import State
from prefect.settings import get_current_settings

from deployments.provision.names import TAG
from deployments.provision.server_api import authorization_header
from deployments.service.authentication import protect_temporary_server
from hybrid_ml.cli.settings import DATABASE, settings_for
from hybrid_ml.config.settings import load_settings
from hybrid_ml.console import run_tables
from hybrid_ml.console.replay_tables import show_replays
from hybrid_ml.console.review_tables import show_review
from hybrid_ml.errors import EXIT_FAILED, EXIT_INTERRUPTED, HybridMLError
from hybrid_ml.registry.scaling_timeline import scaling_report
from hybrid_ml.replay.result import ReplayReport, ReplaysReport
from hybrid_ml.review.result import ReviewReport
from hybrid_ml.schemas.add_symbols_request import AddSymbolsRequest
from hybrid_ml.schemas.backfill_request import BackfillRequest
from hybrid_ml.schemas.reports import AddedReport, AnalysisReport, BackfillReport, HistoryReport, TrainingReport
from hybrid_ml.schemas.requests import AnalysisRequest, RepairRequest, ReplayRequest, ReviewRequest, TrainingRequest
from hybrid_ml.store.engine import open_engine, open_for_writing, shown
from tasks.configuration import load_configuration_for_command
from tasks.pipeline_task import print_errors_once
from tasks.server import run_client


def train(request: TrainingRequest, *, json_output: bool) -> None:
    """`hybrid-ml train`, `python train_model.py`."""
    from flows.weekly_training import weekly_training

    report: TrainingReport = _run(weekly_training, request, json_output=json_output)
    _show(report, json_output, lambda: run_tables.show_training(report, full=request.full_report))
    _exit(failed=report.failed)


def analyze(request: AnalysisRequest, *, json_output: bool) -> None:
    """`hybrid-ml analyze`, `python analyze.py`."""
    from flows.analysis import analysis

    report: AnalysisReport = _run(analysis, request, json_output=json_output)
    _show(report, json_output, lambda: run_tables.show_analysis(report))
    _exit(failed=report.failed)


def backfill(request: BackfillRequest, *, json_output: bool) -> None:
    """`hybrid-ml backfill`."""
    from flows.backfill import backfill as backfill_flow

    report: BackfillReport | HistoryReport = _run_load(backfill_flow, request, json_output=json_output)
    if isinstance(report, HistoryReport):
        _show(report, json_output, lambda: run_tables.show_history(report))
        _exit(failed=report.failed)
    else:
        _show(report, json_output, lambda: run_tables.show_backfill(report))


def repair(request: RepairRequest, *, json_output: bool) -> None:
    """`hybrid-ml repair`."""
    from flows.repair import repair as repair_flow

    report: HistoryReport = _run_load(repair_flow, request, json_output=json_output)
    _show(report, json_output, lambda: run_tables.show_history(report))
    _exit(failed=report.failed)


def add_symbols(request: AddSymbolsRequest, *, json_output: bool) -> None:
    """`hybrid-ml symbols add`."""
    from flows.add_symbols import add_symbols as add_symbols_flow

    report: AddedReport = _run_load(add_symbols_flow, request, json_output=json_output)
    _show(report, json_output, lambda: run_tables.show_added(report))
    _exit(failed=report.failed)


def replay(request: ReplayRequest, *, json_output: bool) -> None:
    """`hybrid-ml replay`."""
    from flows.replay import replay as replay_flow

    try:
        report: ReplayReport | ReplaysReport = _run(replay_flow, request, json_output=json_output, writes=False)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; finished weeks are kept, and the same command continues after them\n")
        raise SystemExit(EXIT_INTERRUPTED) from None
    _show(report, json_output, lambda: show_replays(report))


def review(request: ReviewRequest, *, json_output: bool) -> None:
    """`hybrid-ml review`."""
    from flows.review import review as review_flow

    report: ReviewReport = _run(review_flow, request, json_output=json_output)
    _show(report, json_output, lambda: show_review(report))
    _exit(failed=report.failed)


def scaling(symbol: str | None, *, json_output: bool) -> None:
    """`hybrid-ml scaling`, `python check_progressive_scaling.py`."""
    report = scaling_report(symbol, settings_for(DATABASE), datetime.now(UTC))
    _show(report, json_output, lambda: run_tables.show_scaling(report))


def check(*, json_output: bool) -> None:
    """`hybrid-ml check`, `python test_hybrid_ml.py`."""
    from hybrid_ml.diagnostics.checks import check_up

    findings, unread = [], None
    try:
        load_configuration_for_command()
    except HybridMLError as error:  # reported by the checks, which continue
        unread = str(error)
    for finding in check_up(load_settings(), get_current_settings().api.url, unread, authorization_header()):
        findings.append(finding)
        if not json_output:
            run_tables.show_finding(finding)
    if json_output:
        sys.stdout.write(json.dumps({"findings": [asdict(finding) for finding in findings]}, indent=2) + "\n")
    _exit(failed=any(finding.state == "failed" for finding in findings))


def demo() -> None:
    """`hybrid-ml demo`, `make demo`."""
    from flows.analysis import analysis
    from flows.backfill import backfill as backfill_flow
    from flows.weekly_training import weekly_training
    from hybrid_ml.cli.demo import keep_apart, requests

    production = keep_apart()
    run_tables.show_demo_begin(shown(open_engine(load_settings())), production=production)
    bars, training, question = requests()
    run_tables.show_backfill(_run(backfill_flow, bars))
    run_tables.show_training(_run(weekly_training, training), full=False)
    run_tables.show_analysis(_run(analysis, question))
    run_tables.show_demo_end()


def _run(flow: Flow, request: Any, *, json_output: bool = False, writes: bool = True) -> Any:
    """Run a flow to its end and return its report; an error with a remedy is raised unchanged.

    The database is opened first, so that its problems and missing rights are reported at once, not
    after a server has been started and a task retried.
    """
    print_errors_once(with_report=not json_output)
    (open_for_writing if writes else open_engine)(settings_for(DATABASE))
    if not get_current_settings().api.url:
        protect_temporary_server()
    with run_client(), tags(TAG):
        state: State[Any] = flow(request, return_state=True)  # type: ignore[assignment]
    report = state.result(raise_on_failure=False)
    if isinstance(report, BaseException):
        raise report
    return report


def _run_load(flow: Flow, request: Any, *, json_output: bool) -> Any:
    """`_run` for a flow that Ctrl-C ends between two pages."""
    try:
        return _run(flow, request, json_output=json_output)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; what was loaded is kept, and the same command continues after it\n")
        raise SystemExit(EXIT_INTERRUPTED) from None


def _show(report: Any, json_output: bool, show: Any) -> None:
    if json_output:
        sys.stdout.write(report.model_dump_json(indent=2) + "\n")
    else:
        show()


def _exit(*, failed: bool) -> None:
    if failed:
        raise SystemExit(EXIT_FAILED)
