"""Ownership of the embedded PostgreSQL's files: one account of this machine owns them, no other has access."""

import fcntl
import os
import pwd
import shlex
import shutil
import stat
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hybrid_ml.errors import StoreUnavailable

SYSTEM_ACCOUNT = "embedded_postgres"
"""Runs the server for root, since PostgreSQL refuses to run as root."""
ADMINISTRATION_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")
"""The folders of useradd; the PATH of cron, of a container or of `su` may lack them."""
ACCOUNTS_FOLDER = Path("/etc")
PRIVATE, PRIVATE_WITH_GROUP = 0o700, 0o710
ACL_ATTRIBUTE = "system.posix_acl_access"
ACL_VERSION, ACL_USER, ACL_MASK, ACL_NO_ID = 2, 0x02, 0x10, 0xFFFFFFFF
"""Access control lists in Linux's format (acl(5), linux/posix_acl_xattr.h)."""


@dataclass(frozen=True)
class Account:
    """The account of this machine that a server runs as."""

    name: str
    uid: int
    gid: int

    @property
    def is_ours(self) -> bool:
        return self.uid == os.geteuid()

    def process_options(self) -> dict[str, Any]:
        """For subprocess: as this account, in no group but its own."""
        return {} if self.is_ours else {"user": self.uid, "group": self.gid, "extra_groups": []}


def server_account() -> Account:
    """The account that runs the server: our own, or for root one that is used for nothing else.

    Raises StoreUnavailable where there is none and none can be created.
    """
    if os.geteuid() != 0:
        return _account(lambda: pwd.getpwuid(os.geteuid()), f"account number {os.geteuid()} has no name")
    if not _has_system_account():
        with _one_process_at_a_time():  # two of useradd at once may end with one account and another's number
            if not _has_system_account():
                _make_system_account()
    return _account(lambda: pwd.getpwnam(SYSTEM_ACCOUNT), f"there is no account {SYSTEM_ACCOUNT}")


def _has_system_account() -> bool:
    try:
        pwd.getpwnam(SYSTEM_ACCOUNT)
    except KeyError:
        return False
    return True


@contextmanager
def _one_process_at_a_time() -> Iterator[None]:
    folder = os.open(ACCOUNTS_FOLDER, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _account(look_up: Any, problem: str) -> Account:
    try:
        entry = look_up()
    except KeyError:
        raise StoreUnavailable(
            f"the embedded PostgreSQL cannot run: {problem} on this machine (/etc/passwd), and PostgreSQL needs one; "
            "run as an account that has a name, or set NEON_CONN_STR"
        ) from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _make_system_account() -> None:
    useradd = shutil.which("useradd", path=os.pathsep.join([os.environ.get("PATH", ""), *ADMINISTRATION_FOLDERS]))
    if useradd is None:
        raise _no_system_account(
            f"there is no program useradd in PATH or in {', '.join(ADMINISTRATION_FOLDERS)}; install it (package "
            "passwd on Debian, shadow-utils on Fedora, shadow on Alpine)"
        )
    command = [useradd, "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", SYSTEM_ACCOUNT]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", "") or str(error)
        raise _no_system_account(f"{' '.join(reason.split())}; make it") from None


def _no_system_account(problem: str) -> StoreUnavailable:
    return StoreUnavailable(
        f"PostgreSQL does not run as root, and the account {SYSTEM_ACCOUNT} for it could not be made: {problem}, "
        "run as an ordinary user, or set NEON_CONN_STR"
    )


def make_data_folder(folder: Path, account: Account) -> Path:
    """The data folder, resolved; created where it is missing, and closed to all other accounts.

    Raises StoreUnavailable where another account owns it, or owns a link on its path.
    """
    refuse_links_of_others(folder)
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True, mode=PRIVATE)
    _refuse_owner(folder, os.geteuid())
    if account.is_ours:
        folder.chmod(PRIVATE)
    else:  # the server's account may pass through it, and read nothing in it
        os.chown(folder, -1, account.gid)
        folder.chmod(PRIVATE_WITH_GROUP)
        let_through(folder.parent, account)
    return folder


