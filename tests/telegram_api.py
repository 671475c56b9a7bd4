"""State and behaviour of the loopback Bot API: chats, messages, updates, scheduled faults, a log of every request."""

import json
import random
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.telegram_rules import Limits, problem_with_text

TOKEN = "123456:not-a-real-token"
BOT_NAME = "loopback_bot"
POLL_SECONDS = 0.02

LOST = {"hang_before", "drop_before"}
"""The request is not processed and nothing is answered."""
CUT_SHORT = {"hang_after", "drop_after"}
"""The request is processed, and nothing is answered."""
LATE = {"drop_half_way", "garbage"}
"""The request is processed, and the answer is damaged."""
REFUSED = {"too_many", "error_500", "bad_gateway"}
"""The request is not processed, and the answer has an error status."""
FAULTS = sorted(LOST | CUT_SHORT | LATE | REFUSED | {"slow"})

Answer = tuple[int, dict[str, Any]]


@dataclass(frozen=True)
class Fault:
    """The fault of the next request; `retry_after_seconds` is for "too_many"."""

    kind: str
    retry_after_seconds: int = 1

    def __post_init__(self) -> None:
        if self.kind not in FAULTS:
            raise ValueError(f"no fault {self.kind!r}; there are {', '.join(FAULTS)}")


class FaultPlan:
    """Random faults in the configured shares of the sends, the same for the same seed."""

    def __init__(self, seed: int, shares: dict[str, float], retry_after_seconds: int = 1) -> None:
        self._random = random.Random(seed)  # noqa: S311  # deterministic on purpose
        self._faults = [Fault(kind, retry_after_seconds) for kind in shares]
        self._shares = list(shares.values())
        if sum(self._shares) > 1:
            raise ValueError(f"shares of faults add up to {sum(self._shares):g}; at most 1")

    def next(self) -> Fault | None:
        """Choose for one request."""
        chosen = self._random.choices([*self._faults, None], [*self._shares, 1 - sum(self._shares)])
        return chosen[0]


@dataclass(frozen=True)
class Form:
    """The fields of a request, and the picture where there is one."""

    fields: dict[str, str]
    picture: bytes = b""


@dataclass
class Row:
    """One request. `at`: when its head arrived, in seconds since 1970; `answered_with`: a status, "half" or "nothing".

    `acknowledged`: a complete answer 200 was written to the connection. `too_early`: it arrived before the chat's
    last retry_after was over. `violation`: it exceeded the limits.
    """

    number: int
    at: float
    method: str
    chat_id: str
    text: str
    picture_bytes: int = 0
    picture_is_png: bool = False
    fault: str = ""
    message_id: int | None = None
    answered_with: int | str = ""
    acknowledged: bool = False
    violation: bool = False
    too_early: bool = False


