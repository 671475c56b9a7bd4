"""The worker of the pool: flow processes that are there before their time, and warm."""

import asyncio
import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from deployments.names import POOL
from deployments.service.leftovers import SOCKET, worker_folder
from deployments.unheard import speak_to_whoever_listens
from hybrid_ml.errors import BadInput
from hybrid_ml.settings import load_settings

HEARTBEAT = ("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", "30")
"""What the watch over silent runs looks for, seconds; the least Prefect takes."""
DEFAULTS = {
    # How often it asks for work: a manual trigger waits half of it on average.
    "worker.query_seconds": "1",
    # A flow process is there before its time and waits. Longer would only let a run by hand meet it.
    "worker.prefetch_seconds": "8",
    # A run cancelled before it began must not begin.
    "worker.enable_cancellation": "true",
    "flows.heartbeat_frequency": HEARTBEAT[1],
}
"""Prefect's settings, by its names for them, where you state no others."""
WORKER_SETTINGS = {f"PREFECT_{name.upper().replace('.', '_')}": value for name, value in DEFAULTS.items()}
"""The same as environment variables."""
RESULTS_VARIABLE = "PREFECT_RESULTS_LOCAL_STORAGE_PATH"


def run_worker(*, cold: bool = False, name: str | None = None) -> None:
    """Work for the pool until SIGTERM or Ctrl-C. `cold`: every flow process imports everything itself."""
    from prefect.settings import temporary_settings

    from deployments.warm.worker import work

    speak_to_whoever_listens()  # whoever started it may be gone, and runs at work finish all the same
    folder = data_folder() / "worker"
    folder.mkdir(mode=0o700, exist_ok=True)
    # Prefect writes the error of every run that fails into a file that nothing removes: here the worker does.
    os.environ.setdefault(RESULTS_VARIABLE, str(folder / "results"))
    for variable, value in WORKER_SETTINGS.items():
        os.environ.setdefault(variable, value)  # flow processes read it
    # Here Prefect has read it already. A stopped worker has done what it should.
    with suppress(asyncio.CancelledError), temporary_settings(set_defaults=DEFAULTS), worker_folder() as temporary:
        # Prefect's runner makes a folder of a fixed name there, which in the system's another account could own.
        tempfile.tempdir = str(temporary)
        # elsewhere a fork of a process with frameworks loaded is not safe
        is_warm = sys.platform == "linux" and not cold
        asyncio.run(work(POOL, name, str(temporary / SOCKET) if is_warm else None, folder))


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
