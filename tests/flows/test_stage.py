"""Which failures of a stage are worth another try."""

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
    ("error", "again"),
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
def test_what_may_pass_is_tried_again_and_what_a_person_must_mend_is_not(error: Exception, again: bool) -> None:
    assert should_retry(None, None, Failed(data=error)) is again  # type: ignore[arg-type]


@pytest.mark.parametrize(("error", "tries"), [(StoreUnreachable("asleep"), 3), (BadInput("a file"), 1)])
def test_prefect_follows(prefect_api: str, monkeypatch: pytest.MonkeyPatch, error: Exception, tries: int) -> None:
    monkeypatch.setattr(stage_module, "RETRY_DELAYS_SECONDS", [0.01, 0.01])
    seen: list[str] = []

    @pipeline_task("ask {symbol}", timeout_seconds=10, uses_io=True)
    def ask(symbol: str) -> None:
        seen.append(symbol)
        raise error

    @flow
    def asking() -> None:
        ask("ABC")

    assert asking(return_state=True).is_failed()
    assert seen == ["ABC"] * tries


def test_a_timeout_in_a_thread_is_no_news(prefect_api: str, caplog: pytest.LogCaptureFixture) -> None:
    """Prefect would warn of it at every stage of every symbol."""

    @pipeline_task("ask {symbol}", timeout_seconds=10)
    def ask(symbol: str) -> str:
        log().warning("asked %s", symbol)
        return symbol

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=2))
    def asking() -> list[str]:
        return ask.map(["ABC", "XYZ"]).result()  # type: ignore[attr-defined]

    assert asking() == ["ABC", "XYZ"]
    ours = [record for record in caplog.records if record.name == "prefect.task_runs"]
    warned = [record.getMessage() for record in ours if record.levelno >= logging.WARNING]
    assert sorted(warned) == ["asked ABC", "asked XYZ"]
