"""A flow process: `python -m deployments.service.flow_process` is `python -m prefect.engine`, and outlives its worker.

The worker reads the output of a flow process; when the worker dies, the flow runs on to its end. The server gets
states, events and log lines; when it does not answer, the flow continues, and the process ends within the limits of
`tasks/server.py`.
"""

import runpy
import sys
import warnings
from functools import partial
from typing import Any

from deployments.service.broken_pipe import ignore_broken_pipes


def run_engine() -> None:
    """Do what `python -m prefect.engine` does, with a client that continues without the server where it can.

    The flow returns its state only: for a failed run, Prefect would otherwise log a traceback of its own, twice.
    """
    from prefect import flow_engine  # Prefect is imported with the settings of this process

    from tasks.server import drain, run_client

    engine: Any = flow_engine
    engine.run_flow = partial(flow_engine.run_flow, return_type="state")
    sys.argv = ["prefect.engine"]
    try:
        with run_client(), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # prefect.engine has been imported already
            runpy.run_module("prefect.engine", run_name="__main__", alter_sys=True)
    finally:
        drain()


if __name__ == "__main__":
    ignore_broken_pipes()
    run_engine()
