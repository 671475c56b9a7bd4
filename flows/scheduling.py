"""The scheduling of this flow run: its name, its attempt, and whether it begins too late for its slot."""

from datetime import UTC, datetime
from typing import Any

from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.runtime import flow_run
from prefect.states import Completed

from hybrid_ml.market.simulation import SIMULATED_SYMBOL
from hybrid_ml.pipeline.schedule import format_lateness, too_late
from hybrid_ml.text.counts import counted
from tasks.configuration import preload_configuration
from tasks.naming import format_symbols


def skip_if_late(worth_minutes: int, as_of: datetime | None) -> State | None:
    """The final state of a scheduled run that begins too late; None for other runs: by hand, retried, with `as_of`."""
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    if run is None or not run.auto_scheduled or run.run_count > 1 or as_of is not None:
        return None
    scheduled, now = run.expected_start_time, datetime.now(UTC)
    if scheduled is None or not too_late(scheduled, now, worth_minutes):
        return None
    text = format_lateness(scheduled, now)
    return Completed(name="Skipped", message=text, data=text)


def run_name() -> str:
    """`analysis BTCUSD 2018-06-01 10:20`: flow, symbols, moment.

    Prefect calls this just before the run is Running, when it needs the server anyway. The run's configuration is
    therefore read here, so that a server that stops answering later does not delay the run.
    """
    preload_configuration()
    request = flow_run.parameters.get("request")
    moment = _field(request, "start") or _field(request, "as_of") or flow_run.scheduled_start_time or datetime.now(UTC)
    when = f"{moment:%Y-%m-%d %H:%M}" if isinstance(moment, datetime) else str(moment)
    weeks = _field(request, "weeks")
    length = f", {counted(weeks, 'week') if isinstance(weeks, int) else f'{weeks} weeks'}" if weeks else ""
    return f"{flow_run.flow_name} {_format_symbols(request)} {when}{length}"


def _format_symbols(request: Any) -> str:
    if _field(request, "source") == "demo":
        return SIMULATED_SYMBOL
    one = _field(request, "symbol")
    return format_symbols([one] if one else list(_field(request, "symbols") or []))


def _field(request: Any, name: str) -> Any:
    return request.get(name) if isinstance(request, dict) else getattr(request, name, None)
