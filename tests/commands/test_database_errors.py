"""An error of the database is one line with the remedy, in every command."""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.commands.conftest import run_main
from tests.conftest import ROOT, WORK
from tests.databases import OwnPostgres, role

PASSWORD = "e"
"""A letter of every message: masking it by value would make messages unreadable."""
ALL_RIGHTS = (
    "GRANT USAGE, CREATE ON SCHEMA public TO {role}",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}",
)
READ_ONLY = (*ALL_RIGHTS, "ALTER ROLE {role} SET default_transaction_read_only = on")
NO_CONNECTION = (*ALL_RIGHTS, "ALTER ROLE {role} CONNECTION LIMIT 0")


def on_table_creation(body: str) -> tuple[str, str]:
    """Statements for `role`: `body` runs whenever a table is created."""
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
            *on_table_creation("PERFORM pg_sleep(60)"),
        ),
        "canceling statement due to statement timeout; if it happens again, raise the limit: ALTER ROLE",
    ),
    "disk full": (
        (*ALL_RIGHTS, *on_table_creation("RAISE 'no space left on device' USING ERRCODE = 'disk_full'")),
        "is full: no space left on device; free some space there",
    ),
}


def assert_one_line(line: str, message: str) -> None:
    """`line` is a single line with `message`, without a traceback, a password or a mask."""
    assert len(line.splitlines()) == 1, line
    assert message in line
    assert "Traceback" not in line
    assert f":{PASSWORD}@" not in line
    assert "***" not in line


