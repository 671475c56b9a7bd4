"""What a database refuses is one line with the remedy, whichever command met it."""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from hybrid_ml.cli.__main__ import main
from tests.conftest import ROOT, WORK
from tests.databases import OwnPostgres, role

PASSWORD = "e"
"""A letter of every message: cut out by its value, nothing could be read."""
ALL_RIGHTS = (
    "GRANT USAGE, CREATE ON SCHEMA public TO {role}",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}",
)
READ_ONLY = (*ALL_RIGHTS, "ALTER ROLE {role} SET default_transaction_read_only = on")
NO_CONNECTION = (*ALL_RIGHTS, "ALTER ROLE {role} CONNECTION LIMIT 0")


def when_a_table_is_made(body: str) -> tuple[str, str]:
    """Statements for `role`: `body` is run whenever somebody makes a table."""
    return (
        f"CREATE FUNCTION meddle() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN {body}; END $$",
        "CREATE EVENT TRIGGER meddle ON ddl_command_start WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION meddle()",
    )


MIGRATIONS = {
    "no CREATE on schema public": (
        ("GRANT USAGE ON SCHEMA public TO {role}",),
        'permission denied for schema public; let the owner run: GRANT USAGE, CREATE ON SCHEMA "public" TO "role_',
    ),
    "no USAGE of schema public": (
        ("REVOKE ALL ON SCHEMA public FROM PUBLIC",),
        'let the owner run: GRANT USAGE, CREATE ON SCHEMA "public" TO "role_',
    ),
    "an empty search_path": (
        (*ALL_RIGHTS, "ALTER ROLE {role} SET search_path = ''"),
        "search_path is empty, which names none that role_",
    ),
    "read-only": (
        READ_ONLY,
        "is read-only: default_transaction_read_only is on; name the primary in NEON_CONN_STR where this is a replica",
    ),
    "no connection left": (NO_CONNECTION, "has no connection left: "),
    "may not sign in": ((*ALL_RIGHTS, "ALTER ROLE {role} NOLOGIN"), "check user name and password in NEON_CONN_STR"),
    "no CONNECT": (
        ("REVOKE CONNECT ON DATABASE {database} FROM PUBLIC",),
        "let the owner run: GRANT CONNECT, TEMPORARY ON DATABASE",
    ),
    "statement timeout": (
        (
            *(*ALL_RIGHTS, "ALTER ROLE {role} SET statement_timeout = '500ms'"),
            *when_a_table_is_made("PERFORM pg_sleep(60)"),
        ),
        "canceling statement due to statement timeout; where it happens again, give it longer: ALTER ROLE",
    ),
    "disk full": (
        (*ALL_RIGHTS, *when_a_table_is_made("RAISE 'no space left on device' USING ERRCODE = 'disk_full'")),
        "is full: no space left on device; make room there",
    ),
}


def assert_one_line(line: str, message: str) -> None:
    """`line` is the only one, holds `message`, and neither a traceback nor a password in or cut out."""
    assert len(line.splitlines()) == 1, line
    assert message in line
    assert "Traceback" not in line
    assert f":{PASSWORD}@" not in line
    assert "***" not in line


