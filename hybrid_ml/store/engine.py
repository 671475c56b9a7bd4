"""The way into PostgreSQL: which one, whether it can be reached, and whether its schema is ours."""

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
    look_at,
    newest_revision,
)

CONNECTION = {
    "application_name": "hybrid-ml",
    "connect_timeout": 10,
    # A line that went dead without a word is noticed within a minute, not in a quarter of an hour.
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
"""What libpq is told (PostgreSQL documentation, 34.1.2); times in seconds, the last in milliseconds."""
RECYCLE_SECONDS = 240
"""Neon and Supabase drop idle connections after about five minutes."""
STATEMENT_SECONDS = 10
"""Of services that must not wait for a database that fell silent."""
MIGRATION_LOCK = 7_302_001
SOURCE = "NEON_CONN_STR"


def open_engine(settings: Settings) -> Engine:
    """The engine for the configured database, ready for use; looked at once a process.

    The embedded database is started and brought to the newest schema; another one is only looked
    at. Raises StoreUnavailable, never showing a password, when it cannot be reached, or when its
    schema is not the newest.
    """
    if settings.uses_embedded_database:
        return _open_embedded(settings.data_dir)
    return _open_external(*_stated(settings))


@cache
def _open_embedded(data_dir: Path) -> Engine:
    engine = _engine(start_embedded(data_dir))
    with engine.connect() as connection:
        state = look_at(connection)
    if state.of_before or state.revision != newest_revision():
        migrate(engine)
    return engine


@cache
def _open_external(address: str, source: str) -> Engine:
    engine = _engine(address, source)
    with engine.connect() as connection:
        check_newest(look_at(connection), place_of(engine))
    return engine


def open_for_writing(settings: Settings) -> Engine:
    """`open_engine` for what is going to write: raises StoreUnavailable at once where a right for that lacks."""
    engine = open_engine(settings)
    with engine.connect() as connection:
        check_writable(look_at(connection), place_of(engine))
        check_rights(connection, place_of(engine))
    return engine


def connect_only(settings: Settings) -> Engine:
    """The engine for the configured database (or the embedded database), reachable, its schema not looked at."""
    if settings.uses_embedded_database:
        return _engine(start_embedded(settings.data_dir))
    engine = _engine(*_stated(settings))
    engine.connect().close()
    return engine


def check_stated_database(settings: Settings) -> None:
    """Raises StoreUnavailable where the settings state a database that cannot be connected to or written to.

    The embedded one is not started for that.
    """
    if not settings.uses_embedded_database:
        engine = connect_only(settings)
        with engine.connect() as connection:
            state = look_at(connection)
        check_schema(state, place_of(engine))
        check_writable(state, place_of(engine))


def _stated(settings: Settings) -> tuple[str, str]:
    """The connection string, and what a person changes to change it."""
    return settings.neon_conn_str.get_secret_value().strip(), settings.setting_source("neon_conn_str")


def limit_time(connection: Connection) -> None:
    """No statement of this transaction takes longer than STATEMENT_SECONDS."""
    connection.execute(text("SELECT set_config('statement_timeout', :limit, true)"), {"limit": f"{STATEMENT_SECONDS}s"})


def shown(engine: Engine) -> str:
    """The address without the password, fit for a person's eyes."""
    url = engine.url
    host = str(url.query.get("host", url.host or "localhost"))
    if host.startswith("/") and "requirepeer" in url.query:  # which only ours asks for by itself
        return f"the embedded PostgreSQL ({url.database})"
    return f"{host}:{url.port or 5432}/{url.database}"


@cache
def _engine(address: str, source: str = SOURCE) -> Engine:
    url, _, schema = split_parameters(parse_address(address, source), source)
    engine = create_engine(
        url,
        pool_pre_ping=True,
        pool_recycle=RECYCLE_SECONDS,
        hide_parameters=True,  # an error may end in a log, and a parameter hold what a chat was told
        connect_args=CONNECTION,
    )
    place = _place(engine, source, schema)
    engine.update_execution_options(place=place)
    event.listen(engine, "handle_error", partial(_translated, place))
    return engine


def _translated(place: Place, context: ExceptionContext) -> StoreUnavailable | None:
    """What is raised in the place of a driver's error; the pool hears of lost connections all the same."""
    if context.is_pre_ping:  # a dead connection of the pool is replaced in silence
        return None
    return translate(context.original_exception, place, connecting=context.connection is None)


def place_of(engine: Engine) -> Place:
    """Where an engine connects to, for messages; also one that was not made here, such as that of a dry run."""
    place: Place = engine.get_execution_options().get("place") or _place(engine, SOURCE, "")
    return place


def _place(engine: Engine, source: str, schema: str) -> Place:
    return Place(shown(engine), engine.url.username or "", engine.url.database or "", source, schema)


def ignored_parameters(settings: Settings) -> list[str]:
    """Parameters of the configured address that are other drivers' and without a meaning here."""
    if settings.uses_embedded_database:
        return []
    address, source = _stated(settings)
    return split_parameters(parse_address(address, source), source)[1]


def parse_address(address: str, source: str = SOURCE) -> URL:
    """`address` as SQLAlchemy wants it; raises StoreUnavailable without repeating what may be secret.

    `source`: the variable or block that states it, for errors to name.
    """
    try:
        url = make_url(address)
        # psycopg2 would take any text; a host or a socket folder must be there to connect to.
        placed = bool(url.host or url.query.get("host")) and bool(url.database)
        # What follows an @ in a password would be taken, and shown, for the host.
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
    """Bring the schema to the newest revision, once, whoever else is trying; return the revision."""
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
        state = look_at(connection)
        check_schema(state, place_of(engine))
        check_writable(state, place_of(engine))
        up_to_date = state.revision == newest_revision()
        if not up_to_date or state.may_rename:  # a role without the owner's rights can use what is up to date
            carry_over(connection, state)
        if not up_to_date:
            upgrade(connection, "head")
    return newest_revision()


def upgrade(connection: Connection, revision: str) -> None:
    """Bring the schema to `revision`, in the caller's transaction."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(SCHEMA_FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
