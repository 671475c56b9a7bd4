"""The worker of the pool; flow processes are started before their scheduled time."""

import asyncio
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from deployments.provision.names import POOL
from deployments.service.broken_pipe import ignore_broken_pipes
from deployments.service.leftovers import worker_folder
from hybrid_ml.config.settings import load_settings
from hybrid_ml.errors import BadInput

HEARTBEAT = ("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", "30")
"""The interval of the heartbeats that the run watcher reads, seconds; Prefect's minimum."""
DEFAULTS = {
    # How often it polls for runs: a manual trigger waits half of it on average.
    "worker.query_seconds": "1",
    # A flow process that has imported everything waits until its run is due, Pending and without a lock. Longer than a
    # start takes, and shorter than a stopping worker waits for its runs (FINISH_SECONDS in service/flow_worker.py).
    "worker.prefetch_seconds": "15",
    # A run cancelled before it began must not begin.
    "worker.enable_cancellation": "true",
    "flows.heartbeat_frequency": HEARTBEAT[1],
}
"""Prefect's settings, under its names, where you state no others."""
WORKER_SETTINGS = {f"PREFECT_{name.upper().replace('.', '_')}": value for name, value in DEFAULTS.items()}
"""The same as environment variables."""
RESULTS_VARIABLE = "PREFECT_RESULTS_LOCAL_STORAGE_PATH"


def run_worker(name: str | None = None) -> None:
    """Work for the pool until SIGTERM or Ctrl-C."""
    from prefect.settings import temporary_settings

    from deployments.service.flow_worker import work

    ignore_broken_pipes()  # the process that started it may be gone, and running flows finish nevertheless
    folder = data_folder() / "worker"
    folder.mkdir(mode=0o700, exist_ok=True)
    # Prefect writes the error of every failed run into a file and never removes it: the worker does.
    os.environ.setdefault(RESULTS_VARIABLE, str(folder / "results"))
    for variable, value in WORKER_SETTINGS.items():
        os.environ.setdefault(variable, value)  # flow processes read it
    # In this process Prefect has read them already. A worker that was stopped has ended well.
    with suppress(asyncio.CancelledError), temporary_settings(set_defaults=DEFAULTS), worker_folder() as temporary:
        # Prefect's runner makes a folder of a fixed name there; in the system's folder another account could own it.
        tempfile.tempdir = str(temporary)
        asyncio.run(work(POOL, name, folder))


def data_folder() -> Path:
    """The data folder, made where it is missing. Raises BadInput when it cannot be made."""
    folder = load_settings().data_dir
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(
            f"{folder} cannot be written ({error.strerror}); choose another folder with HYBRID_ML_DATA_DIR"
        ) from None
    return folder
