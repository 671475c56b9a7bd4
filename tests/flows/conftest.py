"""Flows in this process, against a real Prefect server and a real PostgreSQL."""

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import Engine

from flows.replay import replay
from hybrid_ml.config.settings import load_settings
from hybrid_ml.market.bars import clean_bars
from hybrid_ml.market.simulation import simulate_bars
from hybrid_ml.schemas.requests import ReplayRequest
from hybrid_ml.store.bars import store_bars
from hybrid_ml.store.engine import open_engine
from tests.databases import database, replace
from tests.flows.replays import FEWEST_ROWS, START, Finished, options_in
from tests.flows.running import AS_OF, page, run, train
from tests.telegram_api import BotApi
from tests.telegram_server import TOKEN, bot_api


@pytest.fixture(scope="session")
def bars() -> pd.DataFrame:
    """9,000 simulated bars until AS_OF and 300 beyond it."""
    return clean_bars(simulate_bars(datetime(2024, 2, 2, 15, 20, tzinfo=UTC), bars=9_300, missing_share=0.0)).bars


@pytest.fixture
def market(engine: Engine, prefect_api: str, bars: pd.DataFrame) -> Engine:
    """An installation with the bars of one symbol, ABC."""
    store_bars(engine, "ABC", bars)
    return engine


@pytest.fixture(scope="session")
def trained_once(
    server: str, migrated: str, prefect_api: str, bars: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path]]:
    """Address and models folder of an installation with bars and a model, used as a template."""
    models = tmp_path_factory.mktemp("trained") / "models"
    with database(server, template=migrated) as address:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("NEON_CONN_STR", address)
            patch.setenv("HYBRID_ML_MODELS_DIR", str(models))
            engine = open_engine(load_settings())
            store_bars(engine, "ABC", bars)
            train(as_of=AS_OF - timedelta(hours=12))
            engine.dispose()
        yield address, models


@pytest.fixture
def trained(server: str, home: Path, engine: Engine, prefect_api: str, trained_once: tuple[str, Path]) -> Engine:
    """An installation with the bars of one symbol, ABC, and a model that is half a day old."""
    address, models = trained_once
    engine.dispose()
    replace(server, os.environ["NEON_CONN_STR"], address)
    shutil.copytree(models, home / "models", dirs_exist_ok=True)
    return engine


@pytest.fixture
def telegram(monkeypatch: pytest.MonkeyPatch) -> Iterator[BotApi]:
    """A Bot API on loopback, and one chat that gets all alerts."""
    with bot_api() as api:
        monkeypatch.setenv("TELEGRAM_BOT_TOKEN", TOKEN)
        monkeypatch.setenv("TELEGRAM_CHAT_ID", "42")
        monkeypatch.setenv("TELEGRAM_BASE_URL", api.base_url)
        yield api


@pytest.fixture(scope="session")
def replayed_bars() -> pd.DataFrame:
    """5,500 simulated bars without forty minutes, a session break, in the second day of the replay."""
    whole = clean_bars(simulate_bars(datetime(2024, 2, 4, 4, 40, tzinfo=UTC), bars=5_500)).bars
    minutes = (whole["time"] - whole["time"].iloc[START]) // pd.Timedelta(minutes=1)
    return whole[~minutes.between(1_805, 1_844)].reset_index(drop=True)


@pytest.fixture(scope="session")
def finished(
    server: str, migrated: str, prefect_api: str, replayed_bars: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory
) -> Finished:
    """One replay for all tests that begin with a finished one; `kept` is a copy of its folder."""
    options = options_in(tmp_path_factory.mktemp("finished"), replayed_bars)
    with database(server, template=migrated) as address, pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEON_CONN_STR", address)
        patch.setattr("hybrid_ml.replay.baselines.FEWEST_ROWS_FOR_LIMITS", FEWEST_ROWS)
        state, report = run(replay, ReplayRequest(**options))
    assert state.is_completed(), state.message
    return Finished(options, report, page("replay"), pd.read_parquet(options["predictions_path"]))


@pytest.fixture
def replay_options(
    replayed_bars: pd.DataFrame, tmp_path: Path, engine: Engine, prefect_api: str, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """The request of `finished`, for another folder, in which nothing is kept."""
    monkeypatch.setattr("hybrid_ml.replay.baselines.FEWEST_ROWS_FOR_LIMITS", FEWEST_ROWS)
    return options_in(tmp_path, replayed_bars)


@pytest.fixture
def kept(replay_options: dict[str, Any], finished: Finished) -> dict[str, Any]:
    """The request of `finished`, for a copy of its folder."""
    shutil.copytree(finished.options["work_path"], replay_options["work_path"])
    return replay_options
