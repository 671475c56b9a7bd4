"""The user's own SELECT and the database it runs on: its text, its columns, its errors. It can only read."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg2
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from hybrid_ml.config.settings import project_folder
from hybrid_ml.errors import BadInput, ExchangeUnavailable, HybridMLError, StoreUnavailable, one_line
from hybrid_ml.feeds.feed import PAGE_MINUTES
from hybrid_ml.market.bars import BAR_COLUMNS, FEED_COLUMNS
from hybrid_ml.market.file_formats import plain_name, positions_of
from hybrid_ml.store.database_errors import describe, quoted
from hybrid_ml.store.engine import shown

SETTING, ADDRESS_SETTING = "HYBRID_ML_SQL_FEED", "HYBRID_ML_SQL_FEED_URL"
CONDITION = "WHERE symbol = :symbol AND time >= :since"
EXAMPLE = f"SELECT time, open, high, low, close, volume FROM candles {CONDITION}"
STATEMENT_SECONDS = 20
MOST_ROWS = 10 * PAGE_MINUTES
"""More for a page are no one-minute bars of one symbol; they are not fetched."""
LONGEST_FILE = 100_000
COMMENTS = re.compile(r"(?:\s+|--[^\n]*(?:\n|$)|/\*.*?\*/|\()*", re.DOTALL)
COLON = re.compile(r":(?=\w)(?!(?:symbol|since|until)\b)")
"""A colon that binds nothing, such as those in '12:30' and ::text."""
ZONED, NAIVE, WHOLE = 1184, 1114, {20, 21, 23}
NUMBERS = {*WHOLE, 700, 701, 1700}
"""PostgreSQL's numbers of types: timestamptz, timestamp, integers; and real, double precision, numeric."""
UNITS = (1, 1_000, 1_000_000)
"""Unix times are seconds, milliseconds or microseconds, each row for itself."""
WRONG_SELECT = ("42", "22", "0A", "21", "P0")
"""Classes of SQLSTATE that say that the statement is at fault, not the database."""
WRITES, TOOK_TOO_LONG, NOT_SUPPORTED = "25006", "57014", "0A000"
MODIFIES = re.compile(r"\b(?:insert|update|delete|merge)\b", re.IGNORECASE)
"""In a WITH of a SELECT that is not the whole statement: PostgreSQL then says that its place is wrong."""


@dataclass(frozen=True)
class Columns:
    """The names in the SELECT of the columns of a bar, and PostgreSQL's type of its time."""

    names: Mapping[str, str]
    time_type: int

    @property
    def is_unix(self) -> bool:
        return self.time_type not in (ZONED, NAIVE)

    def ranges(self, since: datetime, until: datetime) -> list[tuple[Any, Any]]:
        """`since` and `until` as values of the time column, one pair for each way to write them."""
        if self.time_type == ZONED:
            return [(since, until)]
        if self.time_type == NAIVE:
            return [(since.astimezone(UTC).replace(tzinfo=None), until.astimezone(UTC).replace(tzinfo=None))]
        return [(round(since.timestamp() * unit), round(until.timestamp() * unit)) for unit in UNITS]


def read_select(stated: str) -> str:
    """The SELECT of setting HYBRID_ML_SQL_FEED: itself, or the text of the .sql file it names.

    Raises BadInput where there is none, where it begins with another statement, or names no :symbol.
    """
    select = stated.strip()
    if select.lower().endswith(".sql") and "\n" not in select:
        path = project_folder() / select
        try:
            select = path.read_bytes()[:LONGEST_FILE].decode().strip()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is no text in UTF-8"
            raise BadInput(f"{SETTING} {one_line(stated)}: cannot read {path}: {reason}; correct the path") from None
    select = select.rstrip(";").rstrip()
    if not select:
        raise BadInput(f"--exchange sql needs a SELECT in {SETTING}, such as {EXAMPLE}; or a .sql file with one")
    begun = COMMENTS.match(select)
    first = re.match(r"\w*", select[begun.end() if begun else 0 :])
    word = first[0].upper() if first else ""
    if word not in ("SELECT", "WITH"):
        raise BadInput(f"{SETTING} begins with {one_line(word, 40) or 'no word'}; a feed only reads: {EXAMPLE}")
    if not re.search(r"(?<!:):symbol\b", select):
        raise BadInput(f"{SETTING} names no :symbol, so every symbol would get the same rows: add {CONDITION}")
    return select


