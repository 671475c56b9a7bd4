"""Tables as streams of text (COPY): in the order of their references, with a checksum over all rows."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import IO, Any

from psycopg2 import sql
from sqlalchemy import Connection, text

Advance = Callable[[int], None]
"""Gets the number of further rows that are done."""
SAME_TEXT = "SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = ISO; SET LOCAL bytea_output = hex"
"""Settings under which the same rows give the same text on every server."""


@dataclass(frozen=True)
class TableDigest:
    """The number of rows of a table, and the sha256 of all its rows as text in a fixed order."""

    rows: int
    sha256: str


class CountingStream:
    """A stream that also counts the rows and computes their sha256."""

    def __init__(self, stream: IO[bytes] | None, advance: Advance) -> None:
        self._stream, self._advance, self._sha256 = stream, advance, hashlib.sha256()
        self.rows = 0

    def write(self, data: bytes) -> int:
        self._take(data)
        return self._stream.write(data) if self._stream else len(data)

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size) if self._stream else b""
        self._take(data)
        return data

    def _take(self, data: bytes) -> None:
        rows = data.count(b"\n")  # within a value it is written as two characters
        self._sha256.update(data)
        self.rows += rows
        self._advance(rows)

    @property
    def digest(self) -> TableDigest:
        return TableDigest(self.rows, self._sha256.hexdigest())


def list_tables(connection: Connection, without: Sequence[str]) -> list[str]:
    """The tables of the schema in use, each after those it refers to."""
    rows = connection.execute(
        text("""
        SELECT c.relname, coalesce(array_agg(other.relname) FILTER (WHERE other.oid <> c.oid), '{}') AS refers_to
        FROM pg_class c
        LEFT JOIN pg_constraint f ON f.conrelid = c.oid AND f.contype = 'f'
        LEFT JOIN pg_class other ON other.oid = f.confrelid
        WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace AND c.relname <> ALL(:without)
        GROUP BY c.relname ORDER BY c.relname"""),
        {"without": list(without)},
    )
    return list(TopologicalSorter({row.relname: row.refers_to for row in rows}).static_order())


def count_rows(connection: Connection, tables: Sequence[str]) -> int:
    """Rows of all `tables` together."""
    counted = " + ".join(f'(SELECT count(*) FROM "{table}")' for table in tables)
    return int(connection.execute(text(f"SELECT {counted}")).scalar_one())


def copy_out(connection: Connection, table: str, stream: IO[bytes] | None, advance: Advance) -> TableDigest:
    """Write the table's rows to `stream`; without one only compute their digest."""
    counting = CountingStream(stream, advance)
    with _cursor(connection) as cursor:
        cursor.execute(SAME_TEXT)
        query = sql.SQL("COPY (SELECT {} FROM {} AS t ORDER BY {}) TO STDOUT").format(
            _columns(connection, table), sql.Identifier(table), sql.SQL(", ").join(_order(connection, table))
        )
        cursor.copy_expert(query, counting)
    return counting.digest


def copy_in(connection: Connection, table: str, stream: IO[bytes], advance: Advance) -> TableDigest:
    """Append the rows of `stream` to the table, and set its sequences after them."""
    counting = CountingStream(stream, advance)
    with _cursor(connection) as cursor:
        cursor.execute(SAME_TEXT)
        query = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), _columns(connection, table))
        cursor.copy_expert(query, counting)
        for column in _numbered(connection, table):
            name = sql.Identifier(column)
            query = sql.SQL("SELECT setval(pg_get_serial_sequence({}, {}), max({})) FROM {} HAVING max({}) > 0")
            cursor.execute(query.format(sql.Literal(table), sql.Literal(column), name, sql.Identifier(table), name))
    return counting.digest


def empty(connection: Connection, tables: Sequence[str]) -> None:
    """Remove all rows of `tables`, in the caller's transaction."""
    connection.execute(text("TRUNCATE " + ", ".join(f'"{table}"' for table in tables)))


def damaged_models(connection: Connection) -> list[str]:
    """Versions whose bytes do not match their checksum."""
    statement = text("""
        SELECT version FROM model_versions
        WHERE bytes IS NOT NULL AND (length <> octet_length(bytes) OR sha256 <> encode(sha256(bytes), 'hex'))
        ORDER BY version""")
    return list(connection.execute(statement).scalars())


def _cursor(connection: Connection) -> Any:
    return connection.connection.cursor()


def _columns(connection: Connection, table: str) -> sql.Composed:
    statement = text("""
        SELECT attname FROM pg_attribute
        WHERE attrelid = CAST(:table AS regclass) AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
        ORDER BY attname""")  # the order in which migrations added them may differ
    return sql.SQL(", ").join(map(sql.Identifier, connection.execute(statement, {"table": f'"{table}"'}).scalars()))


def _order(connection: Connection, table: str) -> list[sql.Composable]:
    """An order that is the same on every server: by the primary key, else by the whole row; never by a locale."""
    statement = text("""
        SELECT a.attname, a.attcollation <> 0 AS is_text
        FROM pg_index i CROSS JOIN unnest(i.indkey) WITH ORDINALITY AS k (attnum, place)
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
        WHERE i.indrelid = CAST(:table AS regclass) AND i.indisprimary ORDER BY k.place""")
    keys = list(connection.execute(statement, {"table": f'"{table}"'}))
    if not keys:
        return [sql.SQL("ROW({})::text").format(_columns(connection, table)) + sql.SQL(' COLLATE "C"')]
    collated = {True: sql.SQL(' COLLATE "C"'), False: sql.SQL("")}
    return [sql.Identifier(key.attname) + collated[key.is_text] for key in keys]


def _numbered(connection: Connection, table: str) -> list[str]:
    statement = text("""
        SELECT attname FROM pg_attribute
        WHERE attrelid = CAST(:table AS regclass) AND attnum > 0 AND NOT attisdropped
          AND pg_get_serial_sequence(:table, attname) IS NOT NULL""")
    return list(connection.execute(statement, {"table": f'"{table}"'}).scalars())