def run_process(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Run `hybrid-ml …` without a configured Prefect server."""
    return subprocess.run(
        [sys.executable, "-m", "hybrid_ml.cli", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


RunHere = Callable[..., subprocess.CompletedProcess]
Refuse = Callable[..., str]


@pytest.fixture
def restored_process() -> Iterator[None]:
    """Restores the SIGTERM handler and the logging that the bot changes in this process."""
    handler, root, project_logger = (
        signal.getsignal(signal.SIGTERM),
        logging.getLogger(),
        logging.getLogger("hybrid_ml"),
    )
    saved = list(root.handlers), root.level, project_logger.level
    yield
    signal.signal(signal.SIGTERM, handler)
    root.handlers[:] = saved[0]
    root.setLevel(saved[1])
    project_logger.setLevel(saved[2])


@pytest.fixture
def run_here(restored_process: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> RunHere:
    """Run `hybrid-ml …` in this process against an address."""

    def run(address: str, *arguments: str) -> subprocess.CompletedProcess:
        monkeypatch.setenv("NEON_CONN_STR", address)
        return run_main(capsys, *arguments)

    return run


@pytest.fixture
def refusal(run_here: RunHere) -> Refuse:
    """Run a command that fails in this process; returns its stderr, or what it printed instead."""

    def run(address: str, *arguments: str) -> str:
        done = run_here(address, *arguments)
        assert done.returncode == 1
        assert "Traceback" not in done.stdout
        return done.stderr or done.stdout

    return run


@pytest.mark.parametrize("case", MIGRATIONS)
def test_migration_error_is_one_line_with_remedy(run_here: RunHere, server: str, address: str, case: str) -> None:
    statements, message = MIGRATIONS[case]
    with role(server, address, *statements, password=PASSWORD) as restricted:
        done = run_here(restricted, "migrate")
    assert (done.returncode, done.stdout) == (1, "")
    assert_one_line(done.stderr, message)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ("sslmode=no-verify", 'invalid sslmode value: "no-verify"; correct NEON_CONN_STR'),
        ("ssl=true", "has parameter ssl, which PostgreSQL's client does not know; write sslmode=require instead"),
        ("tea=green", "has parameter tea, which PostgreSQL's client does not know; remove it"),
        ("plugin=os", "has parameter plugin,"),
        ("schema=a&schema=b", "NEON_CONN_STR must name one schema"),
        ("pgbouncer=true&connection_limit=1", "port 1 failed: Connection refused"),
    ],
)
def test_address_with_unknown_parameter_is_one_line(refusal: Refuse, parameters: str, message: str) -> None:
    line = refusal(f"postgresql://me:{PASSWORD}@127.0.0.1:1/db?{parameters}", "migrate")
    assert_one_line(line, message)


def test_missing_database_is_one_line(refusal: Refuse, server: str) -> None:
    line = refusal(server.replace("/postgres?", "/absent?"), "migrate")
    assert_one_line(line, 'create it (CREATE DATABASE "absent"), or correct its name in NEON_CONN_STR')


WRITING_COMMANDS = ("train", "analyze", "backfill --source demo --bars 3000", "review", "bot")


@pytest.mark.parametrize("command", WRITING_COMMANDS)
def test_writing_command_names_missing_rights_before_it_starts(
    refusal: Refuse, server: str, home: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    address = os.environ["NEON_CONN_STR"]
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", "1:abcdef")
    monkeypatch.setenv("TELEGRAM_CHAT_ID", "42")
    with role(server, address, *READ_ONLY, password=PASSWORD) as restricted:
        assert_one_line(refusal(restricted, *command.split()), "is read-only")
    revoke = "REVOKE INSERT ON predictions, bars FROM {role}"
    with role(server, address, *ALL_RIGHTS, revoke, password=PASSWORD) as restricted:
        line = refusal(restricted, *command.split())
    assert_one_line(line, "has no INSERT on bars, INSERT on predictions; let the owner run: GRANT SELECT, INSERT")


@pytest.mark.parametrize(
    "command", [*WRITING_COMMANDS, "models list", "scaling", "replay --start 2018-06-03", "migrate"]
)
def test_exhausted_connections_are_one_line(
    refusal: Refuse, server: str, home: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", "1:abcdef")
    monkeypatch.setenv("TELEGRAM_CHAT_ID", "42")
    with role(server, os.environ["NEON_CONN_STR"], *NO_CONNECTION, password=PASSWORD) as restricted:
        assert_one_line(refusal(restricted, *command.split()), "has no connection left")


def test_models_list_without_table_rights_is_one_line(refusal: Refuse, server: str, home: Path) -> None:
    with role(server, os.environ["NEON_CONN_STR"], "GRANT USAGE ON SCHEMA public TO {role}") as restricted:
        line = refusal(restricted, "models", "list")
    assert_one_line(line, "permission denied for table hybrid_ml_version; let the owner run: GRANT SELECT, INSERT")


def test_status_and_check_name_database_error_once_and_continue(
    run_here: RunHere, server: str, home: Path, prefect_api: str
) -> None:
    with role(server, os.environ["NEON_CONN_STR"], *NO_CONNECTION, password=PASSWORD) as restricted:
        status = run_here(restricted, "status")
        check = run_here(restricted, "check")
    for done in (status, check):
        assert done.returncode == 1
        assert done.stderr == ""
        assert " ".join(done.stdout.split()).count("has no connection left") == 1
    assert "not checked: the database cannot be used" in " ".join(check.stdout.split())
    assert "✓ dry run" in check.stdout


def test_up_with_readonly_database_exits_before_starting_anything(server: str, home: Path, tmp_path: Path) -> None:
    with role(server, os.environ["NEON_CONN_STR"], *READ_ONLY, password=PASSWORD) as restricted:
        done = run_process("up", NEON_CONN_STR=restricted, HYBRID_ML_DATA_DIR=str(tmp_path / "data"))
    assert done.returncode == 1
    assert_one_line(done.stderr, "is read-only")
    assert done.stdout.split() == ["stopped"]
    assert not (tmp_path / "data" / "postgres").exists()


def test_standby_allows_reading_commands_and_refuses_writing_ones(run_here: RunHere, refusal: Refuse) -> None:
    with TemporaryDirectory(dir=WORK) as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL runs as another user if the tests run as root
        postgres = OwnPostgres(folder)
        assert run_here(postgres.address, "migrate").returncode == 0
        postgres.stop()
        files = (folder / "postgres" / "PG_VERSION").stat()
        signal_file = folder / "postgres" / "standby.signal"
        signal_file.touch()
        os.chown(signal_file, files.st_uid, files.st_gid)
        postgres.start()
        for command in ("migrate", "train", "review"):
            line = refusal(postgres.address, *command.split())
            assert_one_line(line, "is a replica; name the primary in NEON_CONN_STR")
        models = run_here(postgres.address, "models", "list")
        assert models.returncode == 0, models.stderr


def test_parameters_of_other_drivers_are_ignored_with_a_message(address: str) -> None:
    done = run_process("migrate", NEON_CONN_STR=f"{address}&pgbouncer=true&connection_limit=1&schema=public")
    assert done.returncode == 0, done.stderr
    assert "parameters of other drivers, without effect here: pgbouncer, connection_limit" in done.stdout
