"""Which markets are open at the moment of a run."""

from dataclasses import dataclass
from datetime import datetime

from hybrid_ml.errors import CalendarEnded
from hybrid_ml.pipeline.run import Run


@dataclass(frozen=True)
class Markets:
    """The symbols of a run, each in one of three. `closed`: until when; `unknown`: why that is not known."""

    open: list[str]
    closed: dict[str, datetime]
    unknown: dict[str, str]


def markets_of(run: Run) -> Markets:
    """Each symbol's market at the run's moment: open where the newest minute that is over is in a session."""
    markets = Markets([], {}, {})
    for symbol in run.symbols:
        try:
            closed_until = run.sessions_of(symbol).closed_until(run.as_of)
        except CalendarEnded as error:
            markets.unknown[symbol] = str(error)
            continue
        if closed_until is None:
            markets.open.append(symbol)
        else:
            markets.closed[symbol] = closed_until
    return markets
