"""The moment of each run, stored so that a retry of the run, on any machine, uses the same one."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, text

KEPT = timedelta(days=30)
"""As long as Prefect keeps runs that are over."""


@dataclass(frozen=True)
class Answered:
    """A symbol whose answer as of a moment is in the ledger, for the bar opened at `bar_time`."""

    symbol: str
    bar_time: datetime
    signal: bool


def settle(connection: Connection, run_id: str, as_of: datetime) -> datetime:
    """The moment of run `run_id`: `as_of` at its first attempt, the stored one at later attempts."""
    connection.execute(
        text("DELETE FROM run_moments WHERE created_at < now() - CAST(:kept AS interval)"), {"kept": KEPT}
    )
    values = {"run_id": run_id, "as_of": as_of}
    connection.execute(
        text("INSERT INTO run_moments (run_id, as_of) VALUES (:run_id, :as_of) ON CONFLICT (run_id) DO NOTHING"), values
    )
    kept: datetime = connection.execute(
        text("SELECT as_of FROM run_moments WHERE run_id = :run_id"), values
    ).scalar_one()
    return kept


def answered(connection: Connection, as_of: datetime, symbols: list[str]) -> list[Answered]:
    """Those of `symbols` with an answer as of exactly this moment."""
    statement = text(
        "SELECT symbol, bar_time, signal FROM predictions "
        "WHERE as_of = :as_of AND symbol = ANY(:symbols) ORDER BY symbol"
    )
    values = {"as_of": as_of, "symbols": symbols}
    return [Answered(*row) for row in connection.execute(statement, values)]


def trained(connection: Connection, as_of: datetime, symbols: list[str]) -> list[str]:
    """Those of `symbols` with a weekly base as of exactly this moment."""
    statement = text(
        "SELECT DISTINCT symbol FROM model_versions "
        "WHERE kind = 'base' AND as_of = :as_of AND symbol = ANY(:symbols) ORDER BY symbol"
    )
    values = {"as_of": as_of, "symbols": symbols}
    return [str(scalar) for scalar in connection.execute(statement, values).scalars()]
