"""The destinations of reports: Telegram chats and a webhook; and the URL of a dead-man's switch.

Each has a queue of its own, so that a slow one delays no other. Nothing here needs a database or a
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
from hybrid_ml.pipeline.backoff import backoff_seconds

ANSWER_SECONDS = 10.0
HEARTBEAT_SECONDS, HEARTBEAT_TRIES = 5.0, 3
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 5.0, 300.0
WORTH_SECONDS = 24 * 3_600.0
"""A report that was not sent within a day is dropped."""
LATER = {408, 425, 429}
"""A webhook's status codes after which a retry may succeed, besides 5xx."""
logger = logging.getLogger(__name__)


class Outlet(Protocol):
    """One destination. `name` is fit for a log."""

    name: str

    async def send(self, report: Report, *, again: bool) -> Outcome:
        """Try once. `again`: it may have arrived before."""
        ...


class TelegramOutlet:
    """A chat. Reports ignore quiet hours and /pause."""

    def __init__(self, sender: TelegramSender, chat_id: str) -> None:
        self.name, self._sender, self._chat_id = f"chat {chat_id}", sender, chat_id

    async def send(self, report: Report, *, again: bool) -> Outcome:
        text = "\n".join(escaped(line) for line in report_text(report).splitlines())
        return await self._sender.send(self._chat_id, repeat_mark(text) if again else text, None, None)


class WebhookOutlet:
    """A URL that accepts JSON."""

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
            return (TryLater if never_sent else Unknown)(f"no answer ({type(error).__name__})")
        if answer.is_success:
            return Sent(0)
        if answer.is_server_error or answer.status_code in LATER:
            return TryLater(f"it answers {answer.status_code}")
        return Refused(f"it answers {answer.status_code}; check HYBRID_ML_HEALTH_WEBHOOK_URL")


def as_json(report: Report, *, again: bool = False) -> dict[str, Any]:
    """The JSON for a webhook; times in ISO 8601 with offset. `repeat`: it may have arrived before."""
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
    """The configured destinations. Call it on the event loop that will send."""
    destinations: list[Outlet] = []
    chats = settings.health_chat_ids
    if chats:
        sender = TelegramSender(make_bot(settings.telegram_bot_token, settings.telegram_base_url))
        destinations += [TelegramOutlet(sender, chat_id) for chat_id in chats]
    if settings.hybrid_ml_health_webhook_url.get_secret_value():
        destinations.append(WebhookOutlet(settings.hybrid_ml_health_webhook_url))
    return destinations


class Sender:
    """Sends reports, in order for each outlet. `on_done(report)`: one outlet has sent it, or none will."""

    def __init__(self, destinations: list[Outlet], on_done: Callable[[Report], None]) -> None:
        self._on_done = on_done
        self._queues: list[asyncio.Queue[Report]] = [asyncio.Queue() for _ in destinations]
        self._tasks = [asyncio.create_task(self._serve(*item)) for item in zip(destinations, self._queues, strict=True)]

    def send(self, reports: list[Report]) -> None:
        """Queue reports; does not wait."""
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
                logger.error("%s: a report was not sent: %s", outlet.name, problem)
            self._on_done(report)

    async def _with_retry(self, outlet: Outlet, report: Report) -> str:
        """Try until it is sent, cannot be, or is too old; returns the reason where it was not sent.

        Where it is not known whether it was taken it is sent once more, marked as a repeat, like an alert.
        """
        failures, waited_seconds, again = 0, 0.0, False
        while waited_seconds < WORTH_SECONDS:
            outcome = await outlet.send(report, again=again)
            if isinstance(outcome, Sent):
                return ""
            if isinstance(outcome, Refused) or (isinstance(outcome, Unknown) and again):
                return outcome.why
            again = again or isinstance(outcome, Unknown)
            requested = outcome.seconds if isinstance(outcome, TryLater) else None
            failures += 1
            wait_seconds = backoff_seconds(failures, LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS)
            waited_seconds += wait_seconds
            await asyncio.sleep(max(wait_seconds, requested or 0))
        return "no answer for a day"


async def ping(url: SecretStr, *, good: bool) -> bool:
    """Report a slot to a dead-man's switch like healthchecks.io: GET URL, or URL/fail. Whether it answered."""
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
