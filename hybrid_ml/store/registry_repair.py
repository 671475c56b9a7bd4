"""Bytes that the registry has lost, put back from a local file that is sound."""

from contextlib import suppress
from pathlib import Path

from sqlalchemy import Connection

from hybrid_ml.errors import ModelUnavailable
from hybrid_ml.learning.model import HybridModel
from hybrid_ml.store import model_registry as registry
from hybrid_ml.store.model_files import read_model


def restore_champion(connection: Connection, folder: Path, symbol: str) -> HybridModel | None:
    """The champion's base from `folder`, its bytes put back in the caller's transaction; None when it is not there.

    The file is trusted by the seals that the registry kept: of the champion with its newest trial, or
    of the champion alone.
    """
    for serving in (registry.find_current(connection, symbol), registry.find_champion(connection, symbol)):
        if serving is None:
            continue
        with suppress(ModelUnavailable):
            model = read_model(folder, serving.file, symbol).with_adapter(None)
            registry.insert_base(connection, model.base, "champion", "put back from the local file")
            return model
    return None
