"""From the outbox to Telegram: chats side by side, each in its order and at its pace.

Every step is a transaction of its own: claim, send, say what became of it. A sender may die between any
two of them; what then happens is said in `store/outbox.py`.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable
from functools import cache, partial
from typing import TypeVar
from uuid import uuid4

from aiolimiter import AsyncLimiter
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError

from hybrid_ml.alerts.background import run_in_daemon_thread
from hybrid_ml.alerts.html import repeat_mark
from hybrid_ml.alerts.telegram import (
    CONNECTIONS,
    LONGEST_SECONDS,
    BackgroundSender,
    Outcome,
    Refused,
    Sent,
    TelegramSender,
    TryLater,
    open_post,
)
from hybrid_ml.config.settings import Settings
from hybrid_ml.errors import StoreUnreachable
from hybrid_ml.store import outbox
from hybrid_ml.store.engine import limit_time
from hybrid_ml.store.outbox import Claimed

LEASE_SECONDS = LONGEST_SECONDS + 20
SHUTDOWN_GRACE_SECONDS = 2.0
"""How long messages under way may take when the service stops."""
LOOK_AGAIN_SECONDS = 1.0
"""How often a sender reads what other processes wrote into the outbox."""
CHAT_BACKOFF_SECONDS = 1.0
"""A chat that could not be reached is left alone this long, however many alerts wait for it."""
# Telegram takes about 30 messages a second in all, one a second and chat with short bursts, 20 a minute
# and group (core.telegram.org/bots/faq, "My bot is hitting limits"). A leaky bucket lets its size and
# what leaks out pass within one period, so both together stay below the limit, with room for messages
# that were let go in time and come late. Several senders may be faster together; what Telegram then asks
# for (429) is kept to by all of them.
IN_ALL, IN_CHAT, IN_GROUP = (8, 0.4), (2, 2.0), (4, 16.0)
INSIST_SECONDS = (0.5, 2.0, 5.0)
Result = TypeVar("Result")
logger = logging.getLogger(__name__)


class Deliverer:
    """Sends what is due, for as long as it is let. For one event loop."""

    def __init__(self, engine: Engine, line: TelegramSender, lease_seconds: float = LEASE_SECONDS) -> None:
        self._engine, self._line, self._lease_seconds = engine, line, lease_seconds
        self._in_all, self._connections = AsyncLimiter(*IN_ALL), asyncio.Semaphore(CONNECTIONS)
        self._of_chat: dict[str, list[AsyncLimiter]] = {}
        self._workers: dict[str, asyncio.Task[None]] = {}
        self._stopping = False

    async def serve(self) -> None:
        """Send whatever comes to be due, until cancelled."""
        while True:
            await self.deliver(math.inf)
            await asyncio.sleep(LOOK_AGAIN_SECONDS)

    async def deliver(self, patience_seconds: float) -> None:
        """Send until nothing is left that patience will see through; then no message is under way.

        Raises what the database raises; alerts it could not write about are taken up by rule (`store/outbox.py`).
        """
        end, self._stopping, farewell = time.monotonic() + patience_seconds, False, None
        try:
            while (left := end - time.monotonic()) > 0 and (wait := await self._look(left)) is not None:
                await self._rest(min(wait, left))
        except asyncio.CancelledError:
            farewell = SHUTDOWN_GRACE_SECONDS
            raise
        finally:
            await self._shutdown(farewell)

    async def _shutdown(self, seconds: float | None) -> None:
        """Let messages under way arrive, and be written down; what takes longer is settled by rule."""
        self._stopping = True
        workers, self._workers = list(self._workers.values()), {}
        if workers:
            _, late = await asyncio.wait(workers, timeout=seconds)
            for worker in late:
                worker.cancel()

    async def _look(self, left: float) -> float | None:
        """Settle what time has settled, set a worker to every chat with something due; seconds to the next look.

        None: there is nothing to wait for in the seconds that are `left`.
        """
        settled = await self._in_transaction(outbox.expire_due)
        if settled:
            logger.info("deliveries settled by time: %s", dict(settled))
        waits = await self._in_transaction(outbox.open_chats)
        self._workers = {chat: worker for chat, worker in self._workers.items() if not worker.done()}
        for chat, seconds in waits.items():
            if seconds <= 0 and chat not in self._workers:
                self._workers[chat] = asyncio.create_task(self._serve(chat))
        if not self._workers and min(waits.values(), default=math.inf) > left:
            return None
        return min([LOOK_AGAIN_SECONDS, *(max(0.01, waits[chat]) for chat in waits if chat not in self._workers)])

    async def _rest(self, seconds: float) -> None:
        if self._workers:
            await asyncio.wait(self._workers.values(), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(seconds)

    async def _serve(self, chat_id: str) -> None:
        """Send to one chat until nothing is due there. Whatever goes wrong is this chat's, and tried again."""
        try:
            while not self._stopping and await self._send_one(chat_id):
                pass
        except Exception as error:  # one chat's trouble holds up no other; a lease takes care of what is open
            logger.error("chat %s: sending broke off (%s)", chat_id, type(error).__name__)
            await asyncio.sleep(LOOK_AGAIN_SECONDS)

    async def _send_one(self, chat_id: str) -> bool:
        """Claim what is due, send it when it is the chat's turn, write down what became of it; False: nothing is."""
        claim = partial(outbox.claim, chat_id=chat_id, token=uuid4(), lease_seconds=self._lease_seconds)
        held = await self._in_transaction(claim)
        if held is None:
            return False
        for limiter in (*self._limiters(chat_id), self._in_all):
            await limiter.acquire()
        async with self._connections:
            text = repeat_mark(held.text) if held.unsure else held.text
            outcome = await self._line.send(chat_id, text, held.picture, held.reply_to)
        if not await self._with_retry(partial(_write_down, held=held, outcome=outcome)):
            logger.warning("chat %s: delivery %d was taken over by another sender", chat_id, held.id)
        return True

    def _limiters(self, chat_id: str) -> list[AsyncLimiter]:
        if chat_id not in self._of_chat:
            group = chat_id.startswith(("-", "@"))
            self._of_chat[chat_id] = [AsyncLimiter(*IN_CHAT), *([AsyncLimiter(*IN_GROUP)] if group else [])]
        return self._of_chat[chat_id]

    async def _with_retry(self, work: Callable[[Connection], Result]) -> Result:
        """Do `work` even if the database is away for a moment: it knows what nobody else knows."""
        for wait_seconds in INSIST_SECONDS:
            try:
                return await self._in_transaction(work)
            except (OperationalError, StoreUnreachable, TimeoutError) as error:
                logger.warning("the database does not take what became of an alert (%s); again", type(error).__name__)
                await asyncio.sleep(wait_seconds)
        return await self._in_transaction(work)

    async def _in_transaction(self, work: Callable[[Connection], Result]) -> Result:
        """Do `work` on a thread, so that a slow database holds up no message under way, and a silent one no end."""

        def do() -> Result:
            with self._engine.begin() as connection:
                limit_time(connection)
                return work(connection)

        return await run_in_daemon_thread(do)


def deliver_now(engine: Engine, settings: Settings, patience_seconds: float) -> None:
    """`Deliverer.deliver` on this process's line to Telegram."""
    post = open_post(settings)
    post.do(_deliverer(engine, post).deliver(patience_seconds))


@cache
def _deliverer(engine: Engine, post: BackgroundSender) -> Deliverer:
    return Deliverer(engine, post.line)


def _write_down(connection: Connection, held: Claimed, outcome: Outcome) -> bool:
    """What became of a delivery; False when another sender holds it by now."""
    if isinstance(outcome, Sent):
        logger.info("chat %s: delivery %d sent", held.chat_id, held.id)
        return outbox.settle(connection, held, "sent", message_id=outcome.message_id)
    logger.warning("chat %s: delivery %d: %s", held.chat_id, held.id, outcome.why)
    if isinstance(outcome, Refused):
        return outbox.settle(connection, held, "refused", outcome.why)
    if isinstance(outcome, TryLater):
        outbox.set_chat_backoff(connection, held.chat_id, outcome.seconds or CHAT_BACKOFF_SECONDS)
        return outbox.postpone(connection, held, outcome.seconds, outcome.why)
    return outbox.mark_unconfirmed(connection, held, outcome.why)
