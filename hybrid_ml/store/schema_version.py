"""Which revision a database's schema is at, and what lacks for using it.

The revision stands in a table of our own, so that another program that migrates with Alembic can live in
the same database. Databases of before are carried over by the next migration, in its transaction.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sqlalchemy import Connection, text

from hybrid_ml.errors import StoreUnavailable
from hybrid_ml.store.database_errors import IS_READ_ONLY, NO_RIGHT, NO_SCHEMA, PROBLEMS, Place, problem_error, quoted
from hybrid_ml.store.sql import query

SCHEMA_FOLDER = Path(__file__).parent / "schema"
VERSION_TABLE = "hybrid_ml_version"
TABLES = (
    *("bars", "bars_set_aside", "model_versions", "model_events", "predictions", "answers_not_counted"),
    *("alerts", "deliveries", "chats", "bot_updates", "run_moments"),
)
"""Every table that a run reads and writes."""


@dataclass(frozen=True)
class DatabaseState:
    """What a connection found; `may_rename`: of a database of before, whether this role owns its version table."""

    schema: str | None
    search_path: str
    is_replica: bool
    read_only: bool
    revision: str | None
    of_before: bool
    may_rename: bool


@cache
def revisions() -> tuple[str, ...]:
    """Every migration, oldest first, told by its file name so that Alembic need not be imported to look."""
    return tuple(sorted(path.name.split("_")[0] for path in (SCHEMA_FOLDER / "versions").glob("[0-9]*.py")))


def newest_revision() -> str:
    """The newest migration."""
    return revisions()[-1]


def look_at(connection: Connection) -> DatabaseState:
    """The state of the database, in two round trips."""
    row = connection.execute(query("database_state")).one()
    revision, of_before = None, False
    if row.has_version_table:
        revision = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
    elif row.own_alembic_version is not None:
        found = list(connection.execute(text("SELECT version_num FROM alembic_version")).scalars())
        if len(found) == 1 and found[0] in revisions():
            revision, of_before = found[0], True
    may_rename = bool(of_before and row.own_alembic_version)
    return DatabaseState(row.schema, row.search_path, row.is_replica, row.read_only, revision, of_before, may_rename)


def check_schema(state: DatabaseState, place: Place) -> None:
    """Raises StoreUnavailable where there is no schema to work in, or one that a newer program has made."""
    if place.schema and state.schema != place.schema:
        raise StoreUnavailable(
            f"{place.source} asks for schema {place.schema}, but {place.role or 'the role'} works in "
            f"{state.schema or 'none'} at {place.shown} (search_path is {state.search_path}); run: "
            f"CREATE SCHEMA IF NOT EXISTS {quoted(place.schema)}; GRANT USAGE, CREATE ON SCHEMA {quoted(place.schema)} "
            f"TO {place.role_quoted}; ALTER ROLE {place.role_quoted} IN DATABASE {quoted(place.database)} "
            f"SET search_path = {quoted(place.schema)}"
        )
    if state.schema is None:
        listed = state.search_path if state.search_path.strip('" ') else "empty"
        found = f"search_path is {listed}, which names none that {place.role or 'the role'} may use"
        raise problem_error(NO_SCHEMA, place, found)
    if state.revision is not None and state.revision not in revisions():
        raise StoreUnavailable(
            f"the database at {place.shown} has schema {state.revision}, which a newer hybrid-ml has made; "
            f"this one knows {newest_revision()} as the newest: update hybrid-ml"
        )


def check_newest(state: DatabaseState, place: Place) -> None:
    """Raises StoreUnavailable where the schema is not the newest."""
    check_schema(state, place)
    if state.revision != newest_revision():
        raise StoreUnavailable(
            f"the database at {place.shown} has schema {state.revision or 'none'} in {quoted(state.schema or '')}, "
            f"this program needs {newest_revision()}; run `hybrid-ml migrate`"
        )


def check_writable(state: DatabaseState, place: Place) -> None:
    """Raises StoreUnavailable where nothing can be written."""
    if state.read_only:
        why = "it is a replica" if state.is_replica else "default_transaction_read_only is on"
        raise problem_error(IS_READ_ONLY, place, why)


def check_rights(connection: Connection, place: Place) -> None:
    """Raises StoreUnavailable naming the rights that lack for running everything."""
    lacking = list(connection.execute(query("lacking_rights"), {"tables": list(TABLES)}).scalars())
    if lacking:
        raise problem_error(PROBLEMS[NO_RIGHT], place, f"{place.role or 'the role'} has no {', '.join(lacking)}")


def carry_over(connection: Connection, state: DatabaseState) -> None:
    """Make the version table of before our own, in the caller's transaction.

    Its key is renamed as well: another program's table of that name would want the name of the key.
    """
    if state.of_before:
        connection.execute(text(f"ALTER TABLE alembic_version RENAME TO {VERSION_TABLE}"))
        connection.execute(text(f"ALTER INDEX IF EXISTS alembic_version_pkc RENAME TO {VERSION_TABLE}_pkc"))
