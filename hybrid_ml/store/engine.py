"""Connecting to PostgreSQL: which database, whether it can be reached, and whether its schema is up to date."""

from functools import cache, partial
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, ExceptionContext, make_url
from sqlalchemy.exc import ArgumentError

from hybrid_ml.config.settings import Settings
from hybrid_ml.errors import StoreUnavailable
from hybrid_ml.store.database_errors import EXAMPLE, Place, translate
from hybrid_ml.store.embedded import start_embedded
from hybrid_ml.store.parameters import split_parameters
from hybrid_ml.store.schema_version import (
    SCHEMA_FOLDER,
    carry_over,
    check_newest,
    check_rights,
    check_schema,
    check_writable,
    newest_revision,
    read_database_state,
)

CONNECTION = {
    "application_name": "hybrid-ml",
    "connect_timeout": 10,
    # A connection that was lost without notice is detected within a minute, not in a quarter of an hour.
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
"""Parameters for libpq (PostgreSQL documentation, 34.1.2); times in seconds, the last in milliseconds."""
RECYCLE_SECONDS = 240
"""Neon and Supabase drop idle connections after about five minutes."""
STATEMENT_SECONDS = 10
"""Limit for services that must not wait for a database that does not answer."""
MIGRATION_LOCK = 7_302_001
SOURCE = "NEON_CONN_STR"


def open_engine(settings: Settings) -> Engine:
    """The engine for the configured database, ready for use; checked once in each process.

    The embedded database is started and migrated; another one is only checked.
    Raises StoreUnavailable, never showing a password, when it cannot be reached, or when its
    schema is not the newest.
    """
    if settings.uses_embedded_database:
        return _open_embedded(settings.data_dir)
    return _open_external(*_stated(settings))


@cache
def _open_embedded(data_dir: Path) -> Engine:
    engine = _engine(start_embedded(data_dir))
    with engine.connect() as connection:
        state = read_database_state(connection)
    if state.of_before or state.revision != newest_revision():
        migrate(engine)
    return engine


@cache
def _open_external(address: str, source: str) -> Engine:
    engine = _engine(address, source)
    with engine.connect() as connection:
        check_newest(read_database_state(connection), place_of(engine))
    return engine


def open_for_writing(settings: Settings) -> Engine:
    """`open_engine` for a caller that will write: raises StoreUnavailable at once where a right for that is missing."""
    engine = open_engine(settings)
    with engine.connect() as connection:
        check_writable(read_database_state(connection), place_of(engine))
        check_rights(connection, place_of(engine))
    return engine


def connect_only(settings: Settings) -> Engine:
    """The engine for the configured database (or the embedded database), reachable, its schema not checked."""
    if settings.uses_embedded_database:
        return _engine(start_embedded(settings.data_dir))
    engine = _engine(*_stated(settings))
    engine.connect().close()
    return engine


def other_engine(address: str, source: str) -> Engine:
    """The engine of a database that is not the project's, without looking at it; `source`: what states `address`.

    Raises StoreUnavailable where that is no connection string.
    """
    return _engine(address, source)


def check_stated_database(settings: Settings) -> None:
    """Raises StoreUnavailable where the settings state a database that cannot be connected to or written to.

    The embedded one is not started for this.
    """
    if not settings.uses_embedded_database:
        engine = connect_only(settings)
        with engine.connect() as connection:
            state = read_database_state(connection)
        check_schema(state, place_of(engine))
        check_writable(state, place_of(engine))


def _stated(settings: Settings) -> tuple[str, str]:
    """The connection string, and the setting, variable or block that states it."""
    return settings.neon_conn_str.get_secret_value().strip(), settings.setting_source("neon_conn_str")


def limit_time(connection: Connection) -> None:
    """Limit each statement of this transaction to STATEMENT_SECONDS."""
    connection.execute(text("SELECT set_config('statement_timeout', :limit, true)"), {"limit": f"{STATEMENT_SECONDS}s"})


def shown(engine: Engine) -> str:
    """The address without the password, for people."""
    url = engine.url
    host = str(url.query.get("host", url.host or "localhost"))
    if host.startswith("/") and "requirepeer" in url.query:  # only our own addresses contain it
        return f"the embedded PostgreSQL ({url.database})"
    return f"{host}:{url.port or 5432}/{url.database}"


@cache
def _engine(address: str, source: str = SOURCE) -> Engine:
    url, _, schema = split_parameters(parse_address(address, source), source)
    engine = create_engine(
        url,
        pool_pre_ping=True,
        pool_recycle=RECYCLE_SECONDS,
        hide_parameters=True,  # an error may be logged, and a parameter may contain a message to a chat
        connect_args=CONNECTION,
    )
    place = _place(engine, source, schema)
    engine.update_execution_options(place=place)
    event.listen(engine, "handle_error", partial(_translated, place))
    return engine


def _translated(place: Place, context: ExceptionContext) -> StoreUnavailable | None:
    """The error to raise instead of the driver's; the pool still handles lost connections."""
    if context.is_pre_ping:  # the pool replaces a dead connection by itself
        return None
    return translate(context.original_exception, place, connecting=context.connection is None)


def place_of(engine: Engine) -> Place:
    """The database of an engine, for messages; also of an engine made elsewhere, such as that of a dry run."""
    place: Place = engine.get_execution_options().get("place") or _place(engine, SOURCE, "")
    return place


def _place(engine: Engine, source: str, schema: str) -> Place:
    return Place(shown(engine), engine.url.username or "", engine.url.database or "", source, schema)


def ignored_parameters(settings: Settings) -> list[str]:
    """Parameters of the configured address that belong to other drivers and have no effect here."""
    if settings.uses_embedded_database:
        return []
    address, source = _stated(settings)
    return split_parameters(parse_address(address, source), source)[1]


def parse_address(address: str, source: str = SOURCE) -> URL:
    """`address` for SQLAlchemy; raises StoreUnavailable without repeating what may be secret.

    `source`: the variable or block that states it, for error messages.
    """
    try:
        url = make_url(address)
        # psycopg2 would accept any text; a host or a socket folder is required.
        placed = bool(url.host or url.query.get("host")) and bool(url.database)
        # Text after an @ in a password would be used, and shown, as the host.
        if "@" in f"{url.host}{url.database}":
            raise ValueError
    except (ArgumentError, ValueError):
        raise StoreUnavailable(
            f"{source} is not a connection string; it should look like {EXAMPLE} "
            "(percent-encode special characters in the password)"
        ) from None
    if url.drivername not in ("postgres", "postgresql", "postgresql+psycopg2"):
        raise StoreUnavailable(f"{source} begins with {url.drivername}://; it should look like {EXAMPLE}")
    if not placed:
        raise StoreUnavailable(f"{source} names no host or no database; it should look like {EXAMPLE}")
    return url.set(drivername="postgresql+psycopg2")


def migrate(engine: Engine) -> str:
    """Migrate the schema to the newest revision, once, even if several processes try; return the revision."""
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
        state = read_database_state(connection)
        check_schema(state, place_of(engine))
        check_writable(state, place_of(engine))
        up_to_date = state.revision == newest_revision()
        if not up_to_date or state.may_rename:  # a role without the owner's rights can still use an up-to-date database
            carry_over(connection, state)
        if not up_to_date:
            upgrade(connection, "head")
    return newest_revision()


def upgrade(connection: Connection, revision: str) -> None:
    """Migrate the schema to `revision`, in the caller's transaction."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(SCHEMA_FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
