"""Configuration in the Prefect UI, on a real server: what the next run does with blocks and the Variable."""

import json
import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cloudpickle
import httpx
import pandas as pd
import psycopg2
import pytest
from prefect import flow
from prefect.blocks.system import Secret
from prefect.client.orchestration import get_client
from prefect.context import serialize_context
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.variables import Variable
from prefect_sqlalchemy import ConnectionComponents, SqlAlchemyConnector
from pydantic import SecretStr
from sqlalchemy import Engine
from sqlalchemy.engine import make_url

from deployments.provision.blocks import set_up_blocks
from flows.analysis import analysis
from flows.replay import replay
from hybrid_ml.config.overrides import set_overrides
from hybrid_ml.config.prefect_blocks import DATABASE_BLOCK, THRESHOLDS_VARIABLE
from hybrid_ml.config.settings import load_settings
from hybrid_ml.diagnostics.settings_table import list_settings
from hybrid_ml.errors import BadInput, ConfigurationUnreachable
from hybrid_ml.schemas.reports import AnalysisReport
from hybrid_ml.schemas.requests import AnalysisRequest, ReplayRequest
from hybrid_ml.store.embedded import start_embedded
from tasks import configuration
from tasks.configuration import load_configuration_for_command
from tasks.pipeline_task import pipeline_task
from tests.conftest import WORK
from tests.flows.elsewhere import as_a_worker, bound_here
from tests.flows.running import AS_OF, rows, run
from tests.prefect_server import OWN_DATABASE
from tests.telegram_api import BotApi

PASSWORD = "p4ssw0rd-of-the-block"


