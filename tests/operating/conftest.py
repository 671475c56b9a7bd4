"""One `hybrid-ml up` for all tests of this package in one test process."""

from collections.abc import Iterator

import pytest

from tests.up import Up, everything_up


@pytest.fixture(scope="package")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """`hybrid-ml up` as a user starts it; see TOGETHER."""
    # Rows older than their retention are deleted within seconds instead of an hour.
    with everything_up(tmp_path_factory.mktemp("up"), PREFECT_SERVER_SERVICES_DB_VACUUM_LOOP_SECONDS="5") as running:
        yield running
