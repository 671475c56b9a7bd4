"""One `hybrid-ml up` for all tests of this package in one test process."""

import signal
from collections.abc import Iterator

import pytest
from prefect.client.schemas.objects import FlowRun

from tests.up import AWAKE, Up, everything_up, nothing_left_of


@pytest.fixture(scope="package")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """`hybrid-ml up` as a user starts it; see TOGETHER. It must end by an interrupt and leave nothing."""
    # Rows older than their retention are deleted within seconds instead of an hour.
    with everything_up(tmp_path_factory.mktemp("up"), PREFECT_SERVER_SERVICES_DB_VACUUM_LOOP_SECONDS="10") as running:
        yield running
        with nothing_left_of(running):
            running.process.send_signal(signal.SIGINT)
            running.process.send_signal(signal.SIGINT)  # a second interrupt has no effect


@pytest.fixture(scope="package")
def completed(up: Up) -> FlowRun:
    """An analysis by hand that has completed, for tests that only read it."""
    run = up.wait_for_end(up.trigger(**AWAKE))
    assert run.state.type.value == "COMPLETED", run.state
    return run
