"""Flows in this process, against a real Prefect server and a real PostgreSQL."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from sqlalchemy import Engine

from hybrid_ml.market.bars import clean_bars
from hybrid_ml.market.simulation import simulate_bars
from hybrid_ml.store.bars import store_bars
from tests.flows.running import AS_OF, train
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


@pytest.fixture
def trained(market: Engine) -> Engine:
    """An installation with a model that is half a day old."""
    train(as_of=AS_OF - timedelta(hours=12))
    return market


@pytest.fixture
def telegram(monkeypatch: pytest.MonkeyPatch) -> Iterator[BotApi]:
    """A Bot API on loopback, and one chat that wants everything."""
    with bot_api() as api:
        monkeypatch.setenv("TELEGRAM_BOT_TOKEN", TOKEN)
        monkeypatch.setenv("TELEGRAM_CHAT_ID", "42")
        monkeypatch.setenv("TELEGRAM_BASE_URL", api.base_url)
        yield api
