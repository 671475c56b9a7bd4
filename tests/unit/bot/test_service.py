"""The bot service: its background task, its lock, and its log."""

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
from hybrid_ml.bot.service import BackgroundTask, BotService, allowed_chat_ids, run_service
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


def serve(
    engine: Engine, api: BotApi, background_task: BackgroundTask | None, scenario: Callable[[], Awaitable[None]]
) -> None:
    """Run a service until `scenario` ends, then cancel it; raises the exceptions of the service."""

    async def run() -> None:
        task = asyncio.create_task(BotService(load_settings(), engine, CLOCK).serve(background_task))
        other = asyncio.ensure_future(scenario())
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


async def wait_until(condition: Callable[[], object]) -> None:
    for _ in range(3_000):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the condition was not met in time")


def test_background_task_is_restarted_after_a_failure_and_ends_with_the_service(
    engine: Engine, api: BotApi, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[str] = []

    async def background_task() -> None:
        events.append("begun")
        if len(events) == 1:
            raise RuntimeError("a secret")
        try:
            await asyncio.sleep(600)
        finally:
            events.append("ended")

    async def scenario() -> None:
        await wait_until(lambda: len(events) == 2)
        api.say("/help")
        await wait_until(lambda: api.messages)
        assert events == ["begun", "begun"]

    serve(engine, api, background_task, scenario)
    assert events == ["begun", "begun", "ended"]
    assert "RuntimeError" in caplog.text
    assert "a secret" not in caplog.text


def test_service_continues_after_its_background_task_ends(engine: Engine, api: BotApi) -> None:
    async def background_task() -> None:
        return

    async def scenario() -> None:
        await wait_until(lambda: api.polls)
        await asyncio.sleep(0.2)
        api.say("/help")
        await wait_until(lambda: api.messages)

    serve(engine, api, background_task, scenario)
    assert len(api.messages) == 1


def test_service_that_lost_its_lock_ends(engine: Engine, api: BotApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "LOCK_LOOK_SECONDS", 0.1)
    other_lock = ServiceLock(create_engine(engine.url))

    async def scenario() -> None:
        await wait_until(lambda: api.polls)
        with engine.connect() as connection:
            sessions = "pid <> pg_backend_pid() AND datname = current_database() AND state = 'idle in transaction'"
            terminate = text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {sessions}")
            while not other_lock.hold():
                connection.execute(terminate)
        await asyncio.sleep(20)

    with pytest.raises(ServiceBusy, match="took over"):
        serve(engine, api, None, scenario)
    other_lock.release()


def test_flood_control_of_one_chat_does_not_delay_another(engine: Engine, api: BotApi) -> None:
    retry_after = 6
    api.orders.append(
        (429, {"ok": False, "error_code": 429, "description": "x", "parameters": {"retry_after": retry_after}})
    )

    async def scenario() -> None:
        api.say("/help", chat_id=42)
        await wait_until(lambda: api.rows and api.rows[-1].answered_with == 429)
        started = time.monotonic()
        api.say("/help", chat_id=43)
        await wait_until(lambda: api.messages)
        assert time.monotonic() - started < retry_after - 0.5
        await wait_until(lambda: len(api.messages) == 2)

    serve(engine, api, None, scenario)
    assert [message["chat_id"] for message in api.messages] == ["43", "42"]
    assert api.violations == 0


def test_pending_answers_are_sent_before_the_service_ends(engine: Engine, api: BotApi) -> None:
    async def scenario() -> None:
        api.say("/help")
        await wait_until(lambda: api.polls >= 2)  # the answer is in the background, and the next poll has begun

    serve(engine, api, None, scenario)
    assert len(api.messages) == 1


def test_failing_command_is_answered_with_an_error(
    engine: Engine, api: BotApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(service.CommandHandler, "words", fail)

    async def scenario() -> None:
        api.say("/status")
        await wait_until(lambda: api.messages)

    serve(engine, api, None, scenario)
    assert "does not answer" in api.messages[0]["text"]


def test_error_messages_mask_the_token(settings: Settings) -> None:
    client = BotClient(settings)
    message = client.problem(NetworkError(f"httpx.ConnectError: https://host/bot{TOKEN}/getMe"))
    assert message == "NetworkError: httpx.ConnectError: https://host/bot<TELEGRAM_BOT_TOKEN>/getMe"
    assert "@BotFather" in client.problem(Conflict("Conflict: terminated by other getUpdates request"))
    assert "deleteWebhook" in client.problem(Conflict("Conflict: can't use getUpdates method while webhook is active"))


def test_allowed_chats_are_the_configured_chats(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert allowed_chat_ids(settings) == ["42", "43"]
    monkeypatch.setenv("TELEGRAM_CHAT_ID", "")
    with pytest.raises(BadInput, match="TELEGRAM_CHAT_ID not set"):
        asyncio.run(run_service(load_settings(), create_engine("postgresql://"), CLOCK))


def test_hanging_work_times_out_in_a_daemon_thread() -> None:
    event = threading.Event()

    async def run() -> tuple[int, bool]:
        with pytest.raises(ZeroDivisionError):
            await run_in_daemon_thread(lambda: 1 // 0)
        with pytest.raises(TimeoutError):
            await run_in_daemon_thread(event.wait, timeout_seconds=0.1)
        sessions = [thread for thread in threading.enumerate() if thread.name == "database"]
        return await run_in_daemon_thread(lambda: 7), all(thread.daemon for thread in sessions) and bool(sessions)

    started = time.monotonic()
    assert asyncio.run(run()) == (7, True)
    assert time.monotonic() - started < 30
    event.set()
