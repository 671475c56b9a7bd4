"""Local copies of the models in use, in `models/`. They can be lost: the registry rebuilds them.

`models/lightgbm_model.pkl` belongs to the default symbol, `models/<symbol>/lightgbm_model.pkl` to
each other one, with a `model_metadata_<version>.json` for every base beside it.
"""

import hashlib
import json
import os
import tempfile
import time
from contextlib import suppress
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hybrid_ml.errors import BadInput, ModelUnavailable
from hybrid_ml.learning.model import Base, HybridModel
from hybrid_ml.learning.model_bytes import LARGEST_MODEL, Checksum, base_bytes, check_seal, pack_file, seal, unpack_file

MODEL_FILE = "lightgbm_model.pkl"
LONGEST_FILE_NAME = 180
LEFT_BEHIND_SECONDS = 3_600
LEFT_OUT_OF_METADATA = {"trees", "leaf_values", "packed"}


def model_folder(models_dir: Path, symbol: str, default_symbol: str) -> Path:
    """The folder for the files of `symbol`; characters that are special to a file system are encoded."""
    return models_dir if symbol == default_symbol else models_dir / _file_name(symbol)


def _file_name(text: str) -> str:
    """`text` as a file name: nothing in it is special to a file system, and it fits into 255 bytes."""
    name = quote(text, safe="@ ").replace(".", "%2E")
    return name if len(name) <= LONGEST_FILE_NAME else f"{name[:80]}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def read_model(folder: Path, expected: Checksum, symbol: str) -> HybridModel:
    """The model in `folder`; raises ModelUnavailable naming the check that failed."""
    path = folder / MODEL_FILE
    try:
        data = _read(path, expected.length)
    except FileNotFoundError:
        raise ModelUnavailable(f"{path} is missing") from None
    except OSError as error:
        raise ModelUnavailable(f"{path} cannot be read: {error.strerror}") from None
    try:
        check_seal(data, expected)
        return unpack_file(data, symbol)
    except ModelUnavailable as error:
        raise ModelUnavailable(f"{path}: {error}") from None


def _read(path: Path, length: int) -> bytes:
    """At most `length` bytes of the file and one more, so that a longer file fails the length check."""
    with path.open("rb") as file:
        return file.read(length + 1)


def read_base(folder: Path, expected: Checksum) -> bytes | None:
    """The bytes of the base in the serving file of `folder`, with any adapter; None where it is another base."""
    try:
        with (folder / MODEL_FILE).open("rb") as file:
            data = base_bytes(file.read(LARGEST_MODEL))
        check_seal(data, expected)
    except (OSError, ModelUnavailable):
        return None
    return data


def write_model(folder: Path, model: HybridModel) -> Path:
    """Write the serving file and the base's metadata into `folder`; returns the path of the model.

    Each file is complete or not there: temporary file, fsync, rename. Raises BadInput when the
    folder cannot be written.
    """
    path = folder / MODEL_FILE
    data = pack_file(model)
    metadata = folder / f"model_metadata_{_file_name(model.base.version)}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)
        if not metadata.exists():
            write_atomically(metadata, json.dumps(describe(model.base), indent=2).encode())
        _sweep(folder)
    except OSError as error:
        raise BadInput(
            f"the models folder {folder} cannot be written ({error.strerror}); the model itself is in the "
            "database: correct the folder's permissions or set HYBRID_ML_MODELS_DIR"
        ) from error
    return path


def _sweep(folder: Path) -> None:
    """Remove temporary files of processes that were killed while writing."""
    for path in folder.glob(f".{MODEL_FILE}.*"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > LEFT_BEHIND_SECONDS:
                path.unlink()


def model_files(folder: Path, symbol: str) -> list[Path]:
    """The local copies of models of `symbol` in its `folder`, sorted; in the models folder there may be others."""
    metadata = f"model_metadata_{_file_name(symbol + '@')[:80]}"
    found = [path for path in folder.glob("model_metadata_*.json") if path.name.startswith(metadata)]
    return sorted([*found, *folder.glob(MODEL_FILE), *folder.glob(f".{MODEL_FILE}.*")])


def remove_model_files(folder: Path, symbol: str) -> None:
    """Remove the local copies of `symbol`; raises BadInput where that is not possible."""
    try:
        for path in model_files(folder, symbol):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise BadInput(f"{folder} cannot be emptied ({error.strerror}); correct its permissions") from None
    with suppress(OSError):  # it is not there, or holds more
        folder.rmdir()


def write_atomically(path: Path, data: bytes) -> None:
    """Replace `path` by `data` in one step, so that a crash leaves either the old or the new content."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def describe(base: Base) -> dict[str, Any]:
    """Everything about a base but its trees, ready for JSON, with the checksum of its bytes."""
    known = {item.name: getattr(base, item.name) for item in fields(base) if item.name not in LEFT_OUT_OF_METADATA}
    packed = seal(base.packed)
    known |= {"length": packed.length, "sha256": packed.sha256, "trees": len(base.leaf_values)}
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in known.items()}
