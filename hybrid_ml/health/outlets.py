"""The ways a report takes: to Telegram chats, to a webhook; and the URL of a dead-man's switch.

Each has a queue and a pace of its own, so that one in trouble holds up no other. Nothing here needs a database or a
disk. Addresses are secrets: none is logged.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any, Protocol

import httpx
from pydantic import SecretStr

from hybrid_ml.alerts.html import escaped, repeat_mark
from hybrid_ml.alerts.telegram import (
    NEVER_SENT,
    Outcome,
    Refused,
    Sent,
    TelegramSender,
    TryLater,
    Unknown,
    make_bot,
    silence_http_loggers,
)
from hybrid_ml.config.settings import Settings
from hybrid_ml.health.problems import Report, report_text

ANSWER_SECONDS = 10.0
HEARTBEAT_SECONDS, HEARTBEAT_TRIES = 5.0, 3
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 5.0, 300.0
WORTH_SECONDS = 24 * 3_600.0
"""A report that did not leave within a day is let go."""
LATER = {408, 425, 429}
"""What a webhook answers that may be different the next time, besides 5xx."""
logger = logging.getLogger(__name__)


class Outlet(Protocol):
    """One way. `name` is fit for a log."""

    name: str

    async def send(self, report: Report, *, again: bool) -> Outcome:
        """Try once. `again`: it may have arrived before."""
        ...


class TelegramOutlet:
    """A chat. A report may come at any hour, whatever quiet hours and /pause say of alerts."""

    def __init__(self, line: TelegramSender, chat_id: str) -> None:
        self.name, self._line, self._chat_id = f"chat {chat_id}", line, chat_id

    async def send(self, report: Report, *, again: bool) -> Outcome:
        text = "\n".join(escaped(line) for line in report_text(report).splitlines())
        return await self._line.send(self._chat_id, repeat_mark(text) if again else text, None, None)


class WebhookOutlet:
    """A URL that takes JSON."""

    name = "the webhook"

    def __init__(self, url: SecretStr) -> None:
        self._url = url

    async def send(self, report: Report, *, again: bool) -> Outcome:
        silence_http_loggers()
        try:
            async with httpx.AsyncClient(timeout=ANSWER_SECONDS) as client:
                answer = await client.post(self._url.get_secret_value(), json=as_json(report, again=again))
        except (httpx.HTTPError, OSError) as error:
            never_sent = type(error).__name__ in NEVER_SENT
            return (TryLater if never_sent else Unknown)(f"it does not answer ({type(error).__name__})")
        if answer.is_success:
            return Sent(0)
        if answer.is_server_error or answer.status_code in LATER:
            return TryLater(f"it answers {answer.status_code}")
        return Refused(f"it answers {answer.status_code}; check HYBRID_ML_HEALTH_WEBHOOK_URL")


def as_json(report: Report, *, again: bool = False) -> dict[str, Any]:
    """What a webhook gets; times in ISO 8601 with offset. `repeat`: it may have come before."""
    problem, lasted = report.problem, report.lasted
    return {
        "service": "hybrid-ml",
        "host": socket.gethostname(),
        "event": "begun" if lasted is None else "over",
        "problem": problem.key,
        "text": report_text(report),
        "since": problem.since.isoformat(),
        "until": None if report.until is None else report.until.isoformat(),
        "lasted_seconds": None if lasted is None else round(lasted.total_seconds(), 1),
        "repeat": again,
    }


def outlets(settings: Settings) -> list[Outlet]:
    """The ways that are configured. Call it on the event loop that will send."""
    ways: list[Outlet] = []
    chats = settings.health_chat_ids
    if chats:
        line = TelegramSender(make_bot(settings.telegram_bot_token, settings.telegram_base_url))
        ways += [TelegramOutlet(line, chat_id) for chat_id in chats]
    if settings.hybrid_ml_health_webhook_url.get_secret_value():
        ways.append(WebhookOutlet(settings.hybrid_ml_health_webhook_url))
    return ways


class Sender:
    """Reports on their way, in order along each outlet. `on_done(report)`: one outlet has it, or none will."""

    def __init__(self, ways: list[Outlet], on_done: Callable[[Report], None]) -> None:
        self._on_done = on_done
        self._queues: list[asyncio.Queue[Report]] = [asyncio.Queue() for _ in ways]
        self._tasks = [asyncio.create_task(self._serve(*item)) for item in zip(ways, self._queues, strict=True)]

    def send(self, reports: list[Report]) -> None:
        """Put them on their way; does not wait."""
        for report in reports:
            for queue in self._queues:
                queue.put_nowait(report)
            if not self._queues:
                self._on_done(report)

    async def _serve(self, outlet: Outlet, queue: asyncio.Queue[Report]) -> None:
        while True:
            report = await queue.get()
            problem = await self._with_retry(outlet, report)
            if problem:
                logger.error("%s: a report did not leave: %s", outlet.name, problem)
            self._on_done(report)

    async def _with_retry(self, outlet: Outlet, report: Report) -> str:
        """Try until it is sent, cannot be, or is not worth it any more; why not, if not.

        Where nobody said whether it was taken it is sent once more, marked as a repeat, like an alert.
        """
        wait_seconds, waited, again = FIRST_WAIT_SECONDS, 0.0, False
        while waited < WORTH_SECONDS:
            outcome = await outlet.send(report, again=again)
            if isinstance(outcome, Sent):
                return ""
            if isinstance(outcome, Refused) or (isinstance(outcome, Unknown) and again):
                return outcome.why
            again = again or isinstance(outcome, Unknown)
            requested = outcome.seconds if isinstance(outcome, TryLater) else None
            await asyncio.sleep(max(wait_seconds, requested or 0))
            waited, wait_seconds = waited + wait_seconds, min(2 * wait_seconds, LONGEST_WAIT_SECONDS)
        return "no answer for a day"


async def ping(url: SecretStr, *, good: bool) -> bool:
    """Tell a dead-man's switch of a slot, in healthchecks.io's manner: GET URL, or URL/fail. Whether it answered."""
    address = httpx.URL(url.get_secret_value())
    if not good:
        address = address.copy_with(path=address.path.rstrip("/") + "/fail")
    silence_http_loggers()
    for _ in range(HEARTBEAT_TRIES):
        try:
            async with httpx.AsyncClient(timeout=HEARTBEAT_SECONDS) as client:
                if (await client.get(address)).is_success:
                    return True
        except (httpx.HTTPError, OSError):
            pass
        await asyncio.sleep(1)
    logger.warning("the heartbeat URL does not answer; check HYBRID_ML_HEARTBEAT_URL")
    return False
