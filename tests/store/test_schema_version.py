"""The schema revision in its own table, beside that of another Alembic program, and converted from earlier versions."""

import pytest
from sqlalchemy import Engine, text

import hybrid_ml.store.engine as store_engine
from hybrid_ml.config.settings import load_settings
from hybrid_ml.errors import StoreUnavailable
from hybrid_ml.store.engine import connect_only, migrate, open_engine
from hybrid_ml.store.schema_version import TABLES, newest_revision
from tests.databases import role, run_as_superuser
from tests.flows.running import rows

RENAME_TO_OLD = (
    "ALTER TABLE hybrid_ml_version RENAME TO alembic_version",
    "ALTER INDEX hybrid_ml_version_pkc RENAME TO alembic_version_pkc",
)
MAKE_ALEMBIC_VERSION = (
    "CREATE TABLE alembic_version (version_num varchar(32) CONSTRAINT alembic_version_pkc PRIMARY KEY)"
)


def run(engine: Engine, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


def connect(address: str, monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setenv("NEON_CONN_STR", address)
    return connect_only(load_settings())


@pytest.mark.parametrize("revision", ["ae1027a6acf", "0003"])
def test_alembic_version_of_another_program_is_not_changed(
    address: str, monkeypatch: pytest.MonkeyPatch, revision: str
) -> None:
    engine = connect(address, monkeypatch)
    run(engine, MAKE_ALEMBIC_VERSION, f"INSERT INTO alembic_version VALUES ('{revision}')")
    with pytest.raises(StoreUnavailable, match=r"has schema none in .*run `hybrid-ml migrate`"):
        open_engine(load_settings())
    assert migrate(engine) == newest_revision()
    assert rows(open_engine(load_settings()), "SELECT version_num FROM alembic_version") == [(revision,)]
    assert rows(engine, "SELECT version_num FROM hybrid_ml_version") == [(newest_revision(),)]


def test_database_of_an_earlier_version_works_and_is_converted_by_migrate(engine: Engine) -> None:
    run(engine, *RENAME_TO_OLD)
    store_engine._open_external.cache_clear()
    assert rows(open_engine(load_settings()), "SELECT count(*) FROM bars") == [(0,)]
    migrate(engine)
    assert rows(engine, "SELECT to_regclass('alembic_version')") == [(None,)]
    assert rows(engine, "SELECT version_num FROM hybrid_ml_version") == [(newest_revision(),)]
    run(engine, MAKE_ALEMBIC_VERSION)  # another program's table: its names are free
    migrate(engine)


def test_failed_migration_does_not_change_a_database_of_an_earlier_version(engine: Engine) -> None:
    """The pending revision creates a table that already exists."""
    run(engine, *RENAME_TO_OLD, "UPDATE alembic_version SET version_num = '0003'")
    with pytest.raises(Exception, match="already exists"):
        migrate(engine)
    assert rows(engine, "SELECT version_num FROM alembic_version") == [("0003",)]
    assert rows(engine, "SELECT to_regclass('hybrid_ml_version')") == [(None,)]


def test_role_without_ownership_may_migrate_a_current_schema(
    server: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(engine, *RENAME_TO_OLD)
    address = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    rights = "GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"
    with role(server, address, rights) as restricted:
        reader = connect(restricted, monkeypatch)
        assert migrate(reader) == newest_revision()
        reader.dispose()
    assert rows(engine, "SELECT version_num FROM alembic_version") == [(newest_revision(),)]


def test_schema_of_a_newer_program_is_refused(engine: Engine) -> None:
    run(engine, "UPDATE hybrid_ml_version SET version_num = '9999'")
    store_engine._open_external.cache_clear()
    for use in (lambda: open_engine(load_settings()), lambda: migrate(engine)):
        with pytest.raises(StoreUnavailable, match=r"schema 9999, which a newer hybrid-ml has made.*update"):
            use()


def test_rights_are_checked_for_all_tables(engine: Engine) -> None:
    tables = rows(engine, "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    assert [name for (name,) in tables] == sorted([*TABLES, "hybrid_ml_version"])


@pytest.mark.parametrize("parameter", ["schema", "currentSchema"])
def test_schema_in_the_address_is_used_for_the_tables(
    address: str, monkeypatch: pytest.MonkeyPatch, parameter: str
) -> None:
    run_as_superuser(address, 'CREATE SCHEMA "my Market"')
    engine = connect(f"{address}&{parameter}=my%20Market&pgbouncer=true", monkeypatch)
    migrate(engine)
    assert rows(open_engine(load_settings()), "SELECT current_schema(), count(*) FROM bars") == [("my Market", 0)]
    assert rows(engine, "SELECT to_regclass('public.bars')") == [(None,)]


def test_missing_schema_error_has_the_create_statement(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = connect(f"{address}&schema=absent", monkeypatch)
    with pytest.raises(StoreUnavailable, match=r'names schema absent.*CREATE SCHEMA IF NOT EXISTS "absent"'):
        migrate(engine)
