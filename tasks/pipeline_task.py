"""How every stage runs: never cached, named after its symbol, retried where it touches the outside."""

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger
from prefect.tasks import Task
from sqlalchemy import Engine

from hybrid_ml.config.settings import load_settings
from hybrid_ml.errors import HybridMLError, StoreUnreachable
from hybrid_ml.store.engine import open_engine
from tasks.configuration import take_configuration
from tasks.task_run_events import send_less

RETRY_DELAYS_SECONDS = [2.0, 5.0, 15.0]
"""Long enough for a suspended Neon or Supabase database to wake up."""
PAUSE_SECONDS = 600.0
"""How long a machine may stand still in the middle of a stage: Prefect's timeouts count that as time at work."""
Stage = TypeVar("Stage", bound=Callable[..., Any])


def pipeline_task(
    name: str | Callable[[], str], *, timeout_seconds: float, uses_io: bool = False
) -> Callable[[Stage], Stage]:
    """Decorate one stage. `name` may hold {symbol}, or make the name.

    With `uses_io` it talks to a database or to Telegram. `timeout_seconds` is what the stage may take when nothing
    stands still; a pause of PAUSE_SECONDS comes on top.

    The result is a Prefect task; called inside a flow it returns what the function returns, and to
    the type checker it stays that function.
    """
    retries: dict[str, Any] = (
        {
            "retries": len(RETRY_DELAYS_SECONDS),
            "retry_delay_seconds": RETRY_DELAYS_SECONDS,
            "retry_condition_fn": should_retry,
        }
        if uses_io
        else {}
    )
    as_task: Callable[[Stage], Stage] = task(
        task_run_name=name,
        timeout_seconds=timeout_seconds + PAUSE_SECONDS,
        cache_policy=NO_CACHE,
        persist_result=False,
        **retries,
    )  # type: ignore[assignment]

    def decorate(function: Stage) -> Stage:
        return as_task(_configured(function) if uses_io else function)

    return decorate


def _configured(function: Stage) -> Stage:
    """`function` with the configuration of its flow run, in whichever process it runs."""

    @wraps(function)
    def configured(*arguments: Any, **named: Any) -> Any:
        take_configuration()
        return function(*arguments, **named)

    return configured  # type: ignore[return-value]


def should_retry(_: Task, __: TaskRun, state: State) -> bool:
    """An error written for a person to act on will not go away by itself; a silent database, or anything else, may."""
    return not isinstance(state.data, HybridMLError) or isinstance(state.data, StoreUnreachable)


def _without_traceback(record: logging.LogRecord) -> bool:
    """An error written for a person to act on is told in one line, here and in the Prefect UI."""
    if record.exc_info and isinstance(record.exc_info[1], HybridMLError):
        record.exc_info = None
    return True


for _engine_logger in ("prefect.task_runs", "prefect.flow_runs"):
    logging.getLogger(_engine_logger).addFilter(_without_traceback)


def _said_again_in_words(record: logging.LogRecord) -> bool:
    """Of parameters that do not fit Prefect logs pydantic's list of dictionaries, and next, and in the state, words."""
    return not record.getMessage().startswith("Parameter validation failed for flow")


logging.getLogger("prefect.flows").addFilter(_said_again_in_words)


ROUTINE_LINES = ("Timeout of %s seconds configured for this task", "Finished in state Completed()")


def _news(record: logging.LogRecord) -> bool:
    """Two lines of every stage of every run tell nothing: they were half of the log.

    Prefect warns that a timeout does not interrupt what waits in a thread; what a stage waits for has timeouts of its
    own: the line to the database and the one to Telegram. And it says that a stage ended well, which its state says.
    """
    return not str(record.msg).startswith(ROUTINE_LINES)


logging.getLogger("prefect.task_runs").addFilter(_news)
send_less()


def log() -> logging.Logger | logging.LoggerAdapter[Any]:
    """The run's logger, or a plain one where no run is going on."""
    try:
        return get_run_logger()
    except MissingContextError:
        return logging.getLogger("hybrid_ml")


def database() -> Engine:
    """The configured database; its address never passes through a parameter."""
    return open_engine(load_settings())
