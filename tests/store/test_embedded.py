"""The embedded PostgreSQL: start, stop, crash, data folders of earlier versions, programs of the machine."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psutil
import psycopg2
import pytest
from sqlalchemy import create_engine

from hybrid_ml.errors import StoreUnavailable, StoreUnreachable
from hybrid_ml.store import postgres_server
from hybrid_ml.store.embedded import administrator_address, keep_embedded_running, limit_embedded_log, start_embedded
from hybrid_ml.store.engine import migrate
from hybrid_ml.store.postgres_programs import find_programs, run
from hybrid_ml.store.postgres_server import Cluster, connection_problem, postmaster, stop
from hybrid_ml.store.private_folders import make_data_folder, make_server_folder, server_account
from tests.conftest import ROOT, WORK
from tests.faults.table import FaultRows

DEBIAN = Path("/usr/lib/postgresql")
USE_SERVER = """
import sys
from pathlib import Path
from hybrid_ml.store.embedded import start_embedded
print(start_embedded(Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""


def rows(address: str, statement: str) -> list[tuple]:
    with closing(psycopg2.connect(address)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


def cluster_in(folder: Path) -> Cluster:
    return Cluster((folder / "postgres").resolve(), server_account())


def new_folder() -> Path:
    """Not below pytest's own folder, which pytest closes to other users; as root, the server runs as another user."""
    return Path(tempfile.mkdtemp(dir=WORK))


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A data folder with a server that the tests of this module stop and start."""
    folder = new_folder()
    start_embedded(folder)
    yield folder
    stop(cluster_in(folder))


def test_killed_server_is_restarted_at_once(folder: Path) -> None:
    """Its child processes live a moment longer, and a new server cannot start until they end."""
    address = start_embedded(folder)
    killed = postmaster(cluster_in(folder))
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait(60)
    assert keep_embedded_running(folder) == ""
    assert rows(address, "SELECT 1") == [(1,)], "at the same address"
    assert postmaster(cluster_in(folder)).pid != killed.pid


def test_process_id_of_another_process_is_not_taken_for_the_server(folder: Path) -> None:
    """As in a killed container: the process that has the server's former process id is not killed."""
    start_embedded(folder)
    cluster = cluster_in(folder)
    pid_file = cluster.folder / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    stop(cluster)
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    os.chown(pid_file, cluster.account.uid, cluster.account.gid)
    assert rows(start_embedded(folder), "SELECT 1") == [(1,)]


def test_failed_start_has_the_reason_and_the_next_start_works(folder: Path) -> None:
    stop(cluster_in(folder))
    settings = cluster_in(folder).folder / "postgresql.auto.conf"
    before = settings.read_text()
    settings.write_text(before + "shared_buffers = 'plenty'\n")
    with pytest.raises(StoreUnreachable, match=r"did not start .*contains errors.*see .*/log") as failed:
        start_embedded(folder)
    assert "\n" not in str(failed.value)
    settings.write_text(before)
    assert rows(start_embedded(folder), "SELECT 1") == [(1,)]


def test_log_size_is_limited(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start_embedded(folder)
    monkeypatch.setattr(postgres_server, "LOG_BYTES", 50_000)
    log = cluster_in(folder).log
    with closing(psycopg2.connect(administrator_address(folder))) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute("SET log_statement = 'all'")
        for number in range(3):
            cursor.execute(f"SELECT {number} AS round, '{'x' * 60_000}'")
            cursor.fetchall()
            limit_embedded_log(folder)
            assert log.stat().st_size < 60_000
        cursor.execute("SELECT 'written afterwards'")
    assert "written afterwards" in log.read_text()
    assert b"\0" not in log.read_bytes(), "it continues at the beginning of the file"
    assert "2 AS round" in log.with_name("log.1").read_text() or log.with_name("log.1").stat().st_size == 50_000
    assert sorted(path.name for path in log.parent.glob("log*")) == ["log", "log.1"]


@pytest.fixture
def data_folder() -> Iterator[Path]:
    """A data folder whose server is stopped after the test."""
    folder = new_folder()
    yield folder
    stop(cluster_in(folder))


def test_server_stops_with_its_last_user_despite_a_killed_one(data_folder: Path) -> None:
    users = [_start_user(data_folder) for _ in range(2)]
    server = postmaster(cluster_in(data_folder))
    users[0].kill()
    users[0].wait()
    assert rows(start_embedded_elsewhere(data_folder), "SELECT 1") == [(1,)], "the other one still uses it"
    users[1].communicate(timeout=120)
    wait_until(lambda: not server.is_running())
    assert not (data_folder / "postgres" / "postmaster.pid").exists()


def start_embedded_elsewhere(folder: Path) -> str:
    """Start and end a process that uses the server; returns its address. It does not stop a server in use."""
    process = _start_user(folder)
    address = (folder / "address").read_text()
    process.communicate(timeout=120)
    return address


def _start_user(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", USE_SERVER, str(folder)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    (folder / "address").write_text(process.stdout.readline().strip())  # type: ignore[union-attr]
    return process


def wait_until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


OLD_CONTENT = {
    "hybrid_ml": """
        CREATE TYPE mood AS ENUM ('up', 'down');
        CREATE SCHEMA extra;
        CREATE TABLE extra.notes (id serial PRIMARY KEY, mood mood, content text);
        INSERT INTO extra.notes (mood, content) SELECT 'up', n::text FROM generate_series(1, 1000) n;
        CREATE VIEW extra.ups AS SELECT count(*) AS notes FROM extra.notes WHERE mood = 'up';
        CREATE FUNCTION extra.answer() RETURNS int LANGUAGE sql AS 'SELECT 42';
        CREATE SEQUENCE extra.tickets START 7;
        INSERT INTO bars SELECT 'ABC', now() - n * interval '1 minute', 1, 2, 1, 2, n FROM generate_series(1, 500) n;
    """,
    "prefect": """
        CREATE EXTENSION pg_trgm;
        CREATE TABLE flow_run (id int, name text);
        INSERT INTO flow_run VALUES (1, 'a');
    """,
}


def make_old_cluster(folder: Path) -> psutil.Process:
    """A running server as of earlier versions: authentication `trust`, everything owned by the superuser."""
    account = server_account()
    make_data_folder(folder, account)
    make_server_folder(folder / "postgres", account)
    cluster, programs = cluster_in(folder), find_programs(None, account)
    run(
        [programs.folder / "initdb", "-D", cluster.folder, "--auth=trust", "--encoding=utf8", "-U", "postgres"], account
    )
    arguments = ["-D", str(cluster.folder), "-l", str(cluster.log), "-w", "-o", f"-h '' -k {cluster.folder}", "start"]
    subprocess.run(
        [str(programs.folder / "pg_ctl"), *arguments],
        cwd="/",
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **account.process_options(),
    )
    for database, content in OLD_CONTENT.items():
        rows(cluster.address("postgres"), f"CREATE DATABASE {database}")
        if database == "hybrid_ml":
            engine = create_engine(cluster.address(database))
            migrate(engine)
            engine.dispose()
        rows(cluster.address(database), content)
    return postmaster(cluster)


def test_data_folder_of_an_earlier_version_is_converted_in_place(data_folder: Path, faults: FaultRows) -> None:
    """While its server runs, as when the program is updated under `up`; and after the next start."""
    running = make_old_cluster(data_folder)
    for expected in (running, None):
        project = start_embedded(data_folder)
        prefect = start_embedded(data_folder, "prefect", ("pg_trgm",))
        assert expected is None or postmaster(cluster_in(data_folder)) == expected
        assert rows(project, "SELECT count(*), max(volume) FROM bars") == [(500, 500.0)]
        assert rows(project, "SELECT notes FROM extra.ups") == [(1000,)]
        assert rows(
            project, "SELECT extra.answer(), current_user, usesuper FROM pg_user WHERE usename = current_user"
        ) == [(42, "hybrid_ml", False)]
        rows(project, "INSERT INTO extra.notes (mood) VALUES ('down')")
        rows(
            project,
            "ALTER TABLE bars ADD COLUMN IF NOT EXISTS remark text; ALTER TYPE mood ADD VALUE IF NOT EXISTS 'flat'",
        )
        rows(project, "SELECT nextval('extra.tickets'); DROP VIEW IF EXISTS gone")
        rows(prefect, "CREATE INDEX IF NOT EXISTS alike ON flow_run USING gin (name gin_trgm_ops)")
        wait_until(lambda: authentication_rules(data_folder) == [("local", "{all}", "peer")])
        migrate(create_engine(project))
        stop(cluster_in(data_folder))
    assert rows(start_embedded(data_folder), "SELECT count(*) FROM extra.notes") == [(1002,)]
    faults.add(
        "data folder of an earlier version (trust, superuser)", "in place: every row there, owned by the new role", 0.0
    )


def authentication_rules(folder: Path) -> list[tuple]:
    """The authentication rules that the server has loaded."""
    if connection_problem(cluster_in(folder)):
        return []
    return rows(administrator_address(folder), "SELECT type, user_name::text, auth_method FROM pg_hba_file_rules")


@pytest.fixture
def debian() -> Path:
    """The programs of the PostgreSQL package of the machine."""
    programs = sorted(DEBIAN.glob("*/bin/postgres"))
    assert programs, f"there is no server in {DEBIAN}: apt-get install postgresql"
    return programs[-1].parent


def test_postgresql_of_the_machine_can_be_used(
    debian: Path, data_folder: Path, monkeypatch: pytest.MonkeyPatch, faults: FaultRows
) -> None:
    monkeypatch.setenv("HYBRID_ML_POSTGRES_BIN", str(debian))
    address = start_embedded(data_folder)
    migrate(create_engine(address))
    major = debian.parent.name
    assert rows(address, "SELECT split_part(current_setting('server_version'), '.', 1)") == [(major,)]
    assert Path(postmaster(cluster_in(data_folder)).exe()) == debian / "postgres"
    assert rows(start_embedded(data_folder, "prefect", ("pg_trgm",)), "SELECT similarity('a', 'a')") == [(1.0,)]
    stop(cluster_in(data_folder))
    monkeypatch.delenv("HYBRID_ML_POSTGRES_BIN")
    with pytest.raises(StoreUnavailable, match=f"was made by PostgreSQL {major}, and .* holds PostgreSQL 18") as text:
        start_embedded(data_folder)
    assert "\n" not in str(text.value)
    faults.add(f"HYBRID_ML_POSTGRES_BIN={debian}, then without it", f"it serves; then: {text.value}", 0.0)


@pytest.mark.parametrize(
    ("output", "problem"),
    [
        ("postgres (PostgreSQL) 13.22 (Debian 13.22-1)", "is postgres .PostgreSQL. 13.22.*14 or newer is needed"),
        ("something else", "14 or newer is needed"),
        (None, "has no program postgres; name the folder"),
    ],
)
def test_unusable_postgresql_programs_are_refused_in_one_line(
    output: str | None, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("postgres", "initdb") if output else ():
        (programs / name).write_text(f"#!/bin/sh\necho '{output}'\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("HYBRID_ML_POSTGRES_BIN", str(programs))
    with pytest.raises(StoreUnavailable, match=problem) as refused:
        start_embedded(tmp_path / "data")
    assert "\n" not in str(refused.value)
    assert str(programs) in str(refused.value)
