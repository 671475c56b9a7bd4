"""The embedded PostgreSQL and other accounts of the machine: they have no access, whatever its path."""

import json
import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg2
import pytest
from sqlalchemy.engine import make_url

from hybrid_ml.errors import StoreUnavailable
from hybrid_ml.store import private_folders
from hybrid_ml.store.embedded import start_embedded
from hybrid_ml.store.postgres_server import LONGEST_SOCKET_FOLDER, Cluster, connection_problem
from hybrid_ml.store.private_folders import Account, is_private, server_account
from tests.conftest import Command
from tests.faults.table import FaultRows
from tests.store.accounts import AS_ROOT, OTHER_ACCOUNTS, OURSELVES, OWNERS, account, python_as

SECRET = "9:token-that-no-server-needs"
START = """
from hybrid_ml.store.embedded import start_embedded
print(start_embedded(Path(sys.argv[1]), "prefect", ("pg_trgm",)), flush=True)
print(start_embedded(Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""
ATTACK = """
got = []
for folder in map(Path, sys.argv[1:]):
    try:
        for path in sorted([folder, *folder.iterdir()]):
            if os.access(path, os.R_OK | os.W_OK):
                got.append(f"reads {path.name}")
    except OSError:
        pass
    if os.access(folder, os.W_OK):
        got.append(f"writes into {folder.name}")
    try:
        socket.socket(socket.AF_UNIX).connect(str(folder / ".s.PGSQL.5432"))
        got.append("reaches the socket")
    except OSError:
        pass
    for role in ("hybrid_ml", "postgres"):
        try:
            connection = psycopg2.connect(host=str(folder), user=role, dbname="hybrid_ml")
            got.append(f"is {role}")
        except psycopg2.Error:
            continue
        for attempt in ("COPY (SELECT 1) TO PROGRAM 'cat >/dev/null'", "SELECT pg_read_file('PG_VERSION')"):
            try:
                connection.cursor().execute(attempt)
                got.append(f"{role}: {attempt}")
            except psycopg2.Error:
                connection.rollback()
print(json.dumps(got))
"""


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder in which every account may create files, as in the system's temporary folder."""
    folder = Path(tempfile.mkdtemp(prefix="hybrid-ml-tests-"))
    folder.chmod(0o1777)
    (folder / "tmp").mkdir()
    (folder / "tmp").chmod(0o1777)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def data_folder(kind: str, below: Path) -> Path:
    if kind == "short":
        return below / "data"
    if kind == "odd":
        return below / 'it\'s $(touch owned), "the" dätä'
    long = below / ("a" * 60) / ("b" * 60)
    long.mkdir(parents=True)
    long.chmod(0o1777)
    (below / "link").symlink_to(long)
    return below / "link" / "data"


def accessible_to(listening_account: Account, *folders: Path) -> list[str]:
    process = python_as(listening_account, ATTACK, *folders)
    output, problem = process.communicate(timeout=120)
    assert process.returncode == 0, problem
    return json.loads(output)


@pytest.mark.parametrize("kind", ["short", "odd", "long, through a link"])
@pytest.mark.parametrize("owner", OWNERS, ids=lambda owner: owner.name)
def test_other_account_has_no_access(owner: Account, kind: str, public_folder: Path, faults: FaultRows) -> None:
    data = data_folder(kind, public_folder)
    environment = {"TMPDIR": str(public_folder / "tmp"), "TELEGRAM_BOT_TOKEN": SECRET}
    started = python_as(owner, START, data, **environment)
    try:
        addresses = [started.stdout.readline().strip() for _ in range(2)]  # type: ignore[union-attr]
        assert all(address.startswith("postgresql://hybrid_ml@/") for address in addresses), started.stderr.read()
        sockets = Path(str(make_url(addresses[0]).query["host"]))
        folders = (data, data / "postgres", sockets)
        assert {oct(folder.stat().st_mode & 0o7067) for folder in folders} == {"0o0"}, (
            "the group has execute permission only"
        )
        server = psutil.Process(int((data / "postgres" / "postmaster.pid").read_text().split()[0]))
        process_strings = " ".join([*server.cmdline(), *server.environ().values()])
        groups = {*server.gids(), *map(int, _status(server.pid, "Groups"))}
        for other_account in OTHER_ACCOUNTS:
            assert accessible_to(other_account, *folders) == []
        owner_access = accessible_to(owner, *folders)
    finally:
        _, problem = started.communicate(timeout=120)
    assert started.returncode == 0, problem
    assert SECRET not in process_strings
    assert 0 not in groups or not AS_ROOT
    assert {"reaches the socket", "is hybrid_ml", "is postgres"} <= set(owner_access), "the same steps by the owner"
    assert not [step for step in owner_access if step.startswith("hybrid_ml: ")], "the program's role runs no commands"
    assert [step for step in owner_access if step.startswith("postgres: ")], "the superuser could"
    assert not (public_folder / "owned").exists()
    assert not server.is_running(), "its last user has ended"
    assert list((public_folder / "tmp").iterdir()) == [], "the socket folder is deleted as well"
    what = f"account nobody tries everything; data folder of {owner.name}, {kind}"
    faults.add(what, "no folder read, no socket reached, no role; server's groups without 0", 0.0)


