"""PostgreSQL's errors, translated into ours: what is wrong, the remedy, and whether a retry can help.

The one place that reads SQLSTATEs (PostgreSQL documentation, appendix A). Every error of an engine
passes through it, whichever command, task or service runs the statement; see `engine._engine`.
The message contains the server's own sentence; never a statement, its parameters, a DETAIL with
values of a row, or the connection string. libpq gives no SQLSTATE when a connection is refused, so
the sentence is matched there; an unknown one, for instance a translated one, counts as a
database that cannot be reached.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg2
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from hybrid_ml.errors import StoreUnavailable, StoreUnreachable

EXAMPLE = "postgresql://USER:PASSWORD@HOST:5432/DATABASE"
UNREACHABLE, SIGN_IN, NO_DATABASE, NO_RIGHT = "08000", "28000", "3D000", "42501"
NO_CONNECTION_LEFT, DISK_FULL, PROTOCOL, ADDRESS = "53300", "53100", "08P01", "the address itself"
REFUSED_CONNECTIONS: tuple[tuple[str, str], ...] = (
    (r"too many (clients|connections)|remaining connection slots|connection limit", NO_CONNECTION_LEFT),
    # PgBouncer, Supabase's and Neon's poolers
    (r"no more connections allowed|max client(s)? (connections )?reached|query_wait_timeout", NO_CONNECTION_LEFT),
    (r'database "[^"]*" does not exist|no such database', NO_DATABASE),
    (r"permission denied for database", NO_RIGHT),
    (r"no space left on device", DISK_FULL),
    (r"unsupported startup parameter", PROTOCOL),
    (r"authentication failed|no password supplied|pg_hba\.conf|SASL|not (permitted|allowed) to log in", SIGN_IN),
    (r'role "[^"]*" does not exist|no such user|tenant or user not found', SIGN_IN),
    (r"^invalid |certificate|does not support SSL", ADDRESS),
)
"""Patterns of the messages with which servers and poolers refuse a connection, and the SQLSTATE each stands for."""


@dataclass(frozen=True)
class Place:
    """The database of an engine, for messages.

    `shown`: the address without a password; `source`: the variable or block that states it;
    `schema`: the one in the address, empty where it names none.
    """

    shown: str
    role: str
    database: str
    source: str
    schema: str = ""

    @property
    def role_quoted(self) -> str:
        """The role as SQL names it."""
        return quoted(self.role) if self.role else "CURRENT_USER"


def quoted(name: str) -> str:
    """`name` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True)
class _Problem:
    """A kind of error: its description, its remedy, and whether a task retries."""

    what: str
    remedy: Callable[[Place, str], str]
    retry: bool = False


def _sign_in(place: Place, message: str) -> str:
    if "no password supplied" in message:
        return f"{place.source} holds no password; write it as {EXAMPLE}"
    if "pg_hba.conf" in message:
        return f"allow them in its pg_hba.conf; where it requires SSL, add sslmode=require to {place.source}"
    return f"check user name and password in {place.source} (special characters are percent-encoded)"


def _grant(place: Place, message: str) -> str:
    """The statement that grants the right, by the kind of object."""
    named = re.search(r"denied for (schema|database) (\S+)", message)
    if named and named[1] == "schema":
        right = f"GRANT USAGE, CREATE ON SCHEMA {quoted(named[2])} TO {place.role_quoted}"
    elif named or "temporary" in message:
        right = f"GRANT CONNECT, TEMPORARY ON DATABASE {quoted(place.database)} TO {place.role_quoted}"
    elif "must be owner" in message or "must be able to SET ROLE" in message:
        return f"run it as the owner, or let the owner run: GRANT owner TO {place.role_quoted}"
    else:
        schema = quoted(place.schema or "public")
        right = f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {place.role_quoted}"
    return f"let the owner run: {right}"


def _search_path(place: Place, message: str) -> str:
    schema = quoted(place.schema or "public")
    if "search_path is empty" in message:
        right = f"run: ALTER ROLE {place.role_quoted} IN DATABASE {quoted(place.database)} SET search_path = {schema}"
    else:
        right = f"let the owner run: GRANT USAGE, CREATE ON SCHEMA {schema} TO {place.role_quoted}"
    return f"{right}; or name a schema with schema=NAME in {place.source}"


def _writable(place: Place, _: str) -> str:
    return (
        f"name the primary in {place.source} where this is a replica; else run: ALTER ROLE {place.role_quoted} SET "
        "default_transaction_read_only = off (a hosting service may have set it because the disk is full)"
    )


def _reach(place: Place, _: str) -> str:
    return f"check {place.source} and that the server is up"


def _startup_parameter(place: Place, _: str) -> str:
    """For a pooler that supports neither search_path nor options."""
    return (
        f"the pooler does not support this parameter: remove schema= or options= from {place.source} and run: "
        f"ALTER ROLE {place.role_quoted} IN DATABASE {quoted(place.database)} "
        f"SET search_path = {quoted(place.schema or 'NAME')}"
    )


def _longer(setting: str) -> Callable[[Place, str], str]:
    return lambda place, _: (
        f"if it happens again, raise the limit: ALTER ROLE {place.role_quoted} SET {setting} = '60s'"
    )


