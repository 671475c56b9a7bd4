"""The pull step of the deployments: a flow process changes to the project's folder on the worker's machine."""

import os

from hybrid_ml.config.settings import project_folder


def enter() -> dict[str, str]:
    """Make the project's folder the current one; entrypoints in prefect.yaml are relative to it."""
    folder = str(project_folder())
    os.chdir(folder)
    return {"directory": folder}
