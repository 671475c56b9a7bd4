"""Files that a run reads and writes: who may name which, and how large they may be."""

from pathlib import Path

from prefect.context import FlowRunContext
from pydantic import BaseModel

from hybrid_ml.config.settings import load_settings
from hybrid_ml.market.bars import CleanBars
from hybrid_ml.market.file_limits import FileLimits
from hybrid_ml.market.sources import read_bar_file
from hybrid_ml.store.allowed_files import refuse_other_files


def refuse_foreign_files(request: BaseModel) -> None:
    """Raise BadInput for a path of `request` outside the allowed folders, where this is a run of a deployment.

    Such a run was started by whoever reaches the server: a form, the API, a schedule. What a person types as a command
    runs with that person's own rights and in a process of its own, which is no run of a deployment.
    """
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    if run is None or run.deployment_id is None:
        return
    paths = {name: path for name, path in request if isinstance(path, Path)}
    refuse_other_files(paths, load_settings())


def read_bars_of(path: Path | None) -> CleanBars:
    """The bars in a file, of the size that is configured at most; see `read_bar_file`."""
    return read_bar_file(path, FileLimits(load_settings().hybrid_ml_max_file_mb))
