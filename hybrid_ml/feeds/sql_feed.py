"""Feed `sql`: bars of a table that somebody else fills, by a SELECT of the user's own."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
from sqlalchemy import Connection, Engine, text

from hybrid_ml.config.settings import Settings
from hybrid_ml.errors import BadInput, ExchangeRefused, one_line
from hybrid_ml.feeds.bar_rows import NotBars, bar_rows
from hybrid_ml.feeds.feed import Answer, HistoryLimit, final_through
from hybrid_ml.feeds.sql_source import SETTING, Columns, SqlSource, read_select
from hybrid_ml.market.bars import BAR_LENGTH, EARLIEST, LATEST, unix_times
from hybrid_ml.store.coverage import Instrument
from hybrid_ml.store.engine import other_engine

SQL = "sql"
BEGINNING, END = EARLIEST.to_pydatetime(), LATEST.to_pydatetime()


def open_sql_feed(settings: Settings, engine: Engine) -> "SqlFeed":
    """The feed of HYBRID_ML_SQL_FEED on HYBRID_ML_SQL_FEED_URL; on `engine`, the project's, where that is unset."""
    select = read_select(settings.hybrid_ml_sql_feed)
    address = settings.hybrid_ml_sql_feed_url.get_secret_value().strip()
    if address:
        engine = other_engine(address, settings.setting_source("hybrid_ml_sql_feed_url"))
    return SqlFeed(SqlSource(engine, select), settings.hybrid_ml_settling_seconds)


class SqlFeed:
    """The feed of one SELECT; any number of threads may use it. The clock is its database's.

    Beside the errors of Feed it raises BadInput for a SELECT that cannot be used, and StoreUnavailable where its
    database cannot.
    """

    def __init__(self, source: SqlSource, settling_seconds: float) -> None:
        self._source, self._settling_seconds = source, settling_seconds

    @property
    def name(self) -> str:
        return SQL

    @property
    def limit(self) -> HistoryLimit | None:
        return None

    @property
    def states_empty_minutes(self) -> bool:
        return False

    def describe(self, symbol: str) -> tuple[Instrument, datetime]:
        """See Feed. Listed with its first row; final as far as its newest row."""
        asked = _asked(symbol, BEGINNING, END)
        with self._source.reading() as connection:
            columns = self._source.columns(connection, asked)
            ranges = columns.ranges(BEGINNING, END)
            first = _times(columns, self._source.edge(connection, columns, "min", asked, ranges))
            if first.empty:
                raise ExchangeRefused(
                    f"sql has no symbol {one_line(symbol)}: the SELECT of {SETTING} returns no row with that name as "
                    ":symbol; write it as the table does"
                )
            final = self._final_through(connection, columns, symbol, BEGINNING)
        listed_at = first.min().floor("min").to_pydatetime()
        return Instrument(symbol, self.name, symbol, listed_at), final

    def read_clock(self) -> datetime:
        """See Feed."""
        with self._source.reading() as connection:
            return _now(connection)

    def fetch(self, instrument: Instrument, since: datetime, until: datetime) -> Answer:
        """See Feed. Minutes after the newest row are not known: whoever fills the table may be late."""
        asked = _asked(instrument.feed_symbol, since, until)
        with self._source.reading() as connection:
            settled = final_through(_now(connection), self._settling_seconds)
            columns = self._source.columns(connection, asked)
            found = self._source.rows(connection, columns, asked, columns.ranges(since, until))
            rows = _bars(columns, found)
            rows = rows[rows["time"] < settled]
            if rows.empty or rows["time"].iloc[-1] + BAR_LENGTH < min(until, settled):
                settled = self._final_through(connection, columns, instrument.feed_symbol, since)
        return Answer(rows, settled)

    def _final_through(self, connection: Connection, columns: Columns, symbol: str, since: datetime) -> datetime:
        """The end of the newest row from `since` on, and never later than bars are final by the database's clock."""
        asked, ranges = _asked(symbol, since, END), columns.ranges(since, END)
        newest = _times(columns, self._source.edge(connection, columns, "max", asked, ranges))
        settled = final_through(_now(connection), self._settling_seconds)
        known = newest.max().floor("min").to_pydatetime() + BAR_LENGTH if len(newest) else since
        return min(settled, known)


def _asked(symbol: str, since: datetime, until: datetime) -> dict[str, Any]:
    return {"symbol": symbol, "since": since, "until": until}


def _now(connection: Connection) -> datetime:
    """When the transaction began: rows that are read in it may be newer, never older."""
    now: datetime = connection.execute(text("SELECT now()")).scalar_one()
    return now.astimezone(UTC)


def _times(columns: Columns, values: Sequence[Any]) -> pd.DatetimeIndex:
    if columns.is_unix:
        return unix_times(np.array(values, dtype=np.float64))
    return pd.DatetimeIndex(pd.to_datetime(list(values), utc=True)).as_unit("us")


def _bars(columns: Columns, rows: Sequence[Sequence[Any]]) -> pd.DataFrame:
    """Rows of the SELECT as those of an Answer; raises BadInput where one is no bar."""
    values = dict(zip(columns.names, zip(*rows, strict=True) if rows else [()] * len(columns.names), strict=True))
    times = _times(columns, values.pop("time"))
    try:
        return bar_rows(times, {name: _numbers(name, column) for name, column in values.items()})
    except NotBars as error:
        raise BadInput(
            f"the SELECT of {SETTING}: {error}; leave such rows out of it, or round the time by "
            "date_trunc('minute', time)"
        ) from None


def _numbers(name: str, column: Sequence[Any]) -> np.ndarray:
    """NULL becomes NaN."""
    try:
        return np.array([np.nan if value is None else float(value) for value in column], dtype=np.float64)
    except (TypeError, ValueError):
        raise NotBars(f"column {name} holds something that is no number") from None
