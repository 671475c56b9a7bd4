"""A model in a file, for copying it to another registry.

One line of text, `hybrid-ml model FORMAT LENGTH SHA256`, then a serving file (`model_bytes.pack_file`)
of that length (bytes) and sha256 (hexadecimal).
"""

import re
from pathlib import Path
from typing import BinaryIO

from hybrid_ml.errors import BadInput, ModelUnavailable
from hybrid_ml.learning.model_bytes import LARGEST_MODEL, Checksum, check_seal, seal
from hybrid_ml.store.model_files import write_atomically

FORMAT = 1
LONGEST_HEADER = 200
HEADER = re.compile(rb"hybrid-ml model (\d{1,9}) (\d{1,18}) ([0-9a-f]{64})\n")


def write_model_file(path: Path, data: bytes) -> Checksum:
    """Write the serving file `data` to the new file `path`, completely or not at all; returns its checksum.

    Raises BadInput when the file is there already or cannot be written.
    """
    sealed = seal(data)
    header = f"hybrid-ml model {FORMAT} {sealed.length} {sealed.sha256}\n".encode()
    try:
        if path.exists() or path.is_symlink():
            raise BadInput(f"--path {path} exists already and is not overwritten; choose another name")
        write_atomically(path, header + data)
    except (OSError, ValueError) as error:
        raise BadInput(f"--path {path} cannot be written: {_os_message(error)}") from None
    return sealed


def read_model_file(path: Path) -> bytes:
    """The serving file in `path`, its length and sha256 checked, its content not parsed.

    Raises BadInput when `path` is no model file, ModelUnavailable when it is damaged.
    """
    try:
        if path.exists() and not path.is_file():
            raise BadInput(f"--path {path} is not a file")
        with path.open("rb") as file:
            return _read(path, file)
    except FileNotFoundError:
        raise BadInput(f"--path {path}: no such file") from None
    except (OSError, ValueError) as error:
        raise BadInput(f"--path {path} cannot be read: {_os_message(error)}") from None


def _read(path: Path, file: BinaryIO) -> bytes:
    line = file.readline(LONGEST_HEADER)
    if not line:
        raise BadInput(f"--path {path} is empty")
    header = HEADER.fullmatch(line)
    if header is None:
        raise BadInput(f"--path {path} is no model file; `hybrid-ml models export` makes one")
    number, length = int(header[1]), int(header[2])
    if number != FORMAT:
        raise BadInput(f"--path {path} is a model file of format {number}; this program reads format {FORMAT}")
    if length > LARGEST_MODEL:
        most = f"more than the maximum of {LARGEST_MODEL:,}"
        raise ModelUnavailable(f"--path {path}: length check failed: {length:,} bytes are {most}")
    data = file.read(length + 1)
    try:
        check_seal(data, Checksum(length, header[3].decode()))
    except ModelUnavailable as error:
        raise ModelUnavailable(f"--path {path}: {error}") from None
    return data


def _os_message(error: OSError | ValueError) -> str:
    return getattr(error, "strerror", None) or str(error)
