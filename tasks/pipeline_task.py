"""How every stage runs: never cached, named after its symbol, retried where it uses the database or Telegram."""

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger
from prefect.logging.handlers import PrefectConsoleHandler
from prefect.tasks import Task
from sqlalchemy import Engine

from hybrid_ml.config.settings import load_settings
from hybrid_ml.errors import HybridMLError, StoreUnreachable
from hybrid_ml.store.engine import open_engine
from tasks.configuration import load_configuration
from tasks.task_run_events import reduce_task_run_events

RETRY_DELAYS_SECONDS = [2.0, 5.0, 15.0]
"""Long enough for a suspended Neon or Supabase database to wake up."""
PAUSE_SECONDS = 600.0
"""How long a machine may be suspended during a stage: Prefect's timeouts count that time too."""
Stage = TypeVar("Stage", bound=Callable[..., Any])


def pipeline_task(
    name: str | Callable[[], str], *, timeout_seconds: float, uses_io: bool = False
) -> Callable[[Stage], Stage]:
    """Decorate one stage. `name` may contain {symbol}, or be a function that returns the name.

    With `uses_io` it uses the database or Telegram. `timeout_seconds` is the limit without suspensions of the
    machine; PAUSE_SECONDS is added.

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
        load_configuration()
        return function(*arguments, **named)

    return configured  # type: ignore[return-value]


def should_retry(_: Task, __: TaskRun, state: State) -> bool:
    """An error with a remedy for a person does not go away by itself; a lost database connection, or any other, may."""
    return not isinstance(state.data, HybridMLError) or isinstance(state.data, StoreUnreachable)


def _drop_traceback(record: logging.LogRecord) -> bool:
    """An error with a remedy for a person is shown in one line, here and in the Prefect UI."""
    if record.exc_info and isinstance(record.exc_info[1], HybridMLError):
        record.exc_info = None
        record.is_raised = True
    return True


for _engine_logger in ("prefect.task_runs", "prefect.flow_runs"):
    logging.getLogger(_engine_logger).addFilter(_drop_traceback)


IN_REPORT = {"is_in_report": True}
"""`extra` of a log line about an error that the report of the run states."""


def print_errors_once(*, with_report: bool) -> None:
    """Leave out of this process's terminal what its command prints at the end; the log in the Prefect UI has it.

    An error is otherwise printed for each task that passes it on, for the run, and for its final state.
    `with_report`: the command prints its report for a person.
    """
    for handler in logging.getLogger().handlers:
        if isinstance(handler, PrefectConsoleHandler):
            handler.addFilter(_drop_passed_on)
            if with_report:
                handler.addFilter(_drop_reported)


def _drop_passed_on(record: logging.LogRecord) -> bool:
    return not hasattr(record, "is_raised") and not str(record.msg).startswith("Finished in state Failed(")


def _drop_reported(record: logging.LogRecord) -> bool:
    return not hasattr(record, "is_in_report")


def _drop_parameter_log(record: logging.LogRecord) -> bool:
    """For invalid parameters Prefect logs pydantic's list of dictionaries, then a sentence, also in the state."""
    return not record.getMessage().startswith("Parameter validation failed for flow")


logging.getLogger("prefect.flows").addFilter(_drop_parameter_log)


ROUTINE_LINES = ("Timeout of %s seconds configured for this task", "Finished in state Completed()")


def _drop_routine_log(record: logging.LogRecord) -> bool:
    """Drop two lines that Prefect logs for every stage of every run without information; they were half of the log.

    Prefect warns that a timeout does not interrupt what waits in a thread; the connections to the database and to
    Telegram have timeouts of their own. It also logs that a stage completed, which its state shows.
    """
    return not str(record.msg).startswith(ROUTINE_LINES)


logging.getLogger("prefect.task_runs").addFilter(_drop_routine_log)
reduce_task_run_events()


def log() -> logging.Logger | logging.LoggerAdapter[Any]:
    """The run's logger, or a plain one outside a run."""
    try:
        return get_run_logger()
    except MissingContextError:
        return logging.getLogger("hybrid_ml")


def database() -> Engine:
    """The configured database; its address is never a parameter of a task."""
    return open_engine(load_settings())
