"""`hybrid-ml bot` as a person meets it: from the chat, in the log, and whenever it is ended."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from hybrid_ml.bot.replies import HELP
from tests.conftest import ROOT, Command
from tests.databases import end_others
from tests.faults.table import FaultRows
from tests.flows.running import rows
from tests.telegram_api import TOKEN, BotApi, Fault
from tests.telegram_server import bot_api

PROGRAM = [str(Path(sys.executable).with_name("hybrid-ml")), "bot"]


class Running:
    """A service in a process of its own; `log` is what it has written."""

    def __init__(self, api: BotApi, folder: Path, number: int, environment: dict[str, str]) -> None:
        self._file = folder / f"bot-{number}.log"
        environment = {**os.environ, "TELEGRAM_BOT_TOKEN": TOKEN, "TELEGRAM_CHAT_ID": "42, -100777, @OurGroup",
                       "TELEGRAM_BASE_URL": api.base_url, "PYTHONUNBUFFERED": "1", **environment}  # fmt: skip
        with self._file.open("w") as file:
            self.process = subprocess.Popen(PROGRAM, cwd=ROOT, env=environment, stdout=file, stderr=file)

    @property
    def log(self) -> str:
        return self._file.read_text()

    def end(self, number: int = signal.SIGKILL) -> int:
        """Send a signal and wait; the exit status."""
        self.process.send_signal(number)
        return self.process.wait(60)


Start = Callable[..., Running]


@pytest.fixture
def faults(request: pytest.FixtureRequest) -> FaultRows:
    return FaultRows(request.node)


@pytest.fixture
def api() -> Iterator[BotApi]:
    with bot_api() as running:
        yield running


@pytest.fixture
def start(api: BotApi, home: Path) -> Iterator[Start]:
    """Start a service against `api` and the test's database; whatever still runs at the end is ended."""
    started: list[Running] = []

    def run(**environment: str) -> Running:
        started.append(Running(api, home, len(started), environment))
        return started[-1]

    yield run
    for process in started:
        assert TOKEN not in process.log
        if process.process.poll() is None:
            process.end()


def until(true: Callable[[], Any], seconds: float = 90) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come to that in time"
        time.sleep(0.005)


def answered(api: BotApi) -> list[str]:
    return [message["text"] for message in api.messages]


@contextmanager
def refusing_connections(engine: Engine) -> Iterator[None]:
    """The database takes no connection and ends those there are."""
    name = engine.url.database
    server = engine.execution_options(isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"ALTER ROLE CURRENT_USER IN DATABASE {name} SET search_path TO nowhere"))
        end_others(connection)
        try:
            yield
        finally:
            connection.execute(text(f"ALTER ROLE CURRENT_USER IN DATABASE {name} RESET search_path"))
            end_others(connection)


def test_every_command_is_answered_and_nobody_else(api: BotApi, start: Start, engine: Engine) -> None:
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
    until(lambda: len(api.messages) >= 10)
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
    assert api.updates == []


def test_a_pause_is_where_deliveries_look_for_it(api: BotApi, start: Start, engine: Engine) -> None:
    start()
    sent_at = int(time.time()) - 600
    api.say("/pause 90", at=sent_at)
    api.administrators["-5"] = {42}
    api.say("/pause", at=sent_at, chat_id=-5, chat={"id": -5, "type": "supergroup", "username": "ourgroup"})
    until(lambda: len(api.messages) == 2)
    found = rows(engine, "SELECT chat_id, paused_until FROM chats")
    sent = datetime.fromtimestamp(sent_at, UTC)
    assert set(found) == {("@ourgroup", sent + timedelta(hours=24)), ("42", sent + timedelta(minutes=90))}
    assert {message["chat_id"] for message in api.messages} == {"42", "-5"}


