"""Markets: symbols whose market is closed are left out of a run, and those whose calendar has ended fail."""

from dataclasses import replace
from datetime import datetime

from hybrid_ml.pipeline.markets import markets_of
from hybrid_ml.pipeline.run import Run
from hybrid_ml.reporting.wording import format_closed
from hybrid_ml.schemas.reports import Failure
from tasks.pipeline_task import IN_REPORT, log


def leave_out_closed(run: Run) -> tuple[Run, dict[str, datetime], list[Failure]]:
    """The run with the symbols whose market is open, until when the others are closed, and those not known."""
    markets = markets_of(run)
    for symbol, opens_at in markets.closed.items():
        log().info("%s: %s", symbol, format_closed(opens_at))
    for symbol, problem in markets.unknown.items():
        log().error("%s: %s", symbol, problem, extra=IN_REPORT)
    failures = [Failure(symbol=symbol, error=problem) for symbol, problem in markets.unknown.items()]
    return replace(run, symbols=markets.open), markets.closed, failures