@pytest.fixture(autouse=True)
def blocks(own_prefect_api: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A server without blocks, before and after."""
    monkeypatch.setattr(configuration, "SECONDS_FOR_A_COMMAND", 60.0)
    _forget(own_prefect_api)
    yield
    _forget(own_prefect_api)
    set_overrides({})
    monkeypatch.setattr(configuration._Loaded, "flow_run_id", None)


def _forget(url: str) -> None:
    wanted = {"block_documents": {"name": {"any_": list(configuration.BLOCK_TYPES)}}}
    Variable.unset(THRESHOLDS_VARIABLE)
    with httpx.Client(base_url=url, timeout=60) as client:
        for block in client.post("block_documents/filter", json=wanted).json():
            client.delete(f"block_documents/{block['id']}")


def database_block(address: str) -> None:
    """The test's database as components, with a password that its PostgreSQL does not ask for."""
    url = make_url(address)
    SqlAlchemyConnector(
        connection_info=ConnectionComponents(
            driver="postgresql+psycopg2",
            username=url.username,
            password=SecretStr(PASSWORD),
            host=str(url.query["host"]),
            database=url.database,
        )
    ).save(DATABASE_BLOCK, overwrite=True)


def thresholds(value: Any) -> None:
    Variable.set(THRESHOLDS_VARIABLE, value, overwrite=True)


@pytest.fixture
def emptied(trained: Engine, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Take NEON_CONN_STR out of the environment, after the installation was made by it."""
    return lambda: monkeypatch.setenv("NEON_CONN_STR", "")


def run_analysis(**changes: Any) -> tuple[Any, Any]:
    return run(analysis, AnalysisRequest(**{"as_of": AS_OF, "fast_mode": True, **changes}))


def confidence_bound(report: AnalysisReport) -> tuple[float, ...]:
    return tuple(gate.bound for gate in report.analyses[0].gates if gate.gate == "confidence")


def test_a_run_uses_the_blocks_where_the_environment_is_empty(
    emptied: Callable[[], None], trained: Engine, telegram: BotApi, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    token = load_settings().telegram_bot_token.get_secret_value()
    emptied()
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", "")
    monkeypatch.setenv("TELEGRAM_CHAT_ID", "")
    database_block(trained.url.render_as_string(hide_password=False))
    Secret(value=SecretStr(token)).save("telegram-bot-token")
    Secret(value=SecretStr("4242")).save("telegram-chat-id")
    thresholds({"min_confidence": 0.0, "min_prob_margin": 0.0, "max_entropy": 1.1})
    with caplog.at_level(logging.DEBUG):
        _, report = run_analysis(as_of=AS_OF + timedelta(minutes=10))
        _, again = run_analysis()
    assert not report.failures
    assert not again.failures
    assert rows(trained, "SELECT count(*) FROM predictions") == [(2,)]
    sure = [item for item in (*report.analyses, *again.analyses) if item.direction != "FLAT"]
    assert sure
    assert rows(trained, "SELECT count(*) FROM deliveries WHERE chat_id = '4242'") == [(len(sure),)]
    facts = {row.name: row.origin for row in list_settings(load_settings())}
    assert facts["NEON_CONN_STR"] == "block hybrid-ml-database"
    assert facts["TELEGRAM_CHAT_ID"] == "block telegram-chat-id"
    assert facts["HYBRID_ML_MAX_ENTROPY"] == "variable hybrid_ml_thresholds"
    assert "min_confidence 0 (variable hybrid_ml_thresholds)" in caplog.text
    assert "max_signals 5 (preset balanced)" in caplog.text
    assert "log" in _places("variable hybrid_ml_thresholds")
    for secret in (token, PASSWORD):
        assert secret not in caplog.text
        assert _places(secret) == set()


def prefect_database() -> psycopg2.extensions.connection:
    """The database of the tests' Prefect server."""
    return psycopg2.connect(start_embedded(WORK, OWN_DATABASE))


def _places(secret: str) -> set[str]:
    """Tables of the server's database in which `secret` stands in the clear."""
    APILogWorker.instance().drain()
    found = set()
    with closing(prefect_database()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        tables = [name for (name,) in cursor.fetchall()]
        assert "flow_run" in tables
        for table in tables:
            cursor.execute(f'SELECT 1 FROM "{table}" AS t WHERE strpos(t::text, %s) > 0 LIMIT 1', (secret,))
            if cursor.fetchone():
                found.add(table)
    return found


def test_a_change_of_the_variable_counts_from_the_next_run_on_and_the_environment_wins(
    trained: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    database_block("postgresql://postgres@/nowhere?host=/nowhere")
    thresholds({"min_confidence": 0.71})
    assert confidence_bound(run_analysis()[1]) == (0.71,)
    thresholds({"min_confidence": 0.83})
    assert confidence_bound(run_analysis()[1]) == (0.83,)
    assert confidence_bound(run_analysis(min_confidence=0.2)[1]) == (0.2,)
    monkeypatch.setenv("HYBRID_ML_MIN_CONFIDENCE", "0.64")
    assert confidence_bound(run_analysis()[1]) == (0.64,)
    monkeypatch.delenv("HYBRID_ML_MIN_CONFIDENCE")
    Variable.unset(THRESHOLDS_VARIABLE)
    assert confidence_bound(run_analysis()[1]) == (0.6,)


def test_a_bad_variable_or_a_block_of_another_type_fails_the_run_in_one_line(engine: Engine) -> None:
    thresholds({"max_entropy": "0.5"})
    state, error = run_analysis()
    assert state.is_failed()
    assert isinstance(error, BadInput)
    assert str(error).startswith('variable hybrid_ml_thresholds: max_entropy is "0.5": input should be a valid number;')
    Variable.unset(THRESHOLDS_VARIABLE)
    Secret(value=SecretStr(PASSWORD)).save(DATABASE_BLOCK)
    _, error = run_analysis()
    assert (
        str(error) == "block hybrid-ml-database is of type secret; make one of type SQLAlchemy Connector by that name"
    )


def test_a_block_that_cannot_be_decrypted_is_tried_again_and_never_taken_for_none(
    own_prefect_api: str, engine: Engine
) -> None:
    database_block("postgresql://postgres@/nowhere?host=/nowhere")
    with closing(prefect_database()) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        name = (DATABASE_BLOCK,)
        cursor.execute("SELECT data::text FROM block_document WHERE name = %s", name)
        ((sound,),) = cursor.fetchall()
        torn = json.dumps({"__prefect_encrypted_blob__": "torn"})
        cursor.execute("UPDATE block_document SET data = %s WHERE name = %s", (torn, *name))
        try:
            with pytest.raises(ConfigurationUnreachable, match=r"status 500.*encryption key"):
                load_configuration_for_command()
        finally:
            cursor.execute("UPDATE block_document SET data = %s WHERE name = %s", (sound, *name))


def test_one_flow_run_asks_once_and_its_stages_in_threads_wait_for_the_answer(
    own_prefect_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[float] = []
    read = configuration._read
    monkeypatch.setattr(configuration, "_read", lambda seconds: reads.append(seconds) or read(seconds))
    thresholds({"min_confidence": 0.71})

    @pipeline_task("bound {number}", timeout_seconds=30, uses_io=True)
    def bound(number: int) -> float | None:
        return load_settings().hybrid_ml_min_confidence

    @flow
    def asking() -> list[float | None]:
        return [item.result() for item in [bound.submit(number) for number in range(4)]]  # type: ignore[attr-defined]

    assert asking() == [0.71] * 4
    assert reads == [configuration.SECONDS_IN_A_RUN]
    asking()
    assert len(reads) == 2


@flow
def asking_elsewhere() -> tuple[int, float | None]:
    with ProcessPoolExecutor(1, get_context("spawn")) as elsewhere:
        return elsewhere.submit(as_a_worker, cloudpickle.dumps((serialize_context(), bound_here))).result()


def test_a_stage_in_another_process_has_the_configuration_of_its_run(
    own_prefect_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", own_prefect_api)
    thresholds({"min_confidence": 0.71})
    process, confidence = asking_elsewhere()
    assert process != os.getpid()
    assert confidence == 0.71


def test_a_replay_holds_to_the_variable_and_judges_again_when_it_has_changed(
    market: Engine, bars: pd.DataFrame, tmp_path: Path
) -> None:
    request = ReplayRequest(
        symbols=["ABC"],
        start=bars["time"].iloc[-2_500].to_pydatetime(),
        weeks=1,
        cycle_minutes=480,
        disable_sleep_window=True,
        fast_mode=True,
        work_path=tmp_path / "work",
        predictions_path=tmp_path / "answers.parquet",
    )
    thresholds({"min_confidence": 0.999})
    state, report = run(replay, request)
    assert state.is_completed(), report
    answers = pd.read_parquet(tmp_path / "answers.parquet")
    assert len(answers) > 3
    assert answers["refused_by"].str.contains("confidence").all()
    thresholds({"min_confidence": 0.0, "max_entropy": 1.1, "min_prob_margin": 0.0})
    run(replay, request)
    judged_again = pd.read_parquet(tmp_path / "answers.parquet")
    assert not judged_again["refused_by"].str.contains("confidence").any()
    assert judged_again["p_up"].equals(answers["p_up"])


def test_setting_up_makes_what_is_missing_and_overwrites_nothing(own_prefect_api: str) -> None:
    with get_client(sync_client=True) as client:
        assert set_up_blocks(client) == [
            "Secret block telegram-bot-token, empty",
            "Secret block telegram-chat-id, empty",
            "Secret block hybrid-ml-sql-feed-url, empty",
            "variable hybrid_ml_thresholds, {}",
        ]
        assert set_up_blocks(client) == []
        load_configuration_for_command()
        assert load_settings().missing_telegram_settings == "TELEGRAM_BOT_TOKEN and TELEGRAM_CHAT_ID not set"
        block = client.read_block_document_by_name("telegram-chat-id", "secret", include_secrets=False)
        edited = {"data": {"value": "4242"}, "block_schema_id": str(block.block_schema_id)}  # as the UI's form sends it
        httpx.patch(f"{own_prefect_api}/block_documents/{block.id}", json=edited, timeout=60).raise_for_status()
        thresholds({"max_signals": 2})
        assert set_up_blocks(client) == []
        assert client.read_block_type_by_slug("sqlalchemy-connector").name == "SQLAlchemy Connector"
    load_configuration_for_command()
    assert load_settings().chat_ids == ["4242"]
    assert load_settings().hybrid_ml_max_signals == 2


def test_a_server_that_is_away_is_an_error_with_a_remedy() -> None:
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}),
        pytest.raises(ConfigurationUnreachable, match=r"127\.0\.0\.1:1/api.*start it.*HYBRID_ML_BLOCKS=false"),
    ):
        load_configuration_for_command()