def test_only_administrators_pause_a_group_unless_it_is_for_everyone(
    api: BotApi, start: Start, engine: Engine, faults: FaultRows
) -> None:
    for_everyone = [{"chat_id": "-100888", "commands": "everyone"}]
    bot = start(TELEGRAM_CHATS=json.dumps(for_everyone))
    api.administrators["-100777"] = {7}
    started = time.perf_counter()
    for user in (13, 13, 14):
        api.say("/pause", chat_id=-100777, user_id=user)
    api.say("/pause", chat_id=-100777, user_id=136817688, sender_chat={"id": -100999, "type": "channel"})
    api.say("/record", chat_id=-100777, user_id=13)
    until(lambda: len(api.messages) == 2)
    refused, question = answered(api)
    assert refused.startswith("Only administrators of this group can /pause its alerts")
    assert question.startswith("No answers")
    assert rows(engine, "SELECT count(*) FROM chats WHERE paused_until > now()") == [(0,)]

    api.say("/pause", chat_id=-100777, user_id=7)
    api.say("/resume", chat_id=-100777, user_id=13)  # a minute has not passed: no answer
    api.say("/pause 5", chat_id=-100888, user_id=13)
    until(lambda: len(api.messages) == 4)
    paused = "SELECT chat_id FROM chats WHERE paused_until > now() ORDER BY 1"
    assert rows(engine, paused) == [("-100777",), ("-100888",)]
    api.say("/resume", chat_id=-100777, user_id=1087968824, sender_chat={"id": -100777, "type": "supergroup"})
    until(lambda: len(api.messages) == 5)
    assert rows(engine, paused) == [("-100888",)]

    api.say("/pause", chat_id=-5, user_id=7, chat={"id": -5, "type": "supergroup", "username": "ourgroup"})
    until(lambda: len(api.messages) == 6)  # whose administrators Telegram does not name
    assert "Telegram does not tell me who administers this group" in answered(api)[-1]
    assert rows(engine, paused) == [("-100888",)]
    assert sum(row.method == "getChatAdministrators" for row in api.rows) <= 3
    assert "/pause in chat -100777: user 13 may not" in bot.log
    faults.add(
        "/pause in a group by members, a channel, an anonymous administrator and an administrator",
        "members and the channel got one plain reply a minute, the administrators their pause of 24 h",
        time.perf_counter() - started,
    )


def test_what_lay_waiting_is_carried_out_and_old_questions_are_let_be(
    api: BotApi, start: Start, engine: Engine
) -> None:
    long_ago = time.time() - 3_600
    for lines in ("/status", "/pause", "/help", "/resume", "/pause 5"):
        api.say(lines, at=long_ago)
    api.say("/record", at=time.time() - 600)
    bot = start()
    until(lambda: len(api.messages) == 4)
    assert re.search(r"/status from chat 42 is 6\d minutes old: not answered", bot.log)
    message = answered(api)
    assert "is paused until" in message[0]
    assert "again" in message[1]
    assert "was over" in message[2]
    assert message[3].startswith("No answers")
    assert rows(engine, "SELECT count(*) FROM bot_updates") == [(6,)]


def test_killed_over_and_over_it_answers_nothing_twice(api: BotApi, start: Start, engine: Engine) -> None:
    """Killed right after an answer, whose update Telegram therefore sends again, and at random moments."""
    chance, requested = random.Random(4), []  # noqa: S311  # a repeatable choice is meant
    for round_number in range(14):
        for _ in range(3):
            requested.append(f"n{len(requested)}x")
            api.say(f"/pause {requested[-1]}")
        api.say("/pause 600" if round_number % 2 else "/resume")
        before = len(api.messages)
        if round_number < 7:
            # The first poll brings what was said; the next, which would confirm it, is never heard of.
            api.orders_of["getUpdates"] = [Fault("slow"), Fault("hang_before")]
            bot = start()
            until(lambda seen=before: len(api.messages) > seen)
        else:
            api.orders_of["getUpdates"] = []
            polls = sum(row.method == "getMe" for row in api.rows)
            bot = start()
            until(lambda seen=polls: sum(row.method == "getMe" for row in api.rows) > seen)
            time.sleep(chance.uniform(0, 0.15))
        assert bot.end() == -signal.SIGKILL
    api.orders_of["getUpdates"] = []
    last = start()
    api.say("/pause last")
    until(lambda: any("“last”" in message for message in answered(api)))
    time.sleep(0.3)
    counts = Counter(found for message in answered(api) for found in re.findall(r"“(\w+)”", message))
    assert set(counts.values()) == {1}
    assert set(counts) <= {*requested, "last"}
    assert len(counts) >= 7
    assert rows(engine, "SELECT count(*), count(DISTINCT update_id) FROM bot_updates") == [(57, 57)]
    assert rows(engine, "SELECT paused_until > now() FROM chats WHERE chat_id = '42'") == [(True,)]
    assert api.updates == []
    assert last.end(signal.SIGINT) == 130
    assert "Traceback" not in last.log


def test_a_network_that_fails_is_waited_for(api: BotApi, start: Start) -> None:
    api.say("/help")
    api.orders_of["getMe"] = [Fault("drop_before")]
    faults = ["bad_gateway", "garbage", "drop_after", "slow", "too_many"]
    api.orders_of["getUpdates"] = [Fault(kind) for kind in faults]
    bot = start()
    until(lambda: answered(api) == [HELP])
    api.say("/record")
    until(lambda: len(api.messages) == 2)
    for message in (
        "NetworkError (RemoteProtocolError)",
        "Bad Gateway",
        "Invalid server response",
        "asking again in 4 s",
    ):
        assert message in bot.log
    assert "RetryAfter" in bot.log
    assert bot.end(signal.SIGTERM) == 0


