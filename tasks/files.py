"""Files that a run reads and writes: which paths are allowed, and how large the files may be."""

from pathlib import Path

from prefect.context import FlowRunContext
from pydantic import BaseModel

from hybrid_ml.config.settings import load_settings
from hybrid_ml.errors import BadInput
from hybrid_ml.market.bars import CleanBars
from hybrid_ml.market.file_limits import FileLimits
from hybrid_ml.market.sources import bar_files, read_bar_file
from hybrid_ml.market.text_files import STANDARD_INPUT
from hybrid_ml.store.allowed_files import refuse_disallowed_paths


def refuse_disallowed_files(request: BaseModel) -> None:
    """Raise BadInput for a path of `request` outside the allowed folders, where this is a run of a deployment.

    Anybody who can reach the server can start such a run: with a form, the API or a schedule. A command runs with the
    rights of the person who types it, in its own process, and is no run of a deployment.
    """
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    if run is None or run.deployment_id is None:
        return
    paths = {name: path for name, path in request if isinstance(path, Path)}
    if paths.get("csv_path") == STANDARD_INPUT:
        raise BadInput("--csv_path - is for commands: a run of a deployment has no standard input; name a file")
    refuse_disallowed_paths(paths, load_settings())
    # A folder or a pattern may reach others by links.
    for file in bar_files(paths.get("csv_path")) if "csv_path" in paths else []:
        refuse_disallowed_paths({"csv_path": file}, load_settings())


def read_bars_of(path: Path | None) -> CleanBars:
    """The bars in a file of at most the configured size; see `read_bar_file`."""
    return read_bar_file(path, FileLimits(load_settings().hybrid_ml_max_file_mb))
