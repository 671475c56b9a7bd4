"""Which failures of a stage are worth another try."""

import pytest
from prefect import flow
from prefect.states import Failed
from sqlalchemy.exc import OperationalError

from hybrid_ml.errors import AlertRefused, BadInput, DataUnavailable, StoreUnavailable, StoreUnreachable
from tasks import stage as stage_module
from tasks.stage import stage, worth_another_try


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
    assert worth_another_try(None, None, Failed(data=error)) is again  # type: ignore[arg-type]


@pytest.mark.parametrize(("error", "tries"), [(StoreUnreachable("asleep"), 3), (BadInput("a file"), 1)])
def test_prefect_follows(prefect_api: str, monkeypatch: pytest.MonkeyPatch, error: Exception, tries: int) -> None:
    monkeypatch.setattr(stage_module, "RETRY_DELAYS_SECONDS", [0.01, 0.01])
    seen: list[str] = []

    @stage("ask {symbol}", timeout_seconds=10, outside=True)
    def ask(symbol: str) -> None:
        seen.append(symbol)
        raise error

    @flow
    def asking() -> None:
        ask("ABC")

    assert asking(return_state=True).is_failed()
    assert seen == ["ABC"] * tries
