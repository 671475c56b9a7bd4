"""The revision in a table of our own: beside another Alembic program's, and carried over from before."""

import pytest
from sqlalchemy import Engine, text

import hybrid_ml.store.engine as store_engine
from hybrid_ml.config.settings import load_settings
from hybrid_ml.errors import StoreUnavailable
from hybrid_ml.store.engine import connect_only, migrate, open_engine
from hybrid_ml.store.schema_version import TABLES, newest_revision
from tests.databases import administrate, role
from tests.flows.running import rows

AS_BEFORE = (
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


def at(address: str, monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setenv("NEON_CONN_STR", address)
    return connect_only(load_settings())


@pytest.mark.parametrize("revision", ["ae1027a6acf", "0003"])
def test_another_programs_alembic_version_is_left_alone(
    address: str, monkeypatch: pytest.MonkeyPatch, revision: str
) -> None:
    engine = at(address, monkeypatch)
    run(engine, MAKE_ALEMBIC_VERSION, f"INSERT INTO alembic_version VALUES ('{revision}')")
    with pytest.raises(StoreUnavailable, match=r"has schema none in .*run `hybrid-ml migrate`"):
        open_engine(load_settings())
    assert migrate(engine) == newest_revision()
    assert rows(open_engine(load_settings()), "SELECT version_num FROM alembic_version") == [(revision,)]
    assert rows(engine, "SELECT version_num FROM hybrid_ml_version") == [(newest_revision(),)]


def test_a_database_of_before_serves_and_is_carried_over_by_the_next_migration(engine: Engine) -> None:
    run(engine, *AS_BEFORE)
    store_engine._open_external.cache_clear()
    assert rows(open_engine(load_settings()), "SELECT count(*) FROM bars") == [(0,)]
    migrate(engine)
    assert rows(engine, "SELECT to_regclass('alembic_version')") == [(None,)]
    assert rows(engine, "SELECT version_num FROM hybrid_ml_version") == [(newest_revision(),)]
    run(engine, MAKE_ALEMBIC_VERSION)  # another program moves in: no name of its is taken
    migrate(engine)


def test_a_migration_that_breaks_off_leaves_a_database_of_before_as_it_was(engine: Engine) -> None:
    """A revision is pending whose table is in the way."""
    run(engine, *AS_BEFORE, "UPDATE alembic_version SET version_num = '0003'")
    with pytest.raises(Exception, match="already exists"):
        migrate(engine)
    assert rows(engine, "SELECT version_num FROM alembic_version") == [("0003",)]
    assert rows(engine, "SELECT to_regclass('hybrid_ml_version')") == [(None,)]


def test_a_role_that_owns_nothing_may_run_what_is_up_to_date(
    server: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(engine, *AS_BEFORE)
    address = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    rights = "GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"
    with role(server, address, rights) as restricted:
        reading = at(restricted, monkeypatch)
        assert migrate(reading) == newest_revision()
        reading.dispose()
    assert rows(engine, "SELECT version_num FROM alembic_version") == [(newest_revision(),)]


def test_a_schema_of_a_newer_program_asks_for_the_newer_program(engine: Engine) -> None:
    run(engine, "UPDATE hybrid_ml_version SET version_num = '9999'")
    store_engine._open_external.cache_clear()
    for use in (lambda: open_engine(load_settings()), lambda: migrate(engine)):
        with pytest.raises(StoreUnavailable, match=r"schema 9999, which a newer hybrid-ml has made.*update"):
            use()


def test_the_tables_whose_rights_are_checked_are_all_there_are(engine: Engine) -> None:
    found = rows(engine, "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    assert [name for (name,) in found] == sorted([*TABLES, "hybrid_ml_version"])


@pytest.mark.parametrize("parameter", ["schema", "currentSchema"])
def test_a_schema_in_the_address_holds_the_tables(
    address: str, monkeypatch: pytest.MonkeyPatch, parameter: str
) -> None:
    administrate(address, 'CREATE SCHEMA "my Market"')
    engine = at(f"{address}&{parameter}=my%20Market&pgbouncer=true", monkeypatch)
    migrate(engine)
    assert rows(open_engine(load_settings()), "SELECT current_schema(), count(*) FROM bars") == [("my Market", 0)]
    assert rows(engine, "SELECT to_regclass('public.bars')") == [(None,)]


def test_a_schema_that_is_not_there_is_named_with_what_makes_it(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = at(f"{address}&schema=absent", monkeypatch)
    with pytest.raises(StoreUnavailable, match=r'asks for schema absent.*CREATE SCHEMA IF NOT EXISTS "absent"'):
        migrate(engine)
