"""Whether a run's process is on this machine: a suspended one sends no heartbeats, and still exists."""

from contextlib import suppress
from uuid import UUID

import psutil

VARIABLE = "PREFECT__FLOW_RUN_ID"
"""The variable in which the process worker passes the run's id to a flow process."""
PROGRAMS = ("deployments.service.flow_process", "prefect.engine", "prefect.flow_engine")
"""The programs of flow processes; other processes that a run starts inherit the variable too."""


def flow_process_id(run_id: UUID) -> int | None:
    """The id of the run's process; None where it is not on this machine."""
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):  # it has just ended, or is another user's
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            command = " ".join(process.cmdline())
            if any(program in command for program in PROGRAMS) and process.environ().get(VARIABLE) == str(run_id):
                return process.pid
    return None
