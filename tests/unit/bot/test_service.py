"""What runs beside the bot, who holds the lock, and what its log may say."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial

import pytest
from sqlalchemy import Engine, create_engine, text
from telegram.error import Conflict, NetworkError

from hybrid_ml.alerts.background import run_in_daemon_thread
from hybrid_ml.bot import service
from hybrid_ml.bot.client import BotClient
from hybrid_ml.bot.service import BackgroundTask, Service, allowed_chat_ids, run_service
from hybrid_ml.config.settings import Settings, load_settings
from hybrid_ml.errors import BadInput, ServiceBusy
from hybrid_ml.store.bot_queries import ServiceLock
from tests.telegram_server import TOKEN, BotApi, bot_api

CLOCK = partial(datetime.now, UTC)


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", TOKEN)
    monkeypatch.setenv("TELEGRAM_CHAT_ID", "42, 43")
    return load_settings()


def serve(engine: Engine, api: BotApi, beside: BackgroundTask | None, meanwhile: Callable[[], Awaitable[None]]) -> None:
    """Let a service run while `meanwhile` does, then cancel it; raises what the service raises."""

    async def run() -> None:
        task = asyncio.create_task(Service(load_settings(), engine, CLOCK).serve(beside))
        other = asyncio.ensure_future(meanwhile())
        await asyncio.wait([task, other], return_when=asyncio.FIRST_COMPLETED)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        other.cancel()
        with suppress(asyncio.CancelledError):
            await other

    assert api.base_url
    asyncio.run(run())


@pytest.fixture
def api(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[BotApi]:
    with bot_api() as running:
        monkeypatch.setenv("TELEGRAM_BASE_URL", running.base_url)
        yield running


async def until(true: Callable[[], object]) -> None:
    for _ in range(3_000):
        if true():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not come to that in time")


def test_what_runs_beside_shares_the_loop_comes_back_after_a_failure_and_ends_with_it(
    engine: Engine, api: BotApi, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[str] = []

    async def beside() -> None:
        seen.append("begun")
        if len(seen) == 1:
            raise RuntimeError("a secret")
        try:
            await asyncio.sleep(600)
        finally:
            seen.append("ended")

    async def meanwhile() -> None:
        await until(lambda: len(seen) == 2)
        api.say("/help")
        await until(lambda: api.messages)
        assert seen == ["begun", "begun"]

    serve(engine, api, beside, meanwhile)
    assert seen == ["begun", "begun", "ended"]
    assert "RuntimeError" in caplog.text
    assert "a secret" not in caplog.text


def test_what_ends_beside_does_not_end_the_service(engine: Engine, api: BotApi) -> None:
    async def beside() -> None:
        return

    async def meanwhile() -> None:
        await until(lambda: api.polls)
        await asyncio.sleep(0.2)
        api.say("/help")
        await until(lambda: api.messages)

    serve(engine, api, beside, meanwhile)
    assert len(api.messages) == 1


def test_who_lost_the_lock_to_another_ends(engine: Engine, api: BotApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "LOCK_LOOK_SECONDS", 0.1)
    theirs = ServiceLock(create_engine(engine.url))

    async def meanwhile() -> None:
        await until(lambda: api.polls)
        with engine.connect() as connection:
            others = "pid <> pg_backend_pid() AND datname = current_database() AND state = 'idle in transaction'"
            cut = text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")
            while not theirs.hold():
                connection.execute(cut)
        await asyncio.sleep(20)

    with pytest.raises(ServiceBusy, match="took over"):
        serve(engine, api, None, meanwhile)
    theirs.release()


def test_one_chats_trouble_does_not_hold_up_another(engine: Engine, api: BotApi) -> None:
    requested = 6
    api.orders.append(
        (429, {"ok": False, "error_code": 429, "description": "x", "parameters": {"retry_after": requested}})
    )

    async def meanwhile() -> None:
        api.say("/help", chat_id=42)
        await until(lambda: api.rows and api.rows[-1].answered_with == 429)
        started = time.monotonic()
        api.say("/help", chat_id=43)
        await until(lambda: api.messages)
        assert time.monotonic() - started < requested - 0.5
        await until(lambda: len(api.messages) == 2)

    serve(engine, api, None, meanwhile)
    assert [message["chat_id"] for message in api.messages] == ["43", "42"]
    assert api.violations == 0


def test_answers_under_way_are_finished_at_the_end(engine: Engine, api: BotApi) -> None:
    async def meanwhile() -> None:
        api.say("/help")
        await until(lambda: api.polls >= 2)  # handed to the background, and the next poll is on its way

    serve(engine, api, None, meanwhile)
    assert len(api.messages) == 1


def test_an_answer_that_cannot_be_made_is_said_so(engine: Engine, api: BotApi, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(service.CommandHandler, "words", broken)

    async def meanwhile() -> None:
        api.say("/status")
        await until(lambda: api.messages)

    serve(engine, api, None, meanwhile)
    assert "does not answer" in api.messages[0]["text"]


def test_nothing_said_of_an_error_shows_the_token(settings: Settings) -> None:
    line = BotClient(settings)
    message = line.problem(NetworkError(f"httpx.ConnectError: https://host/bot{TOKEN}/getMe"))
    assert message == "NetworkError: httpx.ConnectError: https://host/bot<TELEGRAM_BOT_TOKEN>/getMe"
    assert "@BotFather" in line.problem(Conflict("Conflict: terminated by other getUpdates request"))
    assert "deleteWebhook" in line.problem(Conflict("Conflict: can't use getUpdates method while webhook is active"))


def test_who_may_command_is_who_gets_alerts(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert allowed_chat_ids(settings) == ["42", "43"]
    monkeypatch.setenv("TELEGRAM_CHAT_ID", "")
    with pytest.raises(BadInput, match="TELEGRAM_CHAT_ID not set"):
        asyncio.run(run_service(load_settings(), create_engine("postgresql://"), CLOCK))


def test_work_that_hangs_is_left_alone_and_does_not_keep_the_program() -> None:
    held = threading.Event()

    async def run() -> tuple[int, bool]:
        with pytest.raises(ZeroDivisionError):
            await run_in_daemon_thread(lambda: 1 // 0)
        with pytest.raises(TimeoutError):
            await run_in_daemon_thread(held.wait, patience_seconds=0.1)
        others = [thread for thread in threading.enumerate() if thread.name == "database"]
        return await run_in_daemon_thread(lambda: 7), all(thread.daemon for thread in others) and bool(others)

    started = time.monotonic()
    assert asyncio.run(run()) == (7, True)
    assert time.monotonic() - started < 30
    held.set()
