"""Requests to an exchange: within its budget, tried again where that can help, judged by their status."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Protocol, TypeVar

import httpx

from hybrid_ml.errors import ExchangeRefused, ExchangeUnavailable, one_line
from hybrid_ml.feeds.feed import Clock, Wait

TIMEOUT_SECONDS = 20.0
MOST_TRIES = 6
FIRST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS = 0.5, 30.0
TOO_MANY, BANNED = 429, 418
BAN_SECONDS = 120.0
"""The shortest ban of Binance, for a 418 that does not state how long."""
PAUSE_SECONDS = 60.0
"""The length of a budget, for a 429 that does not state how long."""
NAMED_WEIGHT = "X-MBX-USED-WEIGHT-1M"
Result = TypeVar("Result")


class Unusable(ValueError):
    """An answer that another try may replace; the message says what is wrong with it."""


class Limits(Protocol):
    """The budget that requests are taken from; see SharedBudget."""

    def reserve(self, weight: int, now: datetime) -> float: ...
    def report(self, weight_used: int, now: datetime) -> None: ...
    def block(self, seconds: float, now: datetime) -> None: ...


@dataclass(frozen=True)
class Reply:
    """The body and the headers of an answer of status 200, and the exchange's clock when it answered."""

    body: bytes
    server_now: datetime
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Remedies:
    """What to do about a refusal: of this `place` or network, and of the `request`."""

    place: str
    request: str


BINANCE_REMEDIES = Remedies(
    "use another exchange (--exchange binanceus), or name an address that serves it in HYBRID_ML_BINANCE_URL, such as "
    "https://data-api.binance.vision",
    "correct the request, or HYBRID_ML_BINANCE_URL where it names another address",
)


class LimitedClient:
    """Requests to one exchange; any number of threads may send them.

    `chance` gives numbers from 0 to 1 for the jitter of waits. The exchange's clock is `clock` plus an offset that
    each answer's Date header measures; that header has whole seconds, so it is up to a second behind, never ahead.
    """

    def __init__(
        self,
        name: str,
        client: httpx.Client,
        limits: Limits,
        clock: Clock,
        wait: Wait,
        chance: Callable[[], float],
        remedies: Remedies = BINANCE_REMEDIES,
    ) -> None:
        self._name, self._client, self._limits, self._remedies = name, client, limits, remedies
        self._clock, self._wait, self._chance = clock, wait, chance
        self._offset: timedelta | None = None

    @property
    def knows_clock(self) -> bool:
        """Whether an answer has shown the exchange's clock."""
        return self._offset is not None

    def server_now(self) -> datetime:
        """The exchange's clock; this machine's before the first answer."""
        return self._clock() + (self._offset or timedelta(0))

    def get(
        self, path: str, parameters: Mapping[str, str | int], weight: int, read: Callable[[Reply], Result]
    ) -> Result:
        """What `read` makes of the answer to a GET; `read` raises Unusable where it is none. See `tried`."""
        asked = dict(parameters)
        return self.tried(lambda: read(self.send("GET", path, weight, params=asked)))

    def tried(self, work: Callable[[], Result]) -> Result:
        """What `work` returns, which uses `send` and raises Unusable where an answer is none.

        Timeouts, cut connections, 429, 418, 5xx and unusable answers are tried again, MOST_TRIES in all, with waits
        that double and vary. Raises ExchangeRefused for any other status, ExchangeUnavailable after the last try.
        """
        problem = ""
        for tried in range(MOST_TRIES):
            if tried:
                self._wait(self._backoff_seconds(tried))
            try:
                return work()
            except Unusable as error:
                problem = str(error)
            except httpx.RequestError as error:
                problem = f"{type(error).__name__} {one_line(error)} ({_address(error)})"
        raise ExchangeUnavailable(
            f"{self._name} gave no usable answer in {MOST_TRIES} tries, the last: {problem}; "
            "what was loaded is kept, and the next load continues after it"
        )

    def send(self, method: str, url: str, weight: int, **parts: Any) -> Reply:
        """The reply to one request, which waits for its place in the budget; for use within `tried`.

        `parts`: params, headers or content, as httpx takes them.
        """
        while seconds := self._limits.reserve(weight, self.server_now()):
            self._wait(seconds)
        return self._answered(self._client.request(method, url, **parts))

    def pause(self, seconds: float) -> None:
        """Let no process send a request to this exchange for so long."""
        self._limits.block(seconds, self.server_now())

    def _backoff_seconds(self, tried: int) -> float:
        longest = min(FIRST_BACKOFF_SECONDS * 2**tried, LONGEST_BACKOFF_SECONDS)
        return longest * (0.5 + self._chance() / 2)

    def _answered(self, response: httpx.Response) -> Reply:
        """The reply of a 200. Raises Unusable where another try may help, ExchangeRefused where none does."""
        self._note_clock(response)
        now = self.server_now()
        with suppress(KeyError, ValueError):
            self._limits.report(int(response.headers[NAMED_WEIGHT]), now)
        status = response.status_code
        if status in (TOO_MANY, BANNED):
            seconds = _retry_after_seconds(response, BAN_SECONDS if status == BANNED else PAUSE_SECONDS)
            self.pause(seconds)
            raise Unusable(f"{status}, too many requests, for {seconds:,.0f} s")
        if status >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise Unusable(f"status {status}")
        if status != httpx.codes.OK:
            raise self._refusal(response)
        if self._offset is None:
            raise Unusable("no Date header, so that nobody knows which bars are final")
        return Reply(response.content, now, response.headers)

    def _note_clock(self, response: httpx.Response) -> None:
        with suppress(KeyError, ValueError):
            stated = parsedate_to_datetime(response.headers["Date"])
            self._offset = stated.replace(tzinfo=stated.tzinfo or UTC) - self._clock()

    def _refusal(self, response: httpx.Response) -> ExchangeRefused:
        code, message = _stated_problem(response)
        status = response.status_code
        if status in (httpx.codes.FORBIDDEN, httpx.codes.UNAVAILABLE_FOR_LEGAL_REASONS):
            remedy = f"it does not serve this place or network; {self._remedies.place}"
        else:
            remedy = self._remedies.request
        return RefusedWithCode(f"{self._name} answered {status} ({message}): {remedy}", code)


class RefusedWithCode(ExchangeRefused):
    """A refusal with the exchange's own code, None where it states none."""

    def __init__(self, message: str, code: int | None) -> None:
        super().__init__(message)
        self.code = code


def _address(error: httpx.RequestError) -> str:
    """The host that did not answer; without the path, which may be long."""
    try:
        return f"{error.request.url.scheme}://{error.request.url.netloc.decode()}"
    except RuntimeError:  # it failed before there was a request
        return "no request was sent"


def _retry_after_seconds(response: httpx.Response, otherwise: float) -> float:
    """The seconds of a Retry-After header; at least one."""
    with suppress(KeyError, ValueError):
        return max(1.0, float(int(response.headers["Retry-After"])))
    return otherwise


def _stated_problem(response: httpx.Response) -> tuple[int | None, str]:
    """Code and message in the body of a refusal: {"code": -1121, "msg": "Invalid symbol."}, else its beginning."""
    with suppress(ValueError, KeyError, TypeError):
        body = response.json()
        return int(body["code"]), one_line(body["msg"])
    return None, one_line(response.text, 80) or "no text"
