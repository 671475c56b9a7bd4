"""Add symbols: load their history, train a model for each, and answer for the first time."""

from collections.abc import Iterable
from typing import Any

from prefect import Flow, flow
from prefect.client.schemas.objects import State

from flows.analysis import analysis
from flows.backfill import backfill
from flows.final_states import to_final_state
from flows.scheduling import run_name
from flows.weekly_training import weekly_training
from hybrid_ml.schemas.add_symbols_request import AddSymbolsRequest
from hybrid_ml.schemas.reports import AddedReport


@flow(name="add symbols", flow_run_name=run_name)
def add_symbols(request: AddSymbolsRequest) -> State | AddedReport:
    """From names to a first answer; a symbol that fails on the way does not stop the others."""
    report = AddedReport()
    history = _run(backfill, request.backfill)
    report.histories, report.failures = history.histories, history.failures
    if symbols := [loaded.symbol for loaded in report.histories]:
        training = _run(weekly_training, request.training(symbols))
        report.trainings, report.late = training.trainings, training.late
        report.failures += training.failures
        symbols = _without_failed(symbols, report)
    if symbols:
        answered = _run(analysis, request.analysis(symbols))
        report.analyses, report.closed = answered.analyses, answered.closed
        report.failures += answered.failures
        report.late |= answered.late
    report.late = {symbol: report.late[symbol] for symbol in _without_failed(report.late, report)}
    return to_final_state(report)


def _without_failed(symbols: Iterable[str], report: AddedReport) -> list[str]:
    """Those of `symbols` that have not failed: without its first model a symbol would only fail again."""
    failed = {failure.symbol for failure in report.failures}
    return [symbol for symbol in symbols if symbol not in failed]


def _run(step: Flow, request: Any) -> Any:
    """The report of a flow run inside this one; its problems are in the report, or it is raised."""
    state: State[Any] = step(request, return_state=True)  # type: ignore[assignment]
    report = state.result(raise_on_failure=False)
    if isinstance(report, BaseException):
        raise report
    return report
