"""Opening a feed by its name."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
from sqlalchemy import Engine

from hybrid_ml.config.settings import Settings
from hybrid_ml.errors import BadInput
from hybrid_ml.feeds.binance import EXCHANGES, BinanceFeed
from hybrid_ml.feeds.feed import Clock, Feed, Wait
from hybrid_ml.feeds.limited_client import TIMEOUT_SECONDS, LimitedClient
from hybrid_ml.feeds.shared_budget import SharedBudget
from hybrid_ml.feeds.sql_feed import SQL, open_sql_feed


@contextmanager
def open_feed(
    name: str, settings: Settings, engine: Engine, clock: Clock, wait: Wait, chance: Callable[[], float] = random.random
) -> Iterator[Feed]:
    """The feed of `name`: SQL, one of EXCHANGES, or an exchange of ccxt; its connections end with the block.

    Its budget is in the database of `engine`. Any number of threads may use one feed at once: connections are taken
    from pools, and each thread has its own object of ccxt. Raises BadInput where settings lack what the feed needs,
    ExchangeRefused where there is no such exchange.
    """
    if name == SQL:
        yield open_sql_feed(settings, engine)
        return
    if name not in EXCHANGES:
        try:
            from hybrid_ml.feeds.ccxt_feed import open_ccxt_feed
        except ModuleNotFoundError as error:
            raise BadInput(
                f"--exchange {name} needs {error.name}, which is not installed; run `pip install '.[exchanges]'`, or "
                f"use {', '.join(EXCHANGES)} or {SQL}"
            ) from None
        with open_ccxt_feed(name, settings, engine, clock, wait, chance) as feed:
            yield feed
        return
    exchange = EXCHANGES[name]
    limits = SharedBudget(engine, name, exchange.most_weight)
    with httpx.Client(base_url=settings.hybrid_ml_binance_url or exchange.url, timeout=TIMEOUT_SECONDS) as client:
        limited = LimitedClient(name, client, limits, clock, wait, chance)
        yield BinanceFeed(exchange, limited, settings.hybrid_ml_settling_seconds)
