"""Which attempt at which slot this flow run is: what it is called, and whether it is still worth beginning."""

from datetime import UTC, datetime
from typing import Any

from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.runtime import flow_run
from prefect.states import Completed

from hybrid_ml.market.simulation import SIMULATED_SYMBOL
from hybrid_ml.pipeline.schedule import format_lateness, too_late
from hybrid_ml.text.counts import counted
from tasks.configuration import take_configuration_ahead
from tasks.naming import format_symbols


def skipped(worth_minutes: int, as_of: datetime | None) -> State | None:
    """The end of a scheduled run that begins too late; None for all others: by hand, again, as of a stated moment."""
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
    """`analysis BTCUSD 2018-06-01 10:20`: what, for whom, as of when.

    Prefect asks for it just before the run is Running, when the server must answer anyway: so the run's configuration
    is read here, and a server that falls silent afterwards holds up nothing.
    """
    take_configuration_ahead()
    request = flow_run.parameters.get("request")
    moment = _asked(request, "start") or _asked(request, "as_of") or flow_run.scheduled_start_time or datetime.now(UTC)
    when = f"{moment:%Y-%m-%d %H:%M}" if isinstance(moment, datetime) else str(moment)
    weeks = _asked(request, "weeks")
    length = f", {counted(weeks, 'week') if isinstance(weeks, int) else f'{weeks} weeks'}" if weeks else ""
    return f"{flow_run.flow_name} {_format_symbols(request)} {when}{length}"


def _format_symbols(request: Any) -> str:
    if _asked(request, "source") == "demo":
        return SIMULATED_SYMBOL
    one = _asked(request, "symbol")
    return format_symbols([one] if one else list(_asked(request, "symbols") or []))


def _asked(request: Any, name: str) -> Any:
    return request.get(name) if isinstance(request, dict) else getattr(request, name, None)
