"""Which errors of a stage are retried."""

import logging

import pytest
from prefect import flow
from prefect.states import Failed
from prefect.task_runners import ThreadPoolTaskRunner
from sqlalchemy.exc import OperationalError

from hybrid_ml.errors import AlertRefused, BadInput, DataUnavailable, StoreUnavailable, StoreUnreachable
from tasks import pipeline_task as stage_module
from tasks.pipeline_task import log, pipeline_task, should_retry


@pytest.mark.parametrize(
    ("error", "retried"),
    [
        (OperationalError("SELECT 1", {}, Exception("server closed the connection")), True),
        (StoreUnreachable("asleep"), True),
        (TimeoutError(), True),
        (StoreUnavailable("wrong schema"), False),
        (BadInput("a file"), False),
        (DataUnavailable("no bars"), False),
        (AlertRefused("blocked"), False),
    ],
)
def test_temporary_errors_are_retried_and_permanent_ones_are_not(error: Exception, retried: bool) -> None:
    assert should_retry(None, None, Failed(data=error)) is retried  # type: ignore[arg-type]


@pytest.mark.parametrize(("error", "tries"), [(StoreUnreachable("asleep"), 3), (BadInput("a file"), 1)])
def test_prefect_retries_as_should_retry_decides(
    prefect_api: str, monkeypatch: pytest.MonkeyPatch, error: Exception, tries: int
) -> None:
    monkeypatch.setattr(stage_module, "RETRY_DELAYS_SECONDS", [0.01, 0.01])
    attempts: list[str] = []

    @pipeline_task("ask {symbol}", timeout_seconds=10, uses_io=True)
    def query(symbol: str) -> None:
        attempts.append(symbol)
        raise error

    @flow
    def querying() -> None:
        query("ABC")

    assert querying(return_state=True).is_failed()
    assert attempts == ["ABC"] * tries


def test_timeout_in_a_thread_logs_no_warning(prefect_api: str, caplog: pytest.LogCaptureFixture) -> None:
    """Prefect would log a warning at every stage of every symbol."""

    @pipeline_task("ask {symbol}", timeout_seconds=10)
    def query(symbol: str) -> str:
        log().warning("asked %s", symbol)
        return symbol

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=2))
    def querying() -> list[str]:
        return query.map(["ABC", "XYZ"]).result()  # type: ignore[attr-defined]

    assert querying() == ["ABC", "XYZ"]
    task_records = [record for record in caplog.records if record.name == "prefect.task_runs"]
    warnings = [record.getMessage() for record in task_records if record.levelno >= logging.WARNING]
    assert sorted(warnings) == ["asked ABC", "asked XYZ"]