@dataclass
class BotApi:
    """Messages that were sent, and the next answers; without an order it answers as Telegram does.

    `orders`: for the next sends, a Fault or (status, body); `orders_to[chat_id]`: for the next sends to that chat;
    `orders_of[method]`: for other methods.
    `known_chats`: None for every chat. `administrators`: of a group, by its number.
    `messages`: what was processed, in order, with its message_id.
    `polls`: number of polls begun; their rows are logged when they end.
    """

    base_url: str = ""
    log: Path | None = None
    plan: FaultPlan | None = None
    limits: Limits | None = None
    token: str = TOKEN
    hang_seconds: float = 60.0
    webhook: str = ""
    known_chats: set[str] | None = None
    blocked_chats: set[str] = field(default_factory=set)
    migrated_chats: dict[str, int] = field(default_factory=dict)
    administrators: dict[str, set[int]] = field(default_factory=dict)
    messages: list[dict[str, str]] = field(default_factory=list)
    orders: list[Fault | Answer] = field(default_factory=list)
    orders_to: dict[str, list[Fault | Answer]] = field(default_factory=dict)
    orders_of: dict[str, list[Fault | Answer]] = field(default_factory=dict)
    updates: list[dict[str, Any]] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    connections: set[socket.socket] = field(default_factory=set)
    lock: threading.RLock = field(default_factory=threading.RLock)
    stopping: threading.Event = field(default_factory=threading.Event)
    polls: int = 0
    _silent_until: dict[str, float] = field(default_factory=dict)
    _answers: dict[int, Answer] = field(default_factory=dict)
    _begun: int = 0
    _update_id: int = 1_000

    @property
    def violations(self) -> int:
        """Number of requests beyond the limits or before a retry_after was over."""
        return sum(row.violation or row.too_early for row in self.rows)

    def say(self, text: str, chat_id: int = 42, user_id: int = 42, *, at: float | None = None, **fields: Any) -> int:
        """A person writes to the bot; returns the update's id. `fields` are added to the message."""
        chat = {"id": chat_id, "type": "private" if chat_id > 0 else "supergroup"}
        person = {"id": user_id, "is_bot": False, "first_name": "P"}
        date = int(time.time() if at is None else at)
        message = {"message_id": self._update_id, "date": date, "chat": chat, "from": person, "text": text, **fields}
        return self.update(message=message)

    def update(self, update_id: int | None = None, **content: Any) -> int:
        """Add any update; ids continue from the last one."""
        with self.lock:
            self._update_id = self._update_id + 1 if update_id is None else update_id
            self.updates.append({"update_id": self._update_id, **content})
            return self._update_id

    def begin(self, at: float, token: str, method: str, form: Form) -> Row:
        """A request has arrived: its row, with the fault chosen for it."""
        fields = form.fields
        with self.lock:
            self._begun += 1
            row = Row(self._begun, at, method, fields.get("chat_id", ""), fields.get("text", fields.get("caption", "")))
            row.picture_bytes, row.picture_is_png = len(form.picture), form.picture.startswith(b"\x89PNG\r\n\x1a\n")
            if token == self.token:
                self._choose_fault(row, method)
            return row

    def _choose_fault(self, row: Row, method: str) -> None:
        sends = method.startswith("send")
        orders = self.orders_to.get(row.chat_id) or self.orders if sends else self.orders_of.get(method, [])
        order = orders.pop(0) if orders else self.plan.next() if self.plan and sends else None
        if isinstance(order, tuple):
            row.fault, self._answers[row.number] = "ordered", order
        elif order is not None:
            row.fault = order.kind
            if order.kind == "too_many":
                self._answers[row.number] = _too_many(order.retry_after_seconds)
            elif order.kind == "error_500":
                self._answers[row.number] = _refusal(500, "Internal Server Error")

    def keep(self, row: Row) -> None:
        """Log a request; logged again if its result changes: in the file its last line counts."""
        with self.lock:
            if row not in self.rows[-100:]:
                self.rows.append(row)
            if self.log is not None:
                with self.log.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(row)) + "\n")

    def reply(self, token: str, method: str, form: Form, row: Row, client_has_left: Callable[[float], bool]) -> Answer:
        """Process the request, unless it has a fault, and return the answer."""
        if token != self.token:
            return _refusal(401, "Unauthorized") if ":" in token else _refusal(404, "Not Found")
        if method == "getUpdates" and row.number not in self._answers:
            return self._get_updates(form.fields, client_has_left)
        with self.lock:
            if method.startswith("send"):
                answer = self._flood_control(row) or self._answers.get(row.number) or self._send(method, form, row)
                if answer[0] == 429:
                    wait = answer[1].get("parameters", {}).get("retry_after", 0)
                    self._silent_until[row.chat_id] = time.time() + wait
                return answer
            return self._answers.get(row.number) or self._other(method, row)

    def _other(self, method: str, row: Row) -> Answer:
        if method == "getMe":
            return _done({"id": 1, "is_bot": True, "first_name": "Bot", "username": BOT_NAME})
        if method == "getWebhookInfo":
            return _done({"url": self.webhook, "has_custom_certificate": False, "pending_update_count": 0})
        if method == "getChatAdministrators":
            if row.chat_id not in self.administrators:
                return _refusal(400, "Bad Request: chat not found")
            people = [{"id": user, "is_bot": False, "first_name": "A"} for user in self.administrators[row.chat_id]]
            return _done([{"status": "administrator", "user": person} for person in people])
        if method == "deleteWebhook":
            self.webhook = ""
        return _done(True) if method in ("deleteWebhook", "setMyCommands") else _refusal(404, "Not Found")

    def _flood_control(self, row: Row) -> Answer | None:
        row.too_early = row.at < self._silent_until.get(row.chat_id, 0.0)
        wait = self.limits.wait_seconds(row.chat_id, time.monotonic()) if self.limits else 0
        row.violation = wait > 0
        return _too_many(wait) if wait else None

    def _send(self, method: str, form: Form, row: Row) -> Answer:
        refusal = self._refused(method, form, row)
        if refusal is not None:
            return refusal
        row.message_id = len(self.messages) + 1
        self.messages.append({**form.fields, "message_id": str(row.message_id), "method": method})
        if form.picture:
            self.messages[-1]["picture_bytes"] = str(row.picture_bytes)
        private = row.chat_id.lstrip("-").isdigit() and not row.chat_id.startswith("-")
        chat = {"id": -1001 if row.chat_id.startswith("@") else int(row.chat_id)}
        chat["type"] = "private" if private else "supergroup"
        return _done({"message_id": row.message_id, "date": int(time.time()), "chat": chat})

    def _refused(self, method: str, form: Form, row: Row) -> Answer | None:
        chat_id = row.chat_id
        is_valid_id = chat_id.startswith("@") or chat_id.lstrip("-").isdigit()
        if not is_valid_id or (self.known_chats is not None and chat_id not in self.known_chats):
            return _refusal(400, "Bad Request: chat not found")
        if chat_id in self.blocked_chats:
            return _refusal(403, "Forbidden: bot was blocked by the user")
        if chat_id in self.migrated_chats:
            text = "Bad Request: group chat was upgraded to a supergroup chat"
            return _refusal(400, text, migrate_to_chat_id=self.migrated_chats[chat_id])
        if method == "sendPhoto" and not row.picture_is_png:
            return _refusal(400, "Bad Request: IMAGE_PROCESS_FAILED")
        problem = problem_with_text(row.text, form.fields.get("parse_mode", ""), caption=method == "sendPhoto")
        if problem is None:
            problem = self._problem_with_reply(chat_id, json.loads(form.fields.get("reply_parameters", "{}")))
        return _refusal(400, problem) if problem else None

    def _problem_with_reply(self, chat_id: str, reply: dict[str, Any]) -> str | None:
        if not reply or reply.get("allow_sending_without_reply"):
            return None
        known = any(
            message["message_id"] == str(reply["message_id"])
            for message in self.messages
            if message["chat_id"] == chat_id
        )
        return None if known else "Bad Request: message to be replied not found"

    def _get_updates(self, fields: dict[str, str], client_has_left: Callable[[float], bool]) -> Answer:
        """Long polling: a later poll ends an earlier one, an offset confirms all updates below it."""
        if self.webhook:
            text = "can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first"
            return _refusal(409, f"Conflict: {text}")
        offset, limit = int(fields.get("offset", 0)), int(fields.get("limit", 100))
        end = time.monotonic() + float(fields.get("timeout", 0))
        with self.lock:
            self.polls += 1
            own_poll = self.polls
            first = offset if offset >= 0 else min([update["update_id"] for update in self.updates][offset:], default=0)
            self.updates[:] = [update for update in self.updates if update["update_id"] >= first]
        while True:
            with self.lock:
                if self.polls != own_poll:
                    text = "terminated by other getUpdates request; make sure that only one bot instance is running"
                    return _refusal(409, f"Conflict: {text}")
                if self.updates or time.monotonic() >= end or self.stopping.is_set():
                    return _done(self.updates[:limit])
            if client_has_left(POLL_SECONDS):
                return _done([])


def _done(result: Any) -> Answer:
    return 200, {"ok": True, "result": result}


def _refusal(status: int, description: str, **parameters: int) -> Answer:
    body: dict[str, Any] = {"ok": False, "error_code": status, "description": description}
    return status, {**body, "parameters": parameters} if parameters else body


def _too_many(seconds: int) -> Answer:
    return _refusal(429, f"Too Many Requests: retry after {seconds}", retry_after=seconds)
