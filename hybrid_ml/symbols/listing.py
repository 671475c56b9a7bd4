"""The list of symbols."""

from datetime import datetime

from sqlalchemy import Connection

from hybrid_ml.pipeline.run import ended_symbols
from hybrid_ml.schemas.symbol_reports import SymbolLine, SymbolListing
from hybrid_ml.store.bars import newest_bars_without_feed
from hybrid_ml.store.sql import query


def list_symbols(connection: Connection, now: datetime) -> SymbolListing:
    """Every symbol with bars or a feed; reads no more of the bars than the first and the last of each."""
    ended = ended_symbols(newest_bars_without_feed(connection), now)
    rows = connection.execute(query("list_symbols")).mappings()
    return SymbolListing(now=now, symbols=[SymbolLine(**row, ended=row["symbol"] in ended) for row in rows])
