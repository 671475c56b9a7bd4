"""`hybrid-ml bot` in a process: its answers in the chat, its log, and its exit codes."""

import asyncio
import json
import logging
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from hybrid_ml.bot.replies import HELP
from hybrid_ml.bot.service import BotService, run_service
from hybrid_ml.config.settings import load_settings
from hybrid_ml.errors import AlertRefused, BadInput, ServiceBusy
from hybrid_ml.store.engine import open_engine, open_for_writing
from tests.conftest import ROOT, Command
from tests.databases import end_other_connections
from tests.faults.sample import sample
from tests.faults.table import FaultRows
from tests.flows.running import rows
from tests.telegram_api import TOKEN, BotApi, Fault
from tests.telegram_server import bot_api

PROGRAM = [str(Path(sys.executable).with_name("hybrid-ml")), "bot"]


def configuration(api: BotApi) -> dict[str, str]:
    """Environment of a bot that answers three chats through `api`."""
    chats = "42, -100777, @OurGroup"
    return {"TELEGRAM_BOT_TOKEN": TOKEN, "TELEGRAM_CHAT_ID": chats, "TELEGRAM_BASE_URL": api.base_url}


class BotProcess:
    """A bot in a separate process; `log` is its output."""

    def __init__(self, api: BotApi, folder: Path, number: int, environment: dict[str, str]) -> None:
        self._file = folder / f"bot-{number}.log"
        environment = {**os.environ, **configuration(api), "PYTHONUNBUFFERED": "1", **environment}
        with self._file.open("w") as file:
            self.process = subprocess.Popen(PROGRAM, cwd=ROOT, env=environment, stdout=file, stderr=file)

    @property
    def log(self) -> str:
        return self._file.read_text()

    def end(self, number: int = signal.SIGKILL) -> int:
        """Send a signal and wait ten seconds; the exit status."""
        self.process.send_signal(number)
        return self.process.wait(10)


class BotThread:
    """The bot's service in a thread of this process, where no other process is the subject."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self._loop, self._task = asyncio.new_event_loop(), None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        settings = load_settings()
        service = BotService(settings, open_for_writing(settings), partial(datetime.now, UTC))
        self._task = self._loop.create_task(service.serve(None))
        try:
            self._loop.run_until_complete(self._task)
        except asyncio.CancelledError:
            pass
        except Exception as error:  # the test asks for it
            self.error = error
        finally:
            self._loop.close()

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    def wait(self) -> Exception | None:
        """Wait for its end; the error that ended it."""
        self._thread.join(90)
        assert not self.is_running
        return self.error

    def end(self) -> Exception | None:
        with suppress(RuntimeError):  # it has ended
            self._loop.call_soon_threadsafe(self._task.cancel)
        return self.wait()


Start = Callable[..., BotProcess]
Serve = Callable[..., BotThread]


@pytest.fixture
def faults(request: pytest.FixtureRequest) -> FaultRows:
    return FaultRows(request.node)


@pytest.fixture
def api() -> Iterator[BotApi]:
    with bot_api() as running:
        yield running


@pytest.fixture
def start(api: BotApi, home: Path) -> Iterator[Start]:
    """Start a bot against `api` and the test's database; bots that still run at the end are killed."""
    started: list[BotProcess] = []

    def run(**environment: str) -> BotProcess:
        started.append(BotProcess(api, home, len(started), environment))
        return started[-1]

    yield run
    for process in started:
        assert TOKEN not in process.log
        if process.process.poll() is None:
            process.end()


