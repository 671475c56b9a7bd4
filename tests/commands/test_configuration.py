"""Commands outside of runs use the blocks as runs do, and fail with a message when the server does not answer."""

import os
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest
from prefect.variables import Variable
from prefect_sqlalchemy import SqlAlchemyConnector
from sqlalchemy import Engine

from hybrid_ml.config.overrides import set_overrides
from hybrid_ml.config.prefect_blocks import DATABASE_BLOCK, THRESHOLDS_VARIABLE
from hybrid_ml.market.bars import clean_bars
from hybrid_ml.market.simulation import simulate_bars
from hybrid_ml.store.bars import store_bars
from tasks import configuration
from tests.conftest import Command
from tests.flows.running import AS_OF

SECRET = "s3cr3t-of-the-block"


@pytest.fixture
def command(command: Command, own_prefect_api: str) -> Command:
    """Commands that read blocks from a server that only this process uses."""
    return partial(command, HYBRID_ML_BLOCKS="true")


@pytest.fixture
def block(own_prefect_api: str, engine: Engine) -> Iterator[None]:
    """A server whose block names the test's database, with a password that PostgreSQL does not check."""
    address = os.environ["NEON_CONN_STR"]
    store_bars(engine, "ABC", clean_bars(simulate_bars(AS_OF, bars=100)).bars)
    SqlAlchemyConnector(connection_info=address.replace("hybrid_ml@", f"hybrid_ml:{SECRET}@")).save(
        DATABASE_BLOCK, overwrite=True
    )
    Variable.set(THRESHOLDS_VARIABLE, {"min_confidence": 0.71}, overwrite=True)
    yield
    Variable.unset(THRESHOLDS_VARIABLE)
    with httpx.Client(base_url=own_prefect_api, timeout=60) as client:
        block_document = client.get(
            f"block_types/slug/sqlalchemy-connector/block_documents/name/{DATABASE_BLOCK}"
        ).json()
        client.delete(f"block_documents/{block_document['id']}").raise_for_status()


@pytest.fixture
def command_here(command_here: Command, own_prefect_api: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    """The same in this process, which waits longer for the server than the five seconds of a command."""
    monkeypatch.setattr(configuration, "SECONDS_FOR_A_COMMAND", 60.0)
    yield partial(command_here, HYBRID_ML_BLOCKS="true")
    set_overrides({})


def test_commands_use_the_block_and_check_names_sources_of_settings(
    command: Command, command_here: Command, block: None
) -> None:
    checked = command("check", NEON_CONN_STR="", HYBRID_ML_MAX_ENTROPY="0.9")
    message = " ".join(checked.stdout.split())
    assert "(block hybrid-ml-database)" in message, message + checked.stderr
    assert "HYBRID_ML_MIN_CONFIDENCE 0.71 (variable hybrid_ml_thresholds)" in message
    assert "HYBRID_ML_MAX_ENTROPY 0.9 (environment)" in message
    scaling = command_here("scaling", "--json", NEON_CONN_STR="")
    assert '"ABC"' in scaling.stdout, scaling.stderr
    assert command_here("migrate").returncode == 0
    assert command_here("models", "list").returncode == 0
    for done in (scaling, checked):
        assert SECRET not in done.stdout + done.stderr


def test_status_reports_database_as_not_checked_when_a_setting_is_invalid(command_here: Command, block: None) -> None:
    Variable.set(THRESHOLDS_VARIABLE, {"min_confidence": "much"}, overwrite=True)
    done = command_here("status")
    assert done.returncode == 1
    assert "database  not checked" in done.stdout, done.stdout + done.stderr
    assert f"variable {THRESHOLDS_VARIABLE}" in done.stdout


def test_blocks_can_be_switched_off(command_here: Command, block: None) -> None:
    """The default is then the embedded database of the tests, which has no bars."""
    done = command_here("scaling", NEON_CONN_STR="", HYBRID_ML_BLOCKS="false")
    assert done.returncode == 1
    assert "holds no bars" in done.stderr


def test_silent_server_is_an_error_and_no_other_database_is_used(command: Command, tmp_path: Path) -> None:
    """One that does not listen is refused in the same way: tests/flows/test_configuration.py."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/api"
        done = command(
            "models", "list", NEON_CONN_STR="", HYBRID_ML_DATA_DIR=str(tmp_path / "data"), PREFECT_API_URL=url
        )
    assert done.returncode == 1
    assert f"cannot read blocks and variable hybrid_ml_thresholds of the Prefect server at {url}" in done.stderr
    assert "HYBRID_ML_BLOCKS=false" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists()


def test_complete_environment_needs_neither_server_nor_prefect(command: Command) -> None:
    program = (
        "import sys\nfrom hybrid_ml.cli.settings import DATABASE, settings_for\n"
        "print(settings_for(DATABASE).origin('neon_conn_str'), 'prefect' in sys.modules)"
    )
    done = command("-c", program, PREFECT_API_URL="http://127.0.0.1:1/api")
    assert done.stdout.split() == ["environment", "False"], done.stderr
