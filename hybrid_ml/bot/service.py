"""The service behind the chat: hears commands, carries them out once, answers at most once.

An update is taken in hand by a row in `bot_updates`, committed together with what the command changes, and only
then answered. So a crash may cost an answer, and gives none twice, and no /pause counts twice. Telegram sends
updates again until a later poll confirms them, and may begin their numbering anew after a silent week; that
is why the table decides what is new and not the highest number seen.

While the database does not answer, nothing can be taken in hand. Then the update is confirmed to Telegram first,
and the chat told afterwards: at most once again, and it knows that it has to ask again.

What lay waiting while the service was down: /pause and /resume are carried out, counted from when they were
sent; questions older than LATE_MINUTES get no answer, since nobody waits for it any more.
"""

import asyncio
import logging
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from hybrid_ml.alerts.background import run_in_daemon_thread
from hybrid_ml.alerts.telegram import asked_wait_seconds
from hybrid_ml.bot import replies
from hybrid_ml.bot.client import LONGEST_WAIT_SECONDS, BotClient
from hybrid_ml.bot.handler import Clock, CommandHandler, allowed_chat_ids
from hybrid_ml.bot.parsing import UnauthorizedChat, parse_command
from hybrid_ml.bot.rights import CHANGES, Rights
from hybrid_ml.config.settings import Settings
from hybrid_ml.errors import BadInput, HybridMLError, ServiceBusy, StoreUnavailable, StoreUnreachable
from hybrid_ml.pipeline.backoff import backoff_seconds
from hybrid_ml.schemas.bot_status import BotCommand, ClaimedCommand
from hybrid_ml.store.bot_queries import ServiceLock
from hybrid_ml.text.counts import counted

LATE_MINUTES = 15
LOCK_WAIT_SECONDS, LOCK_LOOK_SECONDS = 10.0, 15.0
STRANGER_SECONDS = 60.0
SHUTDOWN_GRACE_SECONDS = 1.0
"""How long replies under way may take when the service stops."""
DATABASE_TROUBLE = (SQLAlchemyError, TimeoutError)
BackgroundTask = Callable[[], Coroutine[Any, Any, None]]
logger = logging.getLogger(__name__)


async def run_service(
    settings: Settings, engine: Engine, clock: Clock, background_task: BackgroundTask | None = None
) -> None:
    """Serve until SIGTERM, which ends it at once. `background_task` runs as long; it is started again when it fails.

    Raises BadInput where the bot is not configured, AlertRefused when Telegram does not know it, and
    ServiceBusy when another service answers for this database.
    """
    _check_configured(settings)
    stop_requested = False
    task = asyncio.current_task()

    def end() -> None:
        nonlocal stop_requested
        stop_requested = True
        if task is not None:
            task.cancel()

    with suppress(NotImplementedError):  # Windows
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end)
    try:
        await BotService(settings, engine, clock).serve(background_task)
    except asyncio.CancelledError:
        if not stop_requested:
            raise  # Ctrl-C
        logger.info("ended")


def _check_configured(settings: Settings) -> None:
    missing = [] if settings.telegram_bot_token.get_secret_value().strip() else ["TELEGRAM_BOT_TOKEN"]
    missing += [] if allowed_chat_ids(settings) else ["TELEGRAM_CHAT_ID"]
    if missing:
        raise BadInput(
            f"{' and '.join(missing)} not set: the bot needs the token @BotFather gave you as TELEGRAM_BOT_TOKEN "
            "and the chats it may answer as TELEGRAM_CHAT_ID or TELEGRAM_CHATS (in the environment, in .env, or as "
            "Secret blocks in the Prefect UI)"
        )


