"""The way into PostgreSQL: which one, whether it can be reached, and whether its schema is ours."""

from functools import cache
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, OperationalError

from hybrid_ml.errors import StoreUnavailable, StoreUnreachable
from hybrid_ml.settings import Settings
from hybrid_ml.store.embedded import start_embedded

SCHEMA_FOLDER = Path(__file__).parent / "schema"
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
EXAMPLE = "postgresql://USER:PASSWORD@HOST:5432/DATABASE"


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
        up_to_date = _revision(connection) == newest_revision()
    if not up_to_date:
        migrate(engine)
    return engine


@cache
def _open_external(address: str, source: str) -> Engine:
    engine = _reachable(address, source)
    with engine.connect() as connection:
        revision = _revision(connection)
    if revision != newest_revision():
        raise StoreUnavailable(
            f"the database at {shown(engine)} has schema {revision or 'none'}, this program needs {newest_revision()}; "
            "run `hybrid-ml migrate`"
        )
    return engine


def connect_only(settings: Settings) -> Engine:
    """The engine for the configured database (or the embedded database), reachable, its schema not looked at."""
    if settings.uses_embedded_database:
        return _engine(start_embedded(settings.data_dir))
    return _reachable(*_stated(settings))


def check_connection_string(settings: Settings) -> None:
    """Raises StoreUnavailable where the settings state a database by what is no connection string; connects to none."""
    if not settings.uses_embedded_database:
        parse_address(*_stated(settings))


def _stated(settings: Settings) -> tuple[str, str]:
    """The connection string, and what a person changes to change it."""
    return settings.neon_conn_str.get_secret_value().strip(), settings.source_told("neon_conn_str")


def _reachable(address: str, source: str) -> Engine:
    engine = _engine(address, source)
    try:
        engine.connect().close()
    except OperationalError as error:
        raise StoreUnreachable(_connection_problem(engine, error, source)) from None
    return engine


def limit_time(connection: Connection) -> None:
    """No statement of this transaction takes longer than STATEMENT_SECONDS."""
    connection.execute(text("SELECT set_config('statement_timeout', :limit, true)"), {"limit": f"{STATEMENT_SECONDS}s"})


def shown(engine: Engine) -> str:
    """The address without the password, fit for a person's eyes."""
    url = engine.url
    if str(url.query.get("host", "")).startswith("/"):
        return f"the embedded PostgreSQL ({url.database})"
    return f"{url.host or 'localhost'}:{url.port or 5432}/{url.database}"


@cache
def _engine(address: str, source: str = SOURCE) -> Engine:
    return create_engine(
        parse_address(address, source),
        pool_pre_ping=True,
        pool_recycle=RECYCLE_SECONDS,
        hide_parameters=True,  # an error may end in a log, and a parameter hold what a chat was told
        connect_args=CONNECTION,
    )


def parse_address(address: str, source: str = SOURCE) -> URL:
    """`address` as SQLAlchemy wants it; raises StoreUnavailable without repeating what may be secret.

    `source`: the variable or block that states it, for errors to name.
    """
    try:
        url = make_url(address)
        # psycopg2 would take any text; a host or a socket folder must be there to connect to.
        placed = bool(url.host or url.query.get("host")) and bool(url.database)
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


def _connection_problem(engine: Engine, error: OperationalError, source: str) -> str:
    said = " ".join(str(error.orig).split())
    password = engine.url.password
    if password:
        said = said.replace(str(password), "***")
    if "no password supplied" in said:
        return f"{source} holds no password for {shown(engine)}; write it as {EXAMPLE}"
    return f"cannot reach the database at {shown(engine)}: {said}; check {source} and that the server is up"


def newest_revision() -> str:
    """The newest migration, told by its file name so that Alembic need not be imported to look."""
    return max(path.name.split("_")[0] for path in (SCHEMA_FOLDER / "versions").glob("[0-9]*.py"))


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if found is None else str(found)


def migrate(engine: Engine) -> str:
    """Bring the schema to the newest revision, once, whoever else is trying; return the revision."""
    from alembic import command
    from alembic.config import Config

    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
        config = Config()
        config.set_main_option("script_location", str(SCHEMA_FOLDER).replace("%", "%%"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    return newest_revision()
