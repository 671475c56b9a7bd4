"""An exchange as ccxt knows it, asked by our own client: within its budget, errors by status.

Nothing of ccxt's own transport is used: it turns an answer that is no JSON into bars of None, calls 403, 404 and 451
network errors, which would be tried again, and limits one object in one process. Importing ccxt takes a third of a
second, so only who opens such a feed imports this module.
"""

import difflib
import re
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

import ccxt

from hybrid_ml.errors import ExchangeRefused, one_line
from hybrid_ml.feeds.limited_client import LimitedClient, Remedies, Unusable

MINUTE = "1m"
WEIGHT = 1
FASTEST_MILLISECONDS = 50.0
"""Some exchanges state no limit; twenty requests a second are enough for anybody."""
REMEDIES = Remedies(
    "use another exchange, or name an address that serves it in HYBRID_ML_EXCHANGE_URLS",
    "correct the request, or ask for fewer days where it says that they are too old",
)
BRIEF_PAUSE_SECONDS = 10.0
"""After an answer that names too many requests in its body, as Kraken's do, which does not say for how long."""
Result = TypeVar("Result")


def new_exchange(name: str, options: Mapping[str, Any] | None = None) -> Any:
    """ccxt's object of exchange `name` with its `options`.

    Raises ExchangeRefused where ccxt has no such exchange, with the nearest names, or it has no one-minute bars.
    """
    if name not in ccxt.exchanges:
        nearest = difflib.get_close_matches(name, [*ccxt.exchanges, "sql"], n=3)
        hint = f"did you mean {', '.join(nearest)}?" if nearest else "see https://docs.ccxt.com for their names"
        raise ExchangeRefused(f"there is no exchange {one_line(name, 40)} in ccxt {ccxt.__version__}; {hint}")
    exchange = getattr(ccxt, name)({"enableRateLimit": False, "options": dict(options or {})})
    if exchange.has.get("fetchOHLCV") is not True or MINUTE not in (exchange.timeframes or {}):
        raise ExchangeRefused(
            f"{name} has no one-minute bars in its public API; use another exchange, or load files with --source file"
        )
    return exchange


def milliseconds_a_request(exchange: Any) -> float:
    """How far apart requests of all processes at this address are to be."""
    return max(float(exchange.rateLimit or 0), FASTEST_MILLISECONDS)


class CcxtExchange:
    """Exchange `name`, asked at `address` where it is not empty, by `client`. Any number of threads may use it.

    `options`: ccxt's of this exchange.
    """

    def __init__(
        self, name: str, client: LimitedClient, address: str = "", options: Mapping[str, Any] | None = None
    ) -> None:
        self.name, self._client, self.address, self._options = name, client, address, options
        self._local = threading.local()  # an object of ccxt keeps its last request, and is for one thread

    def server_now(self) -> datetime:
        """The exchange's clock, by the Date header of its answers."""
        return self._client.server_now()

    @property
    def knows_clock(self) -> bool:
        """Whether an answer has shown it."""
        return self._client.knows_clock

    def asked(self, work: Callable[[Any], Result]) -> Result:
        """What `work` makes of the exchange, tried again where that can help; raises as LimitedClient.tried.

        An answer in which ccxt finds a refusal is one; an answer of another shape than it expects is unusable.
        """
        return self._client.tried(lambda: self._once(work))

    def _once(self, work: Callable[[Any], Result]) -> Result:
        try:
            return work(self._exchange())
        except Unusable:
            raise
        except (ccxt.RateLimitExceeded, ccxt.DDoSProtection) as error:
            self._client.pause(BRIEF_PAUSE_SECONDS)
            raise Unusable(f"too many requests ({one_line(error, 80)})") from None
        except ccxt.OperationFailed as error:
            raise Unusable(one_line(error, 80)) from None
        except ccxt.BaseError as error:
            raise ExchangeRefused(f"{self.name} refuses ({one_line(error, 80)}): {REMEDIES.request}") from None
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise Unusable(f"an answer that ccxt cannot read ({type(error).__name__})") from None

    def _exchange(self) -> Any:
        if not hasattr(self._local, "exchange"):
            exchange = new_exchange(self.name, self._options)
            exchange.urls["api"] = _moved(exchange.urls["api"], self.address)
            exchange.fetch = self._fetch_for(exchange)
            self._local.exchange = exchange
        return self._local.exchange

    def _fetch_for(self, exchange: Any) -> Callable[..., Any]:
        def fetch(url: str, method: str = "GET", headers: Any = None, body: Any = None) -> Any:
            """In the place of ccxt's own, with its parameters: the answer's JSON."""
            sent_headers = exchange.prepare_request_headers(headers)
            reply = self._client.send(method, url, WEIGHT, headers=sent_headers, content=body)
            text = reply.body.decode(errors="replace").strip()
            answer = exchange.parse_json(text)
            if answer is None:
                raise Unusable(f"no JSON: {one_line(text, 80) or 'nothing'}")
            exchange.handle_errors(200, "OK", url, method, dict(reply.headers), text, answer, sent_headers, body)
            return answer

        return fetch


def _moved(addresses: Any, address: str) -> Any:
    """ccxt's addresses, their schemes and hosts replaced by `address` unless that is empty."""
    if isinstance(addresses, dict):
        return {key: _moved(value, address) for key, value in addresses.items()}
    return re.sub(r"^https?://[^/]+", address, addresses) if address and isinstance(addresses, str) else addresses