def make_server_folder(folder: Path, account: Account) -> None:
    """A folder owned by the server's account, created where it is missing. Raises StoreUnavailable as above."""
    refuse_links_of_others(folder)
    folder.mkdir(exist_ok=True, mode=PRIVATE)
    if folder.stat().st_uid == os.geteuid() and not any(folder.iterdir()):
        os.chown(folder, account.uid, account.gid)
    _refuse_owner(folder, account.uid)
    folder.chmod(PRIVATE)


def is_private(folder: Path, account: Account) -> bool:
    """Whether `folder` is a folder (no link) of `account` that no other may enter."""
    try:
        state = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(state.st_mode) and state.st_uid == account.uid and stat.S_IMODE(state.st_mode) == PRIVATE


def refuse_links_of_others(path: Path) -> None:
    """Raises StoreUnavailable where the path of `path` contains a link that another account made."""
    whole = path.absolute()
    for part in (whole, *whole.parents):
        if part.is_symlink() and part.lstat().st_uid not in (0, os.geteuid()):
            raise StoreUnavailable(
                f"{part} is a link of account {owner_name(part.lstat().st_uid)}, who could redirect the database; "
                "name another data folder with HYBRID_ML_DATA_DIR, or remove the link"
            )


def _refuse_owner(folder: Path, wanted: int) -> None:
    state = folder.stat()
    if not stat.S_ISDIR(state.st_mode):
        raise StoreUnavailable(f"{folder} is no folder; move the file, or name another folder with HYBRID_ML_DATA_DIR")
    if state.st_uid != wanted:
        raise StoreUnavailable(
            f"{folder} belongs to account {owner_name(state.st_uid)}, not {owner_name(wanted)}, and the database must "
            f"not lie in another's folder; name another with HYBRID_ML_DATA_DIR, or, if its content is yours, "
            f"`chown -R {owner_name(wanted)} {shlex.quote(str(folder))}`"
        )


def owner_name(uid: int) -> str:
    """An account's name, else its number."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def let_through(folder: Path, account: Account) -> None:
    """Let the server's account pass through `folder` and all above it, without reading them; others gain no rights.

    Raises StoreUnavailable where the file system has no access control lists, so that a person must decide.
    """
    if account.is_ours:
        return
    for part in (folder, *folder.parents):
        state = part.stat()
        if state.st_mode & stat.S_IXOTH or (state.st_gid == account.gid and state.st_mode & stat.S_IXGRP):
            continue
        try:
            _add_to_list(part, account.uid)
        except (OSError, AttributeError) as error:  # no access control lists there, or not on Linux
            raise StoreUnavailable(
                f"{part} is closed to the account {account.name}, which runs PostgreSQL for root, and granting access "
                f"failed ({error}); `chmod o+x {shlex.quote(str(part))}`, name another data folder with "
                "HYBRID_ML_DATA_DIR, or run as an ordinary user"
            ) from None


def _add_to_list(folder: Path, uid: int) -> None:
    """Add "may pass" for the account to the folder's access control list."""
    entries = _access_list(folder)
    entries[ACL_USER, uid] = entries.get((ACL_USER, uid), 0) | 1
    mode = stat.S_IMODE(folder.stat().st_mode)
    # With a list, the group bits of the mode are the mask for all entries of the list.
    entries[ACL_MASK, ACL_NO_ID] = entries.get((ACL_MASK, ACL_NO_ID), mode >> 3 & 7) | 1
    packed = [struct.pack("<HHI", tag, entries[tag, owner], owner) for tag, owner in sorted(entries)]
    os.setxattr(folder, ACL_ATTRIBUTE, struct.pack("<I", ACL_VERSION) + b"".join(packed))


def _access_list(folder: Path) -> dict[tuple[int, int], int]:
    """Permissions by kind and account; made of the mode where the folder has no list yet."""
    try:
        packed = os.getxattr(folder, ACL_ATTRIBUTE)
    except OSError:
        mode = stat.S_IMODE(folder.stat().st_mode)
        return {(1, ACL_NO_ID): mode >> 6 & 7, (4, ACL_NO_ID): mode >> 3 & 7, (0x20, ACL_NO_ID): mode & 7}
    return {(tag, owner): allowed for tag, allowed, owner in struct.iter_unpack("<HHI", packed[4:])}
