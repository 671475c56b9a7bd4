"""The revision of a database's schema, and what is missing for using the database.

The revision is in a table of our own, so that another program that uses Alembic can share
the database. The next migration converts databases of older versions, in its transaction.
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
    *("instruments", "coverage", "exchange_budgets", "bar_revisions", "sessions"),
)
"""Every table that runs read and write."""


@dataclass(frozen=True)
class DatabaseState:
    """What a connection can use; `may_rename`: whether this role owns the version table of an older version."""

    schema: str | None
    search_path: str
    is_replica: bool
    read_only: bool
    revision: str | None
    of_before: bool
    may_rename: bool


@cache
def revisions() -> tuple[str, ...]:
    """Every migration, oldest first, by file name, so that Alembic need not be imported for it."""
    return tuple(sorted(path.name.split("_")[0] for path in (SCHEMA_FOLDER / "versions").glob("[0-9]*.py")))


def newest_revision() -> str:
    """The newest migration."""
    return revisions()[-1]


def read_database_state(connection: Connection) -> DatabaseState:
    """The state of the database, in two round trips."""
    row = connection.execute(query("database_state")).one()
    revision, of_before = None, False
    if row.has_version_table:
        revision = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
    elif row.own_alembic_version is not None:
        recorded = list(connection.execute(text("SELECT version_num FROM alembic_version")).scalars())
        if len(recorded) == 1 and recorded[0] in revisions():
            revision, of_before = recorded[0], True
    may_rename = bool(of_before and row.own_alembic_version)
    return DatabaseState(row.schema, row.search_path, row.is_replica, row.read_only, revision, of_before, may_rename)


def check_schema(state: DatabaseState, place: Place) -> None:
    """Raises StoreUnavailable where there is no usable schema, or one that a newer program has made."""
    if place.schema and state.schema != place.schema:
        raise StoreUnavailable(
            f"{place.source} names schema {place.schema}, but {place.role or 'the role'} uses "
            f"{state.schema or 'none'} at {place.shown} (search_path is {state.search_path}); run: "
            f"CREATE SCHEMA IF NOT EXISTS {quoted(place.schema)}; GRANT USAGE, CREATE ON SCHEMA {quoted(place.schema)} "
            f"TO {place.role_quoted}; ALTER ROLE {place.role_quoted} IN DATABASE {quoted(place.database)} "
            f"SET search_path = {quoted(place.schema)}"
        )
    if state.schema is None:
        listed = state.search_path if state.search_path.strip('" ') else "empty"
        why = f"search_path is {listed}, which names none that {place.role or 'the role'} may use"
        raise problem_error(NO_SCHEMA, place, why)
    if state.revision is not None and state.revision not in revisions():
        raise StoreUnavailable(
            f"the database at {place.shown} has schema {state.revision}, which a newer hybrid-ml has made; "
            f"the newest here is {newest_revision()}: update hybrid-ml"
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
    """Raises StoreUnavailable naming the rights that are missing for running everything."""
    lacking = list(connection.execute(query("missing_rights"), {"tables": list(TABLES)}).scalars())
    if lacking:
        raise problem_error(PROBLEMS[NO_RIGHT], place, f"{place.role or 'the role'} has no {', '.join(lacking)}")


def carry_over(connection: Connection, state: DatabaseState) -> None:
    """Rename the version table of an older version, in the caller's transaction.

    Its key is renamed as well, so that another program's table of that name can use the key's name.
    """
    if state.of_before:
        connection.execute(text(f"ALTER TABLE alembic_version RENAME TO {VERSION_TABLE}"))
        connection.execute(text(f"ALTER INDEX IF EXISTS alembic_version_pkc RENAME TO {VERSION_TABLE}_pkc"))
