"""Restoring damaged bytes in the registry from an intact local file."""

from contextlib import suppress
from pathlib import Path

from sqlalchemy import Connection

from hybrid_ml.errors import ModelUnavailable
from hybrid_ml.learning.model import HybridModel
from hybrid_ml.store import model_registry as registry
from hybrid_ml.store.model_files import read_model


def restore_champion(connection: Connection, folder: Path, symbol: str) -> HybridModel | None:
    """Restore the champion's base from `folder`, in the caller's transaction; None when the file is not that base.

    The file is checked against the registry's checksums: of the champion with its newest trial, or
    of the champion alone.
    """
    for serving in (registry.find_current(connection, symbol), registry.find_champion(connection, symbol)):
        if serving is None:
            continue
        with suppress(ModelUnavailable):
            model = read_model(folder, serving.file, symbol).with_adapter(None)
            registry.insert_base(connection, model.base, "champion", "restored from the local file")
            return model
    return None
