"""Other accounts of this machine, for tests of their access; only root can act as another account."""

import os
import pwd
import subprocess
import sys
from pathlib import Path

from hybrid_ml.store.private_folders import Account, let_through
from tests.conftest import ROOT


def account(name: str) -> Account:
    entry = pwd.getpwnam(name)
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


OURSELVES = account(pwd.getpwuid(os.geteuid()).pw_name)
AS_ROOT = os.geteuid() == 0
OWNERS = [OURSELVES, account("daemon")] if AS_ROOT else [OURSELVES]
"""Accounts that run the service: root and an ordinary account if the tests run as root, as in CI."""
OTHER_ACCOUNTS = [account("nobody")] if AS_ROOT else []


BECOME = """
import json, os, socket, sys
from pathlib import Path
import psycopg2
import hybrid_ml.store.embedded
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid({gid})
    os.setuid({uid})
"""
"""The other account may not be able to read the interpreter, so the process changes its account after the imports."""


def python_as(user: Account, code: str, *arguments: str | Path, **environment: str) -> subprocess.Popen[str]:
    """Run `code` as another account with this project and its libraries, in a clean environment plus `environment`."""
    let_through(ROOT, user)  # the bundled PostgreSQL is below it
    return subprocess.Popen(
        [sys.executable, "-c", BECOME.format(uid=user.uid, gid=user.gid) + code, *map(str, arguments)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "NEON_CONN_STR": "", **environment},
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
