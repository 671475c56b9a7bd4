"""Prefect's process worker, with the starter in place of a cold interpreter."""

import os
import shlex
import sys
from pathlib import Path
from typing import Any, ClassVar

from prefect.settings import get_current_settings
from prefect.utilities.processutils import setup_signal_handlers_worker
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker

STARTER = Path(__file__).parent / "starter.py"


class WarmConfiguration(ProcessJobConfiguration):
    """What the process worker starts for a run: the starter, unless the deployment names a command of its own."""

    template: ClassVar[str | None] = None
    """The address of the warm template; None: flow processes begin cold."""

    def prepare_for_flow_run(self, *arguments: Any, **named: Any) -> None:
        """Fill in what the run needs, the command at last."""
        super().prepare_for_flow_run(*arguments, **named)
        if not self._command_configured:
            started = [sys.executable, "-S", str(STARTER), self.template] if self.template else None
            self.command = shlex.join(started or [sys.executable, "-m", "prefect.engine"])
            self._command_configured = True


async def work(pool: str, name: str | None, template: str | None) -> None:
    """Work for `pool` until SIGTERM or Ctrl-C."""
    settings = get_current_settings().worker
    worker = ProcessWorker(
        work_pool_name=pool,
        name=name,
        prefetch_seconds=settings.prefetch_seconds,
        heartbeat_interval_seconds=int(settings.heartbeat_seconds),
        create_pool_if_not_found=False,
    )
    WarmConfiguration.template = template
    # On the worker itself: a subclass would take the place of "process" in Prefect's registry of types.
    worker.job_configuration = WarmConfiguration
    setup_signal_handlers_worker(os.getpid(), "the worker", print)
    await worker.start()