@pytest.fixture
def serve(
    api: BotApi, home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Iterator[Serve]:
    """Start the service in a thread, as `start` does in a process; its log is `caplog`."""
    started: list[BotThread] = []
    caplog.set_level(logging.INFO, logger="hybrid_ml")

    def run(**environment: str) -> BotThread:
        for name, value in (configuration(api) | environment).items():
            monkeypatch.setenv(name, value)
        started.append(BotThread())
        return started[-1]

    yield run
    for service in started:
        service.end()
    assert TOKEN not in caplog.text


def wait_until(condition: Callable[[], Any], seconds: float = 90) -> None:
    """Wait until `true()` is true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition was not met in time"
        time.sleep(0.005)


def answers_of(api: BotApi) -> list[str]:
    return [message["text"] for message in api.messages]


@contextmanager
def refusing_connections(engine: Engine) -> Iterator[None]:
    """The database refuses every new connection and closes the existing ones."""
    name = engine.url.database
    server = engine.execution_options(isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"ALTER ROLE CURRENT_USER IN DATABASE {name} SET search_path TO nowhere"))
        end_other_connections(connection)
        try:
            yield
        finally:
            connection.execute(text(f"ALTER ROLE CURRENT_USER IN DATABASE {name} RESET search_path"))
            end_other_connections(connection)


def test_commands_of_configured_chats_are_answered_and_others_ignored(
    api: BotApi, start: Start, engine: Engine
) -> None:
    bot = start()
    for summary in ("/start", "/status", "/signals 3", "/record", "/pause 90", "/resume", "/dance", "/pause soon"):
        api.say(summary)
    api.say("/status@loopback_bot", chat_id=-100777)
    api.say("/status@other_bot", chat_id=-100777)
    api.say("/help", chat_id=-5, chat_username="x")
    for _ in range(3):
        api.say("/pause", chat_id=666, user_id=13, **{"caption": "leave a trace"})
    api.update(edited_message={"text": "/pause"})
    api.update(
        message={"message_id": 1, "date": int(time.time()), "chat": {"id": 42, "type": "private"}, "sticker": {}}
    )
    api.update(message={"text": "/pause", "chat": "no chat"})
    api.say("thanks")
    api.say("/resume")
    wait_until(lambda: len(api.messages) >= 10)
    time.sleep(0.3)
    assert bot.end(signal.SIGTERM) == 0

    assert len(api.messages) == 10
    lines = [message["text"] for message in api.messages if message["chat_id"] == "42"]  # in order within a chat
    assert lines[0] == lines[6] == HELP
    assert lines[1].startswith("<b>Status</b>")
    assert lines[2].startswith("No signals yet")
    assert lines[3].startswith("No answers")
    assert "paused until" in lines[4]
    assert "again" in lines[5]
    assert "“soon” is no number of minutes" in lines[7]
    assert "again" in lines[8]
    assert Counter(message["chat_id"] for message in api.messages) == {"42": 9, "-100777": 1}
    assert rows(engine, "SELECT chat_id, paused_until FROM chats") == [("42", None)]
    assert bot.log.count("chat 666, user 13 is not configured") == 1
    assert bot.log.count("chat -5, user 42 is not configured") == 1
    assert "trace" not in bot.log
    assert "cannot be read (TypeError); passed over" in bot.log
    assert "Traceback" not in bot.log
    assert api.updates == []


def test_pause_is_stored_for_the_configured_name_of_the_chat(api: BotApi, serve: Serve, engine: Engine) -> None:
    serve()
    sent_at = int(time.time()) - 600
    api.say("/pause 90", at=sent_at)
    api.administrators["-5"] = {42}
    api.say("/pause", at=sent_at, chat_id=-5, chat={"id": -5, "type": "supergroup", "username": "ourgroup"})
    wait_until(lambda: len(api.messages) == 2)
    pauses = rows(engine, "SELECT chat_id, paused_until FROM chats")
    sent = datetime.fromtimestamp(sent_at, UTC)
    assert set(pauses) == {("@ourgroup", sent + timedelta(hours=24)), ("42", sent + timedelta(minutes=90))}
    assert {message["chat_id"] for message in api.messages} == {"42", "-5"}


def test_only_administrators_pause_a_group_unless_everyone_may(
    api: BotApi, serve: Serve, engine: Engine, faults: FaultRows, caplog: pytest.LogCaptureFixture
) -> None:
    for_everyone = [{"chat_id": "-100888", "commands": "everyone"}]
    serve(TELEGRAM_CHATS=json.dumps(for_everyone))
    api.administrators["-100777"] = {7}
    started = time.perf_counter()
    for user in (13, 13, 14):
        api.say("/pause", chat_id=-100777, user_id=user)
    api.say("/pause", chat_id=-100777, user_id=136817688, sender_chat={"id": -100999, "type": "channel"})
    api.say("/record", chat_id=-100777, user_id=13)
    wait_until(lambda: len(api.messages) == 2)
    refused, question = answers_of(api)
    assert refused.startswith("Only administrators of this group can /pause its alerts")
    assert question.startswith("No answers")
    assert rows(engine, "SELECT count(*) FROM chats WHERE paused_until > now()") == [(0,)]

    api.say("/pause", chat_id=-100777, user_id=7)
    api.say("/resume", chat_id=-100777, user_id=13)  # a minute has not passed: no answer
    api.say("/pause 5", chat_id=-100888, user_id=13)
    wait_until(lambda: len(api.messages) == 4)
    paused = "SELECT chat_id FROM chats WHERE paused_until > now() ORDER BY 1"
    assert rows(engine, paused) == [("-100777",), ("-100888",)]
    api.say("/resume", chat_id=-100777, user_id=1087968824, sender_chat={"id": -100777, "type": "supergroup"})
    wait_until(lambda: len(api.messages) == 5)
    assert rows(engine, paused) == [("-100888",)]

    api.say("/pause", chat_id=-5, user_id=7, chat={"id": -5, "type": "supergroup", "username": "ourgroup"})
    wait_until(lambda: len(api.messages) == 6)  # a group whose administrators Telegram does not list
    assert "Telegram does not return the administrators of this group" in answers_of(api)[-1]
    assert rows(engine, paused) == [("-100888",)]
    assert sum(row.method == "getChatAdministrators" for row in api.rows) <= 3
    assert "/pause in chat -100777: user 13 may not" in caplog.text
    faults.add(
        "/pause in a group by members, a channel, an anonymous administrator and an administrator",
        "members and the channel got one plain reply a minute, the administrators their pause of 24 h",
        time.perf_counter() - started,
    )


def test_pending_commands_are_executed_and_old_questions_ignored(
    api: BotApi, serve: Serve, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    long_ago = time.time() - 3_600
    for lines in ("/status", "/pause", "/help", "/resume", "/pause 5"):
        api.say(lines, at=long_ago)
    api.say("/record", at=time.time() - 600)
    serve()
    wait_until(lambda: len(api.messages) == 4)
    assert re.search(r"/status from chat 42 is 6\d minutes old: not answered", caplog.text)
    message = answers_of(api)
    assert "is paused until" in message[0]
    assert "again" in message[1]
    assert "was over" in message[2]
    assert message[3].startswith("No answers")
    assert rows(engine, "SELECT count(*) FROM bot_updates") == [(6,)]


@pytest.mark.parametrize("kills", sample([4, 14], 4))
def test_bot_killed_repeatedly_answers_no_command_twice(api: BotApi, start: Start, engine: Engine, kills: int) -> None:
    """Killed right after an answer, so that Telegram sends its update again, and at random times."""
    random_generator, requested = random.Random(4), []  # noqa: S311  # deterministic on purpose
    for round_number in range(kills):
        for _ in range(3):
            requested.append(f"n{len(requested)}x")
            api.say(f"/pause {requested[-1]}")
        api.say("/pause 600" if round_number % 2 else "/resume")
        before = len(api.messages)
        if round_number < kills // 2:
            # The first poll returns the messages; the next poll, which would confirm them, is lost.
            api.orders_of["getUpdates"] = [Fault("slow"), Fault("hang_before")]
            bot = start()
            wait_until(lambda seen=before: len(api.messages) > seen)
        else:
            api.orders_of["getUpdates"] = []
            polls = sum(row.method == "getMe" for row in api.rows)
            bot = start()
            wait_until(lambda seen=polls: sum(row.method == "getMe" for row in api.rows) > seen)
            time.sleep(random_generator.uniform(0, 0.15))
        assert bot.end() == -signal.SIGKILL
    api.orders_of["getUpdates"] = []
    last = start()
    api.say("/pause last")
    wait_until(lambda: any("“last”" in message for message in answers_of(api)))
    time.sleep(0.3)
    counts = Counter(pauses for message in answers_of(api) for pauses in re.findall(r"“(\w+)”", message))
    assert set(counts.values()) == {1}
    assert set(counts) <= {*requested, "last"}
    assert len(counts) >= kills // 2
    assert rows(engine, "SELECT count(*), count(DISTINCT update_id) FROM bot_updates") == [(4 * kills + 1,) * 2]
    assert rows(engine, "SELECT paused_until > now() FROM chats WHERE chat_id = '42'") == [(True,)]
    assert api.updates == []
    assert last.end(signal.SIGINT) == 130
    assert "Traceback" not in last.log


def test_bot_retries_after_network_errors(api: BotApi, serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    api.say("/help")
    api.orders_of["getMe"] = [Fault("drop_before")]
    faults = ["bad_gateway", "garbage", "drop_after", "slow", "too_many"]
    api.orders_of["getUpdates"] = [Fault(kind) for kind in faults]
    serve()
    wait_until(lambda: answers_of(api) == [HELP])
    api.say("/record")
    wait_until(lambda: len(api.messages) == 2)
    for message in (
        "NetworkError (RemoteProtocolError)",
        "Bad Gateway",
        "Invalid server response",
        "asking again in 4 s",
    ):
        assert message in caplog.text
    assert "RetryAfter" in caplog.text


def test_unconfirmed_answer_is_not_repeated_and_refused_answer_is(
    api: BotApi, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    api.orders.extend([Fault("drop_after"), (403, {"ok": False, "description": "Forbidden: x"}), Fault("too_many")])
    serve()
    for lines in ("/help", "/status", "/record", "/signals"):
        api.say(lines)
    wait_until(lambda: len(api.messages) == 3)
    assert [message[:10] for message in answers_of(api)] == [HELP[:10], "No answers", "No signals"]
    assert api.violations == 0
    assert "reply to chat 42: Forbidden" in caplog.text


def test_second_poller_and_webhook_are_logged_with_remedy(
    api: BotApi, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    api.webhook = "https://example.org/hook"
    serve()
    wait_until(lambda: sum(row.method == "getUpdates" for row in api.rows) >= 2)
    api.webhook = ""
    conflict = "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running"
    api.orders_of["getUpdates"] = [(409, {"ok": False, "error_code": 409, "description": conflict})]
    api.say("/help")
    wait_until(lambda: answers_of(api) == [HELP])
    assert "a webhook gets this bot's updates: if nothing needs it, open https://api.telegram.org/bot<" in caplog.text
    assert "another program polls this bot's updates: stop it" in caplog.text


def test_invalid_token_ends_the_bot(api: BotApi, start: Start, serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    rejected_at_start = start(**{"TELEGRAM_BOT_TOKEN": "123:wrong"})
    assert rejected_at_start.process.wait(90) == 1
    assert "check TELEGRAM_BOT_TOKEN" in rejected_at_start.log
    assert "123:wrong" not in rejected_at_start.log
    assert "Traceback" not in rejected_at_start.log
    rejected_later = serve()
    wait_until(lambda: api.polls)
    api.token = "revoked"
    api.say("/help")
    assert "check TELEGRAM_BOT_TOKEN" in str(rejected_later.wait())
    assert isinstance(rejected_later.error, AlertRefused)


def test_unreachable_database_is_answered_and_no_command_runs_twice(
    api: BotApi, serve: Serve, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    serve()
    wait_until(lambda: api.polls)
    with refusing_connections(engine):
        api.say("/pause")
        wait_until(lambda: len(api.messages) == 1)
        assert answers_of(api) == [
            "The database does not answer, so /pause may not have been carried out. Try again in a minute."
        ]
        wait_until(lambda: api.updates == [])
    api.say("/status")
    wait_until(lambda: len(api.messages) == 2)
    assert "This chat gets alerts" in answers_of(api)[1]
    assert "the database does not answer" in caplog.text
    assert rows(engine, "SELECT command FROM bot_updates") == [("status",)]


def test_second_bot_waits_then_exits_with_message(api: BotApi, start: Start, serve: Serve) -> None:
    first = start()
    wait_until(lambda: api.polls)
    second = serve()
    assert isinstance(second.wait(), ServiceBusy)
    assert "another `hybrid-ml bot` answers for this database (waited 10 s)" in str(second.error)
    third = serve()
    time.sleep(0.5)
    assert first.end(signal.SIGTERM) == 0
    api.say("/help")
    wait_until(lambda: answers_of(api) == [HELP])
    assert third.is_running


def test_missing_telegram_settings_are_named(command: Command) -> None:
    done = command("bot", TELEGRAM_BOT_TOKEN=TOKEN)
    assert done.returncode == 1
    assert "TELEGRAM_CHAT_ID not set" in done.stderr
    assert TOKEN not in done.stderr
    with pytest.raises(BadInput, match="TELEGRAM_BOT_TOKEN and TELEGRAM_CHAT_ID not set"):
        asyncio.run(run_service(load_settings(), open_engine(load_settings()), partial(datetime.now, UTC)))


def test_help_loads_no_prefect(command: Command, command_here: Command) -> None:
    assert "answers no command twice" in " ".join(command_here("bot", "--help").stdout.split())
    program = (
        "import sys, hybrid_ml.cli.bot_command; print(sorted({'prefect', 'lightgbm', 'telegram'} & set(sys.modules)))"
    )
    assert command("-c", program).stdout.strip() == "[]"
