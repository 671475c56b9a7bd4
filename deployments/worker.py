"""The worker of the pool: flow processes that are there before their time, and warm."""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
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

    if cold or sys.platform != "linux":  # elsewhere a fork cannot be tied to the life of its worker
        asyncio.run(work(POOL, name, None))
        return
    with warm_template() as address:
        asyncio.run(work(POOL, name, address))


@contextmanager
def warm_template() -> Iterator[str]:
    """A process to fork flow processes from, for as long as the block; yields the address of its socket."""
    with tempfile.TemporaryDirectory(prefix="hybrid-ml-") as folder:
        address = str(Path(folder) / "template")
        command = [sys.executable, "-m", "deployments.warm.template", address]
        with subprocess.Popen(command, stdin=subprocess.PIPE):  # noqa: S603  # our own module; it ends with its input
            yield address