def _status(pid: int, name: str) -> list[str]:
    """A field of /proc/PID/status; empty on other systems."""
    path = Path(f"/proc/{pid}/status")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.split()[1:] for line in lines if line.startswith(f"{name}:")), [])


def test_data_folder_of_another_account_is_refused_in_one_line(
    public_folder: Path, command: Command, faults: FaultRows
) -> None:
    folder = public_folder / "data"
    if AS_ROOT:
        folder.mkdir(mode=0o777)
        os.chown(folder, account("nobody").uid, account("nobody").gid)
    else:
        folder = Path("/usr")
    done = command("migrate", NEON_CONN_STR="", HYBRID_ML_DATA_DIR=str(folder))
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert f"{folder} belongs to account" in done.stderr
    assert "HYBRID_ML_DATA_DIR" in done.stderr
    faults.add("another account made the data folder first", done.stderr.strip(), 0.0)


@pytest.mark.parametrize("what", ["folder of the server", "link", "link above"] if AS_ROOT else ["nothing"])
def test_folder_or_link_of_another_account_is_refused(what: str, public_folder: Path) -> None:
    nobody, data, target = account("nobody"), public_folder / "data", public_folder / "target"
    target.mkdir()
    if what == "folder of the server":
        (data / "postgres").mkdir(parents=True)
        os.chown(data / "postgres", nobody.uid, nobody.gid)
    elif what == "link":
        data.symlink_to(target)
        os.lchown(data, nobody.uid, nobody.gid)
    elif what == "link above":
        (public_folder / "above").symlink_to(target)
        os.lchown(public_folder / "above", nobody.uid, nobody.gid)
        data = public_folder / "above" / "data"
    else:
        data = Path("/proc/1/root/data")
    with pytest.raises(StoreUnavailable, match=r"account|writable") as refused:
        start_embedded(data)
    assert "\n" not in str(refused.value)
    assert "HYBRID_ML_DATA_DIR" in str(refused.value)
    assert list(target.iterdir()) == []


def test_socket_folder_that_is_not_private_is_replaced(public_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(public_folder / "tmp"))
    folder = public_folder / ("x" * LONGEST_SOCKET_FOLDER) / "postgres"
    folder.mkdir(parents=True)
    cluster = Cluster(folder, server_account())
    cluster.make_socket_folder()
    first = cluster.socket_folder()
    assert is_private(first, cluster.account)
    cluster.make_socket_folder()
    assert cluster.socket_folder() == first, "an earlier address stays valid"
    first.chmod(0o755)
    cluster.make_socket_folder()
    assert cluster.socket_folder() != first
    assert is_private(cluster.socket_folder(), cluster.account)
    if OURSELVES.uid == 0:
        second = cluster.socket_folder()
        os.chown(second, account("nobody").uid, account("nobody").gid)
        cluster.make_socket_folder()
        assert cluster.socket_folder() != second


LISTEN = """
folder = Path(sys.argv[1])
folder.mkdir(mode=0o755)
listener = socket.socket(socket.AF_UNIX)
listener.bind(str(folder / ".s.PGSQL.5432"))
os.chmod(folder / ".s.PGSQL.5432", 0o777)
listener.listen()
print("listening", flush=True)
for _ in range(int(sys.argv[2])):
    line, _ = listener.accept()
    print("connected", line.recv(100) or "and closed without data", flush=True)
"""


