"""Whether a run's process is on this machine: one that is stopped for a while is silent, and not gone."""

from contextlib import suppress
from uuid import UUID

import psutil

VARIABLE = "PREFECT__FLOW_RUN_ID"
"""How the process worker tells a flow process which run it is."""
PROGRAMS = ("deployments.service.flow_process", "prefect.engine", "prefect.flow_engine")
"""What a flow process is started as; what a run starts itself inherits the variable."""


def flow_process_id(run_id: UUID) -> int | None:
    """The id of the run's process; None where it is not here."""
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):  # it has just ended, or is another user's
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            command = " ".join(process.cmdline())
            if any(program in command for program in PROGRAMS) and process.environ().get(VARIABLE) == str(run_id):
                return process.pid
    return None
