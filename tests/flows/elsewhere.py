"""A stage in another process, as a worker of a cluster runs it; does not load the settings of the tests."""

import os

import cloudpickle
from prefect.context import hydrated_context

from hybrid_ml.config.settings import load_settings
from tasks.pipeline_task import pipeline_task


@pipeline_task("bound", timeout_seconds=60, uses_io=True)
def bound_here() -> tuple[int, float | None]:
    return os.getpid(), load_settings().hybrid_ml_min_confidence


def as_a_worker(sent: bytes) -> tuple[int, float | None]:
    """Load a run's context and a task, and call the task."""
    context, task = cloudpickle.loads(sent)
    with hydrated_context(context):
        return task()