def test_server_of_another_account_at_a_former_socket_is_not_used(
    public_folder: Path, monkeypatch: pytest.MonkeyPatch, faults: FaultRows
) -> None:
    """Another account can take the name of a stopped server's folder in the system's temporary folder."""
    monkeypatch.setattr(tempfile, "tempdir", str(public_folder / "tmp"))
    (public_folder / "tmp").mkdir(exist_ok=True)
    (public_folder / "tmp").chmod(0o1777)
    folder = public_folder / ("x" * LONGEST_SOCKET_FOLDER) / "postgres"
    folder.mkdir(parents=True)
    cluster = Cluster(folder, server_account())
    cluster.make_socket_folder()
    former_folder = cluster.socket_folder()
    cluster.remove_socket_folder()
    assert connection_problem(cluster).startswith("No such file")
    listening_account = (
        OTHER_ACCOUNTS[0] if AS_ROOT else OURSELVES
    )  # an own folder that others may enter is refused as well
    with python_as(listening_account, LISTEN, former_folder, "1" if AS_ROOT else "0") as other_account:
        assert other_account.stdout is not None
        assert other_account.stdout.readline() == "listening\n"
        assert connection_problem(cluster).startswith("No such file"), "nothing connects to it"
        if AS_ROOT:
            with pytest.raises(psycopg2.OperationalError, match="requirepeer"):
                psycopg2.connect(cluster.address("postgres"))
            assert other_account.stdout.readline() == "connected and closed without data\n", "no data was sent"
        cluster.make_socket_folder()
    assert cluster.socket_folder() != former_folder
    assert is_private(cluster.socket_folder(), cluster.account)
    faults.add("another account listens where our PostgreSQL's socket was", "no connection; another folder", 0)


@pytest.fixture
def no_system_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """As root on a machine without the system account and without useradd in PATH; returns the sbin folder."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(private_folders, "SYSTEM_ACCOUNT", "account_of_no_machine")
    (tmp_path / "bin").mkdir()
    (tmp_path / "sbin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(private_folders, "ADMINISTRATION_FOLDERS", (str(tmp_path / "sbin"),))
    return tmp_path / "sbin"


def test_useradd_outside_of_path_is_found(no_system_account: Path) -> None:
    useradd = no_system_account / "useradd"
    useradd.write_text('#!/bin/sh\nprintf "%s " "$@" > "${0%useradd}asked"\n')
    useradd.chmod(0o755)
    with pytest.raises(StoreUnavailable, match="there is no account account_of_no_machine"):
        server_account()  # this useradd creates no account
    requested = (no_system_account / "asked").read_text().split()
    assert requested[-1] == "account_of_no_machine"
    assert "--system" in requested


def test_account_made_meanwhile_by_another_process_is_used(
    no_system_account: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    useradd = no_system_account / "useradd"
    useradd.write_text("#!/bin/sh\necho 'useradd: called' >&2\nexit 1\n")
    useradd.chmod(0o755)
    mine = pwd.getpwuid(os.getuid()).pw_name

    def lock_after_another(*_: object) -> None:
        """The lock is free once the other process has made the account."""
        monkeypatch.setattr(private_folders, "SYSTEM_ACCOUNT", mine)

    monkeypatch.setattr(private_folders.fcntl, "flock", lock_after_another)
    assert server_account().name == mine


def test_missing_useradd_is_named_with_remedy(no_system_account: Path) -> None:
    with pytest.raises(StoreUnavailable) as refused:
        server_account()
    line = str(refused.value)
    assert "\n" not in line
    assert f"there is no program useradd in PATH or in {no_system_account}; install it (package passwd" in line
    assert "NEON_CONN_STR" in line


def test_error_of_useradd_is_in_the_message(no_system_account: Path) -> None:
    useradd = no_system_account / "useradd"
    useradd.write_text("#!/bin/sh\necho 'useradd: cannot lock /etc/passwd' >&2\nexit 1\n")
    useradd.chmod(0o755)
    with pytest.raises(StoreUnavailable, match="useradd: cannot lock /etc/passwd; make it, run as"):
        server_account()
