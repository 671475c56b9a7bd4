"""The worker of the pool: flow processes that are there before their time, and warm."""

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from deployments.names import POOL

HEARTBEAT = ("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", "30")
"""What the automation listens for, seconds; the least Prefect takes."""
WORKER_SETTINGS = {
    # How often it asks for work: a manual trigger waits half of it on average.
    "PREFECT_WORKER_QUERY_SECONDS": "1",
    # A flow process is there before its time and waits. Longer would only let a run by hand meet it.
    "PREFECT_WORKER_PREFETCH_SECONDS": "8",
    # A run cancelled before it began must not begin.
    "PREFECT_WORKER_ENABLE_CANCELLATION": "true",
    **dict([HEARTBEAT]),
}


def run_worker(*, cold: bool = False, name: str | None = None) -> None:
    """Work for the pool until SIGTERM or Ctrl-C. `cold`: every flow process imports everything itself."""
    for variable, value in WORKER_SETTINGS.items():
        os.environ.setdefault(variable, value)
    from deployments.warm.worker import work  # after its settings

    if cold or sys.platform != "linux":  # elsewhere a fork of a process with frameworks loaded is not safe
        asyncio.run(work(POOL, name, None))
        return
    with tempfile.TemporaryDirectory(prefix="hybrid-ml-") as folder:
        asyncio.run(work(POOL, name, str(Path(folder) / "template")))