CANNOT_REACH = _Problem("cannot reach the database at {shown}", _reach, retry=True)
IS_READ_ONLY = _Problem("the database at {shown} is read-only", _writable)
NO_SCHEMA = _Problem("no schema to use at {shown}", _search_path)
PROBLEMS: dict[str, _Problem] = {
    UNREACHABLE: CANNOT_REACH,
    PROTOCOL: _Problem("cannot connect to the database at {shown}", _startup_parameter),
    ADDRESS: _Problem("cannot connect to {shown}", lambda place, _: f"correct {place.source}"),
    SIGN_IN: _Problem("cannot sign in to the database at {shown}", _sign_in),
    NO_DATABASE: _Problem(
        "no such database at {shown}",
        lambda place, _: f"create it (CREATE DATABASE {quoted(place.database)}), or correct its name in {place.source}",
    ),
    NO_RIGHT: _Problem("a right is missing in the database at {shown}", _grant),
    "3F000": NO_SCHEMA,
    "25006": IS_READ_ONLY,
    "42P01": _Problem(
        "a table is missing in the database at {shown}",
        lambda place, _: f"check that {place.source} names the right database and schema, or restore a backup",
    ),
    NO_CONNECTION_LEFT: _Problem(
        "the database at {shown} has no connection left",
        lambda *_: "close some, raise max_connections or the role's CONNECTION LIMIT, or put a pooler in front of it",
        retry=True,
    ),
    DISK_FULL: _Problem("the disk of the database at {shown} is full", lambda *_: "free some space there"),
    "53": _Problem("the database at {shown} is short of resources", lambda *_: "see its log", retry=True),
    "57014": _Problem("the database at {shown} cancelled a statement", _longer("statement_timeout"), retry=True),
    "55P03": _Problem("a lock in the database at {shown} was not free", _longer("lock_timeout"), retry=True),
    "25P03": _Problem(
        "the database at {shown} ended a transaction", _longer("idle_in_transaction_session_timeout"), retry=True
    ),
    "25P04": _Problem("the database at {shown} ended a transaction", _longer("transaction_timeout"), retry=True),
    "40": _Problem(
        "a transaction in the database at {shown} conflicted with another", lambda *_: "run it again", retry=True
    ),
    "28": _Problem("cannot sign in to the database at {shown}", _sign_in),
    "08": CANNOT_REACH,
    "57P": CANNOT_REACH,
}
"""By SQLSTATE, or by its first characters where the whole class has the same meaning."""


def problem_error(problem: _Problem, place: Place, message: str) -> StoreUnavailable:
    """`problem` at `place` as the error to raise: description, the server's `message` and the remedy in one line."""
    kind = StoreUnreachable if problem.retry else StoreUnavailable
    return kind(f"{problem.what.format(shown=place.shown)}: {message}; {problem.remedy(place, message)}")


def translate(error: BaseException | None, place: Place, *, connecting: bool = False) -> StoreUnavailable | None:
    """The error to raise instead of psycopg2's `error`; None where the cause is the statement, not the database.

    `connecting`: it was raised while connecting. Wrong values and violated constraints are not translated.
    """
    if not isinstance(error, psycopg2.Error):
        return None
    message = server_message(error)
    problem = _problem(error, message, connecting=connecting)
    return None if problem is None else problem_error(problem, place, message)


def _problem(error: psycopg2.Error, message: str, *, connecting: bool) -> _Problem | None:
    code = error.pgcode
    if code is None and connecting:
        code = next(
            (known for sentence, known in REFUSED_CONNECTIONS if re.search(sentence, message, re.IGNORECASE)),
            UNREACHABLE,
        )
    elif code is None and isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError):
        code = UNREACHABLE  # the line was cut
    elif code is None:
        return None
    return next((PROBLEMS[code[:length]] for length in (len(code), 3, 2) if code[:length] in PROBLEMS), None)


def server_message(error: BaseException) -> str:
    """The message of a database error in one line, without its DETAIL, its statement, or a password."""
    first = getattr(getattr(error, "diag", None), "message_primary", None)
    return without_secrets(" ".join(str(first or error).split())) or type(error).__name__


def without_secrets(message: str) -> str:
    """`message` without the text at the position of a password: in an address, or after `password=`.

    By position and not by value: a password of one letter would be removed from every word.
    """
    message = re.sub(r"(postgres\w*(?:\+\w+)?://[^\s:/@]*):.*@", r"\1:***@", message)
    return re.sub(r"(password\s*=\s*)('[^']*'|[^\s&'\"]+)", r"\1***", message, flags=re.IGNORECASE)


def describe(error: BaseException) -> str:
    """One line for an SQLAlchemy error that has no translation."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    code = getattr(cause, "pgcode", None)
    return server_message(cause) + (f" (SQLSTATE {code})" if code else "")


@contextmanager
def driver_cursor(connection: Connection) -> Iterator[Any]:
    """A cursor of psycopg2 for COPY, in the transaction of `connection`; its errors are those of the engine."""
    try:
        with closing(connection.connection.cursor()) as cursor:
            yield cursor
    except psycopg2.Error as error:
        place = connection.get_execution_options().get("place")
        translated = translate(error, place) if place is not None else None
        if translated is None:
            raise
        raise translated from error
