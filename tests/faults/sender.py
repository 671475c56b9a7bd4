"""An alert sender in a separate process, which tests kill."""

import asyncio
import os
from typing import Any

from hybrid_ml.alerts import delivery
from hybrid_ml.alerts.delivery import Deliverer
from hybrid_ml.alerts.telegram import TelegramSender, make_bot
from hybrid_ml.config.settings import load_settings
from hybrid_ml.store.engine import open_engine
from tests.faults.victim import FORK

TIMEOUT_SECONDS, LEASE_SECONDS = 1.5, 7.5
"""Shorter than in production, in the same proportion: a lease lasts longer than the timeout of a message."""


def run(environment: dict[str, str], patience_seconds: float) -> None:
    """In the child: send all due alerts until none is left."""
    os.environ.update(environment)
    delivery.IN_ALL, delivery.IN_CHAT = (50, 0.5), (20, 1.0)  # the rate limit is not tested here
    asyncio.run(_send(patience_seconds))
    os._exit(0)


async def _send(patience_seconds: float) -> None:
    settings = load_settings()
    sender = TelegramSender(
        make_bot(settings.telegram_bot_token, settings.telegram_base_url, TIMEOUT_SECONDS), TIMEOUT_SECONDS
    )
    await Deliverer(open_engine(settings), sender, LEASE_SECONDS).deliver(patience_seconds)


def start(environment: dict[str, str], patience_seconds: float = 120.0) -> Any:
    """Start a sender; it ends with 0 when nothing is left to send."""
    process = FORK.Process(target=run, args=(environment, patience_seconds))
    process.start()
    return process
