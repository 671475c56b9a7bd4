"""Database errors in runs: temporary ones are retried, and the message is one line with the remedy."""

import logging
import os

import pytest
from prefect import flow
from prefect.client.schemas.objects import State
from sqlalchemy import Engine, text

from flows.review import review
from hybrid_ml.schemas.requests import ReviewRequest
from tasks.pipeline_task import database, pipeline_task
from tests.databases import role

ALL_RIGHTS = "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}"


@pytest.mark.parametrize(
    ("statement", "tries", "message"),
    [
        ("ALTER ROLE {role} SET default_transaction_read_only = on", 1, "is read-only: cannot execute DELETE"),
        ("REVOKE DELETE ON bars FROM {role}", 1, "permission denied for table bars; let the owner run: GRANT"),
        ("ALTER ROLE {role} CONNECTION LIMIT 0", 3, "has no connection left"),
    ],
)
def test_task_retries_only_temporary_database_errors(
    server: str,
    engine: Engine,
    prefect_api: str,
    monkeypatch: pytest.MonkeyPatch,
    statement: str,
    tries: int,
    message: str,
) -> None:
    monkeypatch.setattr("tasks.pipeline_task.RETRY_DELAYS_SECONDS", [0.01, 0.01])
    attempts: list[int] = []

    @pipeline_task("delete", timeout_seconds=60, uses_io=True)
    def delete() -> None:
        attempts.append(len(attempts))
        with database().begin() as connection:
            connection.execute(text("DELETE FROM bars"))

    @flow
    def deleting() -> None:
        delete()

    with role(server, os.environ["NEON_CONN_STR"], ALL_RIGHTS, statement) as restricted:
        monkeypatch.setenv("NEON_CONN_STR", restricted)
        state: State = deleting(return_state=True)  # type: ignore[assignment]
    assert state.is_failed()
    assert message in str(state.message)
    assert len(attempts) == tries


def test_scheduled_run_without_rights_fails_at_once_with_remedy_and_no_traceback(
    server: str, engine: Engine, prefect_api: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As from a schedule, without the check of rights that commands make."""
    with role(
        server, os.environ["NEON_CONN_STR"], ALL_RIGHTS, "REVOKE ALL ON run_moments, bars FROM {role}"
    ) as restricted:
        monkeypatch.setenv("NEON_CONN_STR", restricted)
        state: State = review(ReviewRequest(), return_state=True)  # type: ignore[assignment]
    assert state.is_failed()
    assert "permission denied for table" in str(state.message)
    assert "let the owner run: GRANT SELECT" in str(state.message)
    errors = [
        record for record in caplog.records if record.name.startswith("prefect.") and record.levelno >= logging.ERROR
    ]
    assert errors
    assert not [record for record in errors if record.exc_info or "retry" in record.getMessage().lower()]