def test_an_answer_that_may_have_arrived_is_not_repeated_and_one_that_has_not_is(api: BotApi, start: Start) -> None:
    api.orders.extend([Fault("drop_after"), (403, {"ok": False, "description": "Forbidden: x"}), Fault("too_many")])
    bot = start()
    for lines in ("/help", "/status", "/record", "/signals"):
        api.say(lines)
    until(lambda: len(api.messages) == 3)
    assert [message[:10] for message in answered(api)] == [HELP[:10], "No answers", "No signals"]
    assert api.violations == 0
    assert "answer to chat 42: Forbidden" in bot.log


def test_another_poller_and_a_webhook_are_named_with_the_remedy(api: BotApi, start: Start) -> None:
    api.webhook = "https://example.org/hook"
    bot = start()
    until(lambda: sum(row.method == "getUpdates" for row in api.rows) >= 2)
    api.webhook = ""
    taken = "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running"
    api.orders_of["getUpdates"] = [(409, {"ok": False, "error_code": 409, "description": taken})]
    api.say("/help")
    until(lambda: answered(api) == [HELP])
    assert "a webhook takes this bot's updates: if nothing needs it, open https://api.telegram.org/bot<" in bot.log
    assert "another program asks Telegram for this bot's updates: stop it" in bot.log


def test_a_bad_token_ends_it(api: BotApi, start: Start) -> None:
    at_once = start(**{"TELEGRAM_BOT_TOKEN": "123:wrong"})
    assert at_once.process.wait(90) == 1
    assert "check TELEGRAM_BOT_TOKEN" in at_once.log
    assert "123:wrong" not in at_once.log
    later = start()
    until(lambda: api.polls)
    api.token = "revoked"
    api.say("/help")
    assert later.process.wait(90) == 1
    assert "check TELEGRAM_BOT_TOKEN" in later.log
    assert "Traceback" not in at_once.log + later.log


def test_a_database_that_is_away_is_said_and_nothing_is_answered_twice(
    api: BotApi, start: Start, engine: Engine
) -> None:
    bot = start()
    until(lambda: api.polls)
    with refusing_connections(engine):
        api.say("/pause")
        until(lambda: len(api.messages) == 1)
        assert answered(api) == [
            "The database does not answer, so /pause may not have been carried out. Ask again in a minute."
        ]
        until(lambda: api.updates == [])
    api.say("/status")
    until(lambda: len(api.messages) == 2)
    assert "This chat gets alerts" in answered(api)[1]
    assert bot.end(signal.SIGTERM) == 0
    assert "the database does not answer" in bot.log
    assert rows(engine, "SELECT command FROM bot_updates") == [("status",)]


def test_a_second_one_waits_a_little_and_says_so(api: BotApi, start: Start) -> None:
    first = start()
    until(lambda: api.polls)
    second = start()
    assert second.process.wait(90) == 1
    assert "another `hybrid-ml bot` answers for this database (waited 10 s)" in second.log
    third = start()
    time.sleep(0.5)
    assert first.end(signal.SIGTERM) == 0
    api.say("/help")
    until(lambda: answered(api) == [HELP])
    assert third.process.poll() is None


def test_it_ends_at_once(api: BotApi, start: Start) -> None:
    for number, status in ((signal.SIGTERM, 0), (signal.SIGINT, 130)):
        seen = len(api.rows)
        bot = start()
        until(lambda before=seen: len(api.rows) > before)
        time.sleep(0.2)
        began = time.monotonic()
        assert bot.end(number) == status
        assert time.monotonic() - began < 10
        assert "Traceback" not in bot.log


def test_without_a_bot_it_says_what_to_set(command: Command) -> None:
    done = command("bot")
    assert done.returncode == 1
    assert "TELEGRAM_BOT_TOKEN and TELEGRAM_CHAT_ID not set" in done.stderr
    done = command("bot", TELEGRAM_BOT_TOKEN=TOKEN)
    assert "TELEGRAM_CHAT_ID not set" in done.stderr
    assert TOKEN not in done.stderr


def test_help_teaches_and_it_needs_no_prefect(command: Command) -> None:
    done = command("bot", "--help")
    assert "answers no command twice" in " ".join(done.stdout.split())
    program = (
        "import sys, hybrid_ml.cli.bot_command; print(sorted({'prefect', 'lightgbm', 'telegram'} & set(sys.modules)))"
    )
    assert command("-c", program).stdout.strip() == "[]"
