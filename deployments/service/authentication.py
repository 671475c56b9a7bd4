"""The authentication string of the Prefect server that `hybrid-ml up` starts: generated once, kept in the data folder.

Imports only the standard library and the errors, because every command reads it.
"""

import os
import secrets
import shlex
from functools import cache
from pathlib import Path

from hybrid_ml.errors import BadInput

FILE = "prefect-auth"
USER = "hybrid-ml"
PASSWORD_BYTES = 24
PRIVATE_MODE = 0o600
SERVER_VARIABLE, CLIENT_VARIABLE = "PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_AUTH_STRING"


def authentication_file(data_dir: Path) -> Path:
    """The path of the authentication file."""
    return data_dir / FILE


def read_authentication(data_dir: Path) -> str | None:
    """The kept string as USER:PASSWORD; None where there is none that only this account can read."""
    path = authentication_file(data_dir)
    try:
        with path.open() as file:
            state = os.fstat(file.fileno())
            text = file.read().strip()
    except OSError:
        return None
    is_private = os.name != "posix" or (state.st_uid == os.geteuid() and not state.st_mode & 0o077)
    return text if is_private and is_complete(text) else None


def keep_authentication(data_dir: Path, stated: str = "") -> str:
    """The string of this data folder: `stated` where it is not empty, else the kept one, else a new one.

    It is written to a file, so that commands in other shells find it. One that others could read is replaced.
    Raises BadInput where `stated` is not USER:PASSWORD, or the file cannot be written.
    """
    if stated and not is_complete(stated):
        raise BadInput(f"{SERVER_VARIABLE} is not USER:PASSWORD; state both, or unset it to generate one")
    kept = read_authentication(data_dir)
    if kept and stated in ("", kept):
        return kept
    path = authentication_file(data_dir)
    text = stated or f"{USER}:{secrets.token_urlsafe(PASSWORD_BYTES)}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_private(path, text + "\n")
    except OSError as error:
        raise BadInput(
            f"{path} cannot be written ({error.strerror}); choose another folder with HYBRID_ML_DATA_DIR"
        ) from None
    return text


@cache
def protect_temporary_server() -> None:
    """A server that Prefect starts for this process answers only this process, by a temporary string.

    One string for each process: all its flows share the server.
    """
    from prefect.context import refresh_global_settings_context

    os.environ[SERVER_VARIABLE] = os.environ[CLIENT_VARIABLE] = f"{USER}:{secrets.token_urlsafe(PASSWORD_BYTES)}"
    refresh_global_settings_context()


def export_line(api_url: str, path: Path) -> str:
    """The shell command after which Prefect's own commands reach the server; it names the file, not the secret."""
    return f'export PREFECT_API_URL={api_url} {CLIENT_VARIABLE}="$(cat {shlex.quote(str(path))})"'


def write_private(path: Path, text: str) -> None:
    """Replace `path` by a file that only this account can read. Raises OSError."""
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_MODE)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def is_complete(text: str) -> bool:
    """Whether `text` names a user and a password, as USER:PASSWORD."""
    user, _, password = text.partition(":")
    return bool(user and password)