def in_a_process(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """`hybrid-ml …` with no Prefect server named."""
    return subprocess.run(
        [sys.executable, "-m", "hybrid_ml.cli", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


Here = Callable[..., str]


@pytest.fixture
def process_as_it_was() -> Iterator[None]:
    """The bot listens for SIGTERM and sets up logging; the test process goes on without either."""
    handler, root, ours = signal.getsignal(signal.SIGTERM), logging.getLogger(), logging.getLogger("hybrid_ml")
    before = list(root.handlers), root.level, ours.level
    yield
    signal.signal(signal.SIGTERM, handler)
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    ours.setLevel(before[2])


@pytest.fixture
def here(process_as_it_was: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Here:
    """What a command that fails on an address writes to stderr, run in this process."""

    def run(address: str, *arguments: str) -> str:
        monkeypatch.setenv("NEON_CONN_STR", address)
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 1
        written = capsys.readouterr()
        assert "Traceback" not in written.out
        return written.err or written.out

    return run


@pytest.mark.parametrize("case", MIGRATIONS)
def test_what_lacks_for_a_migration_is_one_line(server: str, address: str, case: str) -> None:
    statements, message = MIGRATIONS[case]
    with role(server, address, *statements, password=PASSWORD) as restricted:
        done = in_a_process("migrate", NEON_CONN_STR=restricted)
    assert done.returncode == 1
    assert done.stdout == ""
    assert_one_line(done.stderr, message)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ("sslmode=no-verify", 'invalid sslmode value: "no-verify"; correct NEON_CONN_STR'),
        ("ssl=true", "has parameter ssl, which PostgreSQL's client does not know; write sslmode=require instead"),
        ("tea=green", "has parameter tea, which PostgreSQL's client does not know; take it out"),
        ("plugin=os", "has parameter plugin,"),
        ("schema=a&schema=b", "NEON_CONN_STR must name one schema"),
        ("pgbouncer=true&connection_limit=1", "port 1 failed: Connection refused"),
    ],
)
def test_an_address_for_another_driver_is_one_line(here: Here, parameters: str, message: str) -> None:
    line = here(f"postgresql://me:{PASSWORD}@127.0.0.1:1/db?{parameters}", "migrate")
    assert_one_line(line, message)


def test_a_database_that_does_not_exist_is_one_line(here: Here, server: str) -> None:
    line = here(server.replace("/postgres?", "/absent?"), "migrate")
    assert_one_line(line, 'create it (CREATE DATABASE "absent"), or correct its name in NEON_CONN_STR')


WRITING = ("train", "analyze", "backfill --source demo --bars 3000", "review", "bot")


@pytest.mark.parametrize("command", WRITING)
def test_a_command_that_writes_says_at_once_what_lacks(
    here: Here, server: str, home: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    address = os.environ["NEON_CONN_STR"]
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", "1:abcdef")
    monkeypatch.setenv("TELEGRAM_CHAT_ID", "42")
    with role(server, address, *READ_ONLY, password=PASSWORD) as restricted:
        assert_one_line(here(restricted, *command.split()), "is read-only")
    lacking = "REVOKE INSERT ON predictions, bars FROM {role}"
    with role(server, address, *ALL_RIGHTS, lacking, password=PASSWORD) as restricted:
        line = here(restricted, *command.split())
    assert_one_line(line, "has no INSERT on bars, INSERT on predictions; let the owner run: GRANT SELECT, INSERT")


@pytest.mark.parametrize("command", [*WRITING, "models list", "scaling", "replay --start 2018-06-03", "migrate"])
def test_no_connection_left_is_one_line(
    here: Here, server: str, home: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", "1:abcdef")
    monkeypatch.setenv("TELEGRAM_CHAT_ID", "42")
    with role(server, os.environ["NEON_CONN_STR"], *NO_CONNECTION, password=PASSWORD) as restricted:
        assert_one_line(here(restricted, *command.split()), "has no connection left")


def test_without_rights_on_any_table_the_models_are_one_line(here: Here, server: str, home: Path) -> None:
    with role(server, os.environ["NEON_CONN_STR"], "GRANT USAGE ON SCHEMA public TO {role}") as restricted:
        line = here(restricted, "models", "list")
    assert_one_line(line, "permission denied for table hybrid_ml_version; let the owner run: GRANT SELECT, INSERT")


def test_status_and_check_name_it_once_and_go_on(server: str, home: Path) -> None:
    with role(server, os.environ["NEON_CONN_STR"], *NO_CONNECTION, password=PASSWORD) as restricted:
        status = in_a_process("status", NEON_CONN_STR=restricted)
        check = in_a_process("check", NEON_CONN_STR=restricted)
    for done in (status, check):
        assert done.returncode == 1
        assert done.stderr == ""
        assert " ".join(done.stdout.split()).count("has no connection left") == 1
    assert "not checked: the database cannot be used" in " ".join(check.stdout.split())
    assert "✓ dry run" in check.stdout


def test_up_ends_before_it_starts_anything(server: str, home: Path, tmp_path: Path) -> None:
    with role(server, os.environ["NEON_CONN_STR"], *READ_ONLY, password=PASSWORD) as restricted:
        done = in_a_process("up", NEON_CONN_STR=restricted, HYBRID_ML_DATA_DIR=str(tmp_path / "data"))
    assert done.returncode == 1
    assert_one_line(done.stderr, "is read-only")
    assert done.stdout.split() == ["stopped"]
    assert not (tmp_path / "data" / "postgres").exists()


def test_a_standby_serves_who_reads_and_names_the_primary_to_who_writes(here: Here) -> None:
    with TemporaryDirectory(dir=WORK) as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL runs as a user of its own where the tests run as root
        own = OwnPostgres(folder)
        assert in_a_process("migrate", NEON_CONN_STR=own.address).returncode == 0
        own.stop()
        files = (folder / "postgres" / "PG_VERSION").stat()
        signal_file = folder / "postgres" / "standby.signal"
        signal_file.touch()
        os.chown(signal_file, files.st_uid, files.st_gid)
        own.start()
        for command in ("migrate", "train", "review"):
            line = here(own.address, *command.split())
            assert_one_line(line, "is a replica; name the primary in NEON_CONN_STR")
        listed = in_a_process("models", "list", NEON_CONN_STR=own.address)
        assert listed.returncode == 0, listed.stderr


def test_parameters_of_other_drivers_are_dropped_with_a_word(here: Here, address: str) -> None:
    done = in_a_process("migrate", NEON_CONN_STR=f"{address}&pgbouncer=true&connection_limit=1&schema=public")
    assert done.returncode == 0, done.stderr
    assert "parameters of other drivers, without effect here: pgbouncer, connection_limit" in done.stdout