class BotService:
    """Its tasks: listening, answering, holding the lock, and whatever runs beside."""

    def __init__(self, settings: Settings, engine: Engine, clock: Clock) -> None:
        self._engine, self._desk = engine, CommandHandler(settings, engine, clock)
        self._allowed = allowed_chat_ids(settings)
        self._lock = ServiceLock(engine)
        self._line = BotClient(settings)
        self._rights = Rights(settings, self._line)
        self._name = ""
        self._answering: set[asyncio.Task[None]] = set()
        self._turns: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._noted: dict[int, float] = {}

    async def serve(self, background_task: BackgroundTask | None) -> None:
        """Serve until cancelled or until it cannot go on."""
        tasks: list[asyncio.Task[None]] = []
        try:
            await self._take_lock()
            work = [
                self._listen(),
                self._keep_lock(),
                *([self._run_with_restart(background_task)] if background_task else []),
            ]
            tasks = [asyncio.create_task(coroutine) for coroutine in work]
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            if self._answering:
                await asyncio.wait(self._answering, timeout=SHUTDOWN_GRACE_SECONDS)
            for task in self._answering:
                task.cancel()
            await asyncio.gather(*tasks, *self._answering, return_exceptions=True)
            await self._line.close()
            with suppress(TimeoutError):
                await run_in_daemon_thread(self._lock.release, SHUTDOWN_GRACE_SECONDS)

    async def _take_lock(self) -> None:
        """Wait a little for a forerunner to end."""
        end = time.monotonic() + LOCK_WAIT_SECONDS
        while not await self._held():
            if time.monotonic() >= end:
                raise ServiceBusy(
                    f"another `hybrid-ml bot` answers for this database (waited {LOCK_WAIT_SECONDS:.0f} s); "
                    "end it first, or leave this one out"
                )
            await asyncio.sleep(0.2)

    async def _held(self) -> bool:
        try:
            return await run_in_daemon_thread(self._lock.hold)
        except DATABASE_TROUBLE as error:
            raise StoreUnreachable(f"the database does not answer ({_kind(error)}); check that it is up") from None

    async def _keep_lock(self) -> None:
        while True:
            await asyncio.sleep(LOCK_LOOK_SECONDS)
            try:
                held = await self._held()
            except StoreUnavailable as error:  # a revoked right may be granted again
                logger.warning("%s", error)
                self._lock = ServiceLock(self._engine)  # the old one may hang
                continue
            if not held:
                raise ServiceBusy("another `hybrid-ml bot` took over while the database was away; this one ends")

    async def _run_with_restart(self, background_task: BackgroundTask) -> None:
        """Keep `background_task` going, whatever happens to it."""
        failures = 0
        while True:
            started = time.monotonic()
            try:
                await background_task()
            except Exception as error:  # whatever it is, the rest must go on
                failures = 1 if time.monotonic() - started > LONGEST_WAIT_SECONDS else failures + 1
                logger.error("%s; trying again", self._line.problem(error))
                await asyncio.sleep(backoff_seconds(failures, LONGEST_WAIT_SECONDS))
            else:
                return

    async def _listen(self) -> None:
        """Poll, handle, and confirm with the next poll. Without anything to confirm no number is asked for."""
        failures, offset = 0, None
        while True:
            try:
                if not self._name:
                    self._name = await self._line.name()
                    failures = 0
                    logger.info("@%s answers %s", self._name, counted(len(self._allowed), "chat"))
                updates = await self._line.poll(offset)
                failures = 0
            except Exception as error:
                failures += 1
                await self._wait_after(error, failures)
                continue
            for update in updates:
                await self._handle(update)
            offset = int(updates[-1]["update_id"]) + 1 if updates else None

    async def _wait_after(self, error: Exception, failures: int) -> None:
        """Longer and longer, and at least as long as Telegram asks; raises what waiting will not mend."""
        from telegram.error import TelegramError

        if not isinstance(error, TelegramError):
            raise error
        seconds = max(backoff_seconds(failures, LONGEST_WAIT_SECONDS), asked_wait_seconds(error))
        logger.warning("%s; asking again in %.0f s", self._line.problem(error), seconds)
        await asyncio.sleep(seconds)

    async def _handle(self, update: dict[str, Any]) -> None:
        try:
            request = parse_command(update, self._allowed, self._name)
        except Exception as error:  # one that nobody foresaw must not come again for ever
            logger.warning("update %s cannot be read (%s); passed over", update.get("update_id"), _kind(error))
            return
        if isinstance(request, UnauthorizedChat):
            self._note(request)
        elif request is not None:
            await self._carry_out(request)

    def _note(self, sender: UnauthorizedChat) -> None:
        """A line in the log, not more than one a minute and chat."""
        now = time.monotonic()
        self._noted = {chat: at for chat, at in self._noted.items() if now - at < STRANGER_SECONDS}
        if sender.chat_id not in self._noted:
            self._noted[sender.chat_id] = now
            logger.warning("not answered: chat %s, user %s is not configured", sender.chat_id, sender.user_id)

    async def _carry_out(self, request: BotCommand) -> None:
        message = f"/{request.command} from chat {request.chat_id}"
        request = replace(request, refusal=await self._rights.refusal(request))
        try:
            taken = await run_in_daemon_thread(partial(self._desk.take, request))
        except Exception as error:  # whatever it is, a command that fails must not come again for ever
            logger.warning("%s: the database does not answer (%s)", message, _kind(error))
            if await self._confirmed(request) and not request.refusal:
                self._answer(request, None)
            return
        if taken is None:
            return
        if request.refusal:
            self._refuse(request, taken)
            return
        if taken.late_minutes > LATE_MINUTES and request.command not in CHANGES:
            logger.info("%s is %.0f minutes old: not answered", message, taken.late_minutes)
            return
        self._answer(request, taken)

    def _refuse(self, request: BotCommand, taken: ClaimedCommand) -> None:
        """Say so, not more than once a minute and chat; Telegram limits what a bot may write to a group."""
        if self._rights.may_answer(request.reply_chat_id):
            logger.warning("/%s in chat %s: user %s may not", request.command, request.chat_id, request.user_id)
            self._answer(request, taken)

    async def _confirmed(self, request: BotCommand) -> bool:
        """Whether Telegram will not send the update again."""
        from telegram.error import TelegramError

        try:
            await self._line.poll(request.update_id + 1, wait_seconds=0)
        except TelegramError as error:
            logger.warning("%s", self._line.problem(error))
            return False
        return True

    def _answer(self, request: BotCommand, taken: ClaimedCommand | None) -> None:
        """In the background, so that one chat's trouble does not hold up another; a chat's answers keep their order."""
        task = asyncio.create_task(self._respond(request, taken))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _respond(self, request: BotCommand, taken: ClaimedCommand | None) -> None:
        try:
            async with self._turns[request.reply_chat_id]:
                await self._line.say(request.reply_chat_id, await self._text(request, taken))
        except Exception as error:  # an answer that fails must not end the service
            logger.error("/%s from chat %s: %s", request.command, request.chat_id, self._line.problem(error))

    async def _text(self, request: BotCommand, taken: ClaimedCommand | None) -> str:
        if taken is not None:
            try:
                return await run_in_daemon_thread(partial(self._desk.words, request, taken))
            except Exception as error:  # it is taken in hand, so this is its only answer
                logger.warning("/%s: the database does not answer (%s)", request.command, _kind(error))
        return replies.NO_DATABASE.format(command=request.command)


def _kind(error: BaseException) -> str:
    """The sort of trouble; the text of an error that is not ours may hold more than a log should."""
    if isinstance(error, HybridMLError):
        return str(error)
    return type(getattr(error, "orig", None) or error).__name__
