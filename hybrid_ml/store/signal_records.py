"""Records of past signals, for messages."""

from datetime import datetime, timedelta

from sqlalchemy import Connection

from hybrid_ml.market.labels import HORIZON_MINUTES
from hybrid_ml.schemas.signal_record import PastSignal, SymbolRecord
from hybrid_ml.signals.penalty import SIGNALS_CONSIDERED
from hybrid_ml.store.sql import query

KNOWN_AFTER = timedelta(minutes=HORIZON_MINUTES + 1)
"""From the opening of a bar until its outcome is known."""


def read_records(connection: Connection, symbols: list[str], since: datetime, until: datetime) -> list[SymbolRecord]:
    """The record of each of `symbols` that has answers about bars from `since` to `until`, by name."""
    values = {"symbols": symbols, "since": since, "until": until}
    past = [PastSignal(**row) for row in connection.execute(query("past_signals"), values).mappings()]
    return [
        SymbolRecord(past=[signal for signal in past if signal.symbol == row["symbol"]], **row)
        for row in connection.execute(query("signal_record"), values).mappings()
    ]


def newest_record(connection: Connection, symbol: str, as_of: datetime) -> SymbolRecord:
    """The newest signals of `symbol` whose outcome was known at `as_of`, as many as the penalty considers.

    Its answers are those since the oldest of these signals.
    """
    until = as_of - KNOWN_AFTER
    values = {"symbol": symbol, "until": until, "count": SIGNALS_CONSIDERED}
    since = connection.execute(query("record_begins"), values).scalar()
    if since is None:
        return SymbolRecord(symbol, [], waiting=0, void=0, answers=0, downs=0, ups=0, days=0)
    (record,) = read_records(connection, [symbol], since, until)
    return record
