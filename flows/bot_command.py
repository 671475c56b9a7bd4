"""What `hybrid-ml bot` does. It needs no Prefect: it waits for people, not for a schedule."""

import asyncio
import logging
import signal
import sys
from datetime import UTC, datetime
from functools import partial

from hybrid_ml.bot.service import run_service
from hybrid_ml.settings import load_settings
from hybrid_ml.store.engine import open_engine


def bot() -> None:
    """`hybrid-ml bot`: until SIGTERM or Ctrl-C."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # until the service listens for it itself
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO, stream=sys.stderr)
    settings = load_settings()
    asyncio.run(run_service(settings, open_engine(settings), partial(datetime.now, UTC)))