class SqlSource:
    """The SELECT `select` on the database of `engine`. Any number of threads may use it."""

    def __init__(self, engine: Engine, select: str) -> None:
        self._engine, self._select = engine, COLON.sub(r"\\:", select)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that cannot write, with a limit for each statement; naive times are UTC in it.

        Raises BadInput for a wrong SELECT, ExchangeUnavailable for one that takes too long, StoreUnavailable.
        """
        try:
            with self._engine.connect() as connection:
                connection.execute(text("SET TRANSACTION READ ONLY"))
                limits = {"limit": f"{STATEMENT_SECONDS}s", "zone": "UTC"}
                connection.execute(
                    text("SELECT set_config('statement_timeout', :limit, true), set_config('TimeZone', :zone, true)"),
                    limits,
                )
                yield connection
        except (StoreUnavailable, DBAPIError) as error:
            raise self._explained(error) from None

    def columns(self, connection: Connection, asked: Mapping[str, Any]) -> Columns:
        """The columns of the SELECT; raises BadInput where one that a bar needs is missing."""
        result = connection.execute(text(f"SELECT * FROM (\n{self._select}\n) AS source LIMIT 0"), asked)
        described = [(str(column[0]), column[1]) for column in result.cursor.description or ()]  # names and types
        names = [name for name, _ in described]
        positions = positions_of(names)
        missing = [column for column in BAR_COLUMNS if column not in positions]
        if missing:
            found = ", ".join(one_line(name, 40) for name in names[:20])
            raise BadInput(
                f"the SELECT of {SETTING} lacks {', '.join(missing)} (it has {found}); name them by AS, such as "
                "bucket AS time; a market without volume: 0 AS volume, 1 AS trades"
            )
        plain = [plain_name(name) for name in names]
        positions |= {name: plain.index(plain_name(name)) for name in FEED_COLUMNS if plain_name(name) in plain}
        time_type = described[positions["time"]][1]
        if time_type not in (ZONED, NAIVE, *NUMBERS):
            raise BadInput(
                f"column {names[positions['time']]} in the SELECT of {SETTING} is neither timestamptz, timestamp nor "
                "a number; cast it, such as time::timestamptz AS time"
            )
        return Columns({column: names[at] for column, at in positions.items()}, time_type)

    def rows(
        self, connection: Connection, columns: Columns, asked: Mapping[str, Any], ranges: Sequence[tuple[Any, Any]]
    ) -> Sequence[Sequence[Any]]:
        """The rows within one of `ranges` of time, in the order of the SELECT; each has `columns.names` in order.

        Raises BadInput where there are more than MOST_ROWS.
        """
        names = ", ".join(map(_name, columns.names.values()))
        statement, values = self._within(columns, f"SELECT {names}", ranges)
        found = connection.execute(text(f"{statement} LIMIT {MOST_ROWS + 1}"), {**asked, **values}).all()
        if len(found) > MOST_ROWS:
            raise BadInput(
                f"the SELECT of {SETTING} returns more than {MOST_ROWS:,} rows of {one_line(asked['symbol'])} for "
                f"{PAGE_MINUTES:,} minutes; it must return one-minute bars of one symbol: add {CONDITION}"
            )
        return found

    def edge(
        self,
        connection: Connection,
        columns: Columns,
        which: str,
        asked: Mapping[str, Any],
        ranges: Sequence[tuple[Any, Any]],
    ) -> list[Any]:
        """The `which`, min or max, of the times within each of `ranges`; those without a row are left out.

        One statement for each, so that an index on the time serves it.
        """
        found = []
        for one in ranges:
            statement, values = self._within(columns, f"SELECT {which}({_name(columns.names['time'])})", [one])
            found.append(connection.execute(text(statement), {**asked, **values}).scalar_one())
        return [value for value in found if value is not None]

    def _within(self, columns: Columns, chosen: str, ranges: Sequence[tuple[Any, Any]]) -> tuple[str, dict[str, Any]]:
        """Limits on the time column of the SELECT as a whole, which PostgreSQL moves into it where it can."""
        time = _name(columns.names["time"])
        within = [f"{time} >= :range_begin_{at} AND {time} < :range_end_{at}" for at in range(len(ranges))]
        values = {f"range_begin_{at}": begin for at, (begin, _) in enumerate(ranges)}
        values |= {f"range_end_{at}": end for at, (_, end) in enumerate(ranges)}
        return f"{chosen} FROM (\n{self._select}\n) AS source WHERE {' OR '.join(within)}", values

    def _explained(self, error: StoreUnavailable | DBAPIError) -> HybridMLError:
        """What is wrong with the SELECT, or the error of its database as the engine has translated it."""
        cause = _driver_error(error)
        code = (cause.pgcode if cause is not None else None) or ""
        if code == WRITES:
            return BadInput(
                f"the SELECT of {SETTING} writes ({describe(error)}); a feed only reads: take that out of it"
            )
        if code == NOT_SUPPORTED and (modifies := MODIFIES.search(self._select)):
            return BadInput(
                f"the SELECT of {SETTING} writes, by a {modifies[0].upper()} in its WITH; a feed only reads: "
                "take that out of it"
            )
        if code == TOOK_TOO_LONG:
            return ExchangeUnavailable(
                f"sql: the SELECT of {SETTING} took more than {STATEMENT_SECONDS} s; give its table an index on symbol "
                "and time, and use :since and :until in it"
            )
        if isinstance(error, StoreUnavailable) and not code.startswith(WRONG_SELECT):
            return error
        message = one_line(describe(cause or error))
        return BadInput(f"{shown(self._engine)} refuses the SELECT of {SETTING}: {message}; correct it")


def _driver_error(error: BaseException | None) -> psycopg2.Error | None:
    while error is not None and not isinstance(error, psycopg2.Error):
        error = error.orig if isinstance(error, DBAPIError) else error.__cause__
    return error


def _name(column: str) -> str:
    return COLON.sub(r"\\:", quoted(column))
