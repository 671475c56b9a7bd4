"""Commands that are no runs heed blocks as runs do, and say so when the server does not answer."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prefect.variables import Variable
from prefect_sqlalchemy import SqlAlchemyConnector
from sqlalchemy import Engine

from hybrid_ml.config.prefect_blocks import DATABASE_BLOCK, THRESHOLDS_VARIABLE
from hybrid_ml.market.bars import clean_bars
from hybrid_ml.market.simulation import simulate_bars
from hybrid_ml.store.bars import store_bars
from tests.conftest import Command
from tests.flows.running import AS_OF

SECRET = "s3cr3t-of-the-block"
IN_TIME_SECONDS = 45
"""Importing Prefect on a crowded machine and five seconds of patience; nowhere near a minute of retries."""


@pytest.fixture
def block(prefect_api: str, engine: Engine) -> Iterator[None]:
    """A server whose block names the test's database, with a password nobody asks for."""
    address = os.environ["NEON_CONN_STR"]
    store_bars(engine, "ABC", clean_bars(simulate_bars(AS_OF, bars=100)).bars)
    SqlAlchemyConnector(connection_info=address.replace("hybrid_ml@", f"hybrid_ml:{SECRET}@")).save(
        DATABASE_BLOCK, overwrite=True
    )
    Variable.set(THRESHOLDS_VARIABLE, {"min_confidence": 0.71}, overwrite=True)
    yield
    Variable.unset(THRESHOLDS_VARIABLE)
    with httpx.Client(base_url=prefect_api, timeout=60) as client:
        kept = client.get(f"block_types/slug/sqlalchemy-connector/block_documents/name/{DATABASE_BLOCK}").json()
        client.delete(f"block_documents/{kept['id']}").raise_for_status()


def test_commands_use_the_block_and_check_says_where_settings_are_from(command: Command, block: None) -> None:
    scaling = command("scaling", "--json", NEON_CONN_STR="")
    assert '"ABC"' in scaling.stdout, scaling.stderr
    assert command("migrate", NEON_CONN_STR="").returncode == 0
    assert command("models", "list", NEON_CONN_STR="").returncode == 0
    checked = command("check", NEON_CONN_STR="", HYBRID_ML_MAX_ENTROPY="0.9")
    message = " ".join(checked.stdout.split())
    assert "(block hybrid-ml-database)" in message, message + checked.stderr
    assert "HYBRID_ML_MIN_CONFIDENCE 0.71 (variable hybrid_ml_thresholds)" in message
    assert "HYBRID_ML_MAX_ENTROPY 0.9 (environment)" in message
    for done in (scaling, checked):
        assert SECRET not in done.stdout + done.stderr


def test_status_does_not_say_that_it_asked_a_database_which_a_setting_kept_it_from(
    command: Command, block: None
) -> None:
    Variable.set(THRESHOLDS_VARIABLE, {"min_confidence": "much"}, overwrite=True)
    done = command("status")
    assert done.returncode == 1
    assert "database  not asked" in done.stdout, done.stdout + done.stderr
    assert f"variable {THRESHOLDS_VARIABLE}" in done.stdout


def test_blocks_can_be_left_out(command: Command, block: None, tmp_path: Path) -> None:
    done = command("scaling", NEON_CONN_STR="", HYBRID_ML_BLOCKS="false", HYBRID_ML_DATA_DIR=str(tmp_path))
    assert done.returncode == 1
    assert "holds no bars" in done.stderr


def test_a_server_that_is_away_or_silent_is_an_error_soon_and_never_another_database(
    command: Command, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for url in ("http://127.0.0.1:1/api", f"http://127.0.0.1:{silent.getsockname()[1]}/api"):
            begun = time.monotonic()
            done = command(
                "models", "list", NEON_CONN_STR="", HYBRID_ML_DATA_DIR=str(tmp_path / "data"), PREFECT_API_URL=url
            )
            assert time.monotonic() - begun < IN_TIME_SECONDS
            assert done.returncode == 1
            assert f"cannot read blocks and variable hybrid_ml_thresholds of the Prefect server at {url}" in done.stderr
            assert "HYBRID_ML_BLOCKS=false" in done.stderr
            assert "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists()


def test_where_the_environment_says_it_all_no_server_is_asked_and_prefect_not_loaded(command: Command) -> None:
    program = (
        "import sys\nfrom hybrid_ml.cli.settings import DATABASE, settings_for\n"
        "print(settings_for(DATABASE).origin('neon_conn_str'), 'prefect' in sys.modules)"
    )
    done = command("-c", program, PREFECT_API_URL="http://127.0.0.1:1/api")
    assert done.stdout.split() == ["environment", "False"], done.stderr
