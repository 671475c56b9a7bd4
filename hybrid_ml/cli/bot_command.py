"""The command `hybrid-ml bot`. It needs no Prefect: it waits for people, not for a schedule."""

import asyncio
import logging
import signal
import sys
from datetime import UTC, datetime
from functools import partial

from deployments.service.channel import Listener
from hybrid_ml.alerts.delivery import Deliverer
from hybrid_ml.alerts.telegram import TelegramSender, make_bot
from hybrid_ml.bot.service import run_service
from hybrid_ml.cli.settings import BOT, settings_for
from hybrid_ml.config.settings import Settings
from hybrid_ml.store.engine import open_engine, open_for_writing


def bot() -> None:
    """`hybrid-ml bot`: until SIGTERM or Ctrl-C."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # until the service handles it itself
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("hybrid_ml").setLevel(logging.INFO)  # not every request of the libraries
    listener = Listener()
    settings = settings_for(BOT)
    asyncio.run(_serve(settings, listener))


async def _serve(settings: Settings, listener: Listener) -> None:
    """The service, and meanwhile signs of life to `hybrid-ml up`, if that started it."""
    async with listener.alive():
        await run_service(settings, open_for_writing(settings), partial(datetime.now, UTC), partial(_deliver, settings))


async def _deliver(settings: Settings) -> None:
    """Send, while it is fresh, what runs could not send."""
    line = TelegramSender(make_bot(settings.telegram_bot_token, settings.telegram_base_url))
    await Deliverer(open_engine(settings), line).serve()
