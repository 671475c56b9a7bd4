"""A flow process: `python -m deployments.warm.engine` is `python -m prefect.engine`, and outlives its listener.

The worker reads what a flow process says. When the worker dies, the flow goes on to its end.
"""

import runpy
import sys
import warnings

from deployments.unheard import speak_to_whoever_listens


def run_engine() -> None:
    """What `python -m prefect.engine` does."""
    sys.argv = ["prefect.engine"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # that it may be loaded already is what the template is for
        runpy.run_module("prefect.engine", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    speak_to_whoever_listens()
    run_engine()
