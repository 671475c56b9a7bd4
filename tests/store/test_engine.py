"""The configured database: address, connection errors, schema; messages hold no secrets."""

import time
from contextlib import closing
from datetime import datetime
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy import create_engine, text

from hybrid_ml.config.settings import load_settings
from hybrid_ml.errors import StoreUnavailable
from hybrid_ml.store.embedded import administrator_address, start_embedded
from hybrid_ml.store.engine import connect_only, migrate, open_engine, parse_address, shown
from hybrid_ml.store.schema_version import newest_revision

SECRET = "s3cret-passw0rd"


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("not a connection string", "not a connection string"),
        (f"mysql://me:{SECRET}@host/db", "begins with mysql://"),
        (f"postgresql://me:{SECRET}@/db", "no host"),
        (f"postgresql://me:{SECRET}@host", "no host or no database"),
        (f"postgresql://me:{SECRET}@host:port/db", "not a connection string"),
    ],
)
def test_invalid_address_error_has_no_password(address: str, message: str) -> None:
    with pytest.raises(StoreUnavailable, match=message) as caught:
        parse_address(address)
    assert SECRET not in str(caught.value)
    assert "postgresql://USER:PASSWORD@HOST" in str(caught.value)


def test_postgres_scheme_is_accepted() -> None:
    assert parse_address(f"postgres://me:{SECRET}@host/db").drivername == "postgresql+psycopg2"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("postgresql://me@/db?host=/data/postgres&requirepeer=me", "the embedded PostgreSQL (db)"),
        ("postgresql://me@/db?host=/var/run/postgresql", "/var/run/postgresql:5432/db"),
        (f"postgresql://me:{SECRET}@10.0.0.1:6543/db", "10.0.0.1:6543/db"),
    ],
)
def test_database_is_displayed_by_its_location(address: str, expected: str) -> None:
    engine = create_engine(address.replace("postgresql://", "postgresql+psycopg2://"))
    assert shown(engine) == expected


def test_unreachable_server_error_has_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEON_CONN_STR", f"postgresql://me:{SECRET}@127.0.0.1:1/db")
    with pytest.raises(StoreUnavailable, match=r"cannot reach the database at 127\.0\.0\.1:1/db") as caught:
        open_engine(load_settings())
    assert SECRET not in str(caught.value)
    assert "NEON_CONN_STR" in str(caught.value)


def test_database_without_schema_error_names_migrate(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEON_CONN_STR", address)
    with pytest.raises(StoreUnavailable, match="hybrid-ml migrate"):
        open_engine(load_settings())
    migrate(connect_only(load_settings()))
    with open_engine(load_settings()).connect() as connection:
        assert connection.execute(text("SELECT version_num FROM hybrid_ml_version")).scalar() == newest_revision()


def test_second_migration_changes_nothing(home: Path) -> None:
    engine = connect_only(load_settings())
    assert migrate(engine) == migrate(engine) == newest_revision()


def test_embedded_database_is_migrated_when_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYBRID_ML_DATA_DIR", str(tmp_path))
    engine = open_engine(load_settings())
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM bars")).scalar() == 0
    engine.dispose()


def _loaded_at(address: str) -> datetime:
    """When the server loaded its configuration, read in a new connection."""
    with closing(psycopg2.connect(address)) as fresh, fresh.cursor() as cursor:
        cursor.execute("SELECT pg_conf_load_time()")
        return cursor.fetchone()[0]


def test_missing_or_wrong_password_is_reported_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start_embedded(tmp_path, "guarded")
    trusted = administrator_address(tmp_path, "guarded")
    connection = psycopg2.connect(trusted)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE ROLE guest LOGIN PASSWORD '{SECRET}'")
        (tmp_path / "postgres" / "pg_hba.conf").write_text(
            "local all postgres peer map=owner\nlocal all all scram-sha-256\n", encoding="utf-8"
        )
        loaded = _loaded_at(trusted)
        cursor.execute("SELECT pg_reload_conf()")
    connection.close()
    end = time.monotonic() + 60
    while _loaded_at(trusted) == loaded:
        assert time.monotonic() < end, "the server does not read its configuration"
        time.sleep(0.05)

    monkeypatch.setenv("NEON_CONN_STR", trusted.replace("postgres@", "guest@"))
    with pytest.raises(StoreUnavailable, match="holds no password"):
        connect_only(load_settings())
    monkeypatch.setenv("NEON_CONN_STR", trusted.replace("postgres@", "guest:wrong-one@"))
    with pytest.raises(StoreUnavailable, match="password authentication failed") as caught:
        connect_only(load_settings())
    assert "wrong-one" not in str(caught.value)
    monkeypatch.setenv("NEON_CONN_STR", trusted.replace("postgres@", f"guest:{SECRET}@"))
    connect_only(load_settings()).dispose()
