"""The list of an exchange's markets, kept for an hour: it has megabytes, and every run needs one line of it."""

import json
import os
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hybrid_ml.feeds.ccxt_exchange import CcxtExchange
from hybrid_ml.feeds.limited_client import Unusable

MOST_AGE = timedelta(hours=1)
ONE_AT_A_TIME = threading.Lock()
"""So that symbols side by side ask for the list once."""


class Markets:
    """The markets of `exchange`, as ccxt writes them; a copy is in `folder` for other processes."""

    def __init__(self, exchange: CcxtExchange, folder: Path) -> None:
        self._exchange, self._path = exchange, folder / f"{exchange.name}.json"
        self._markets: dict[str, Any] = {}
        self._asked_at: datetime | None = None

    def named(self, symbol: str) -> dict[str, Any] | None:
        """The market of `symbol`, None where there is none; raises as CcxtExchange.asked."""
        with ONE_AT_A_TIME:
            now = self._exchange.server_now()
            if not self._is_fresh(now):
                self._read(now)
            if not self._is_fresh(now):
                self._ask()
        found: dict[str, Any] | None = self._markets.get(symbol)
        return found

    @property
    def symbols(self) -> list[str]:
        """All that are known now."""
        return list(self._markets)

    def _is_fresh(self, now: datetime) -> bool:
        return self._asked_at is not None and abs(now - self._asked_at) < MOST_AGE

    def _ask(self) -> None:
        def listed(exchange: Any) -> list[dict[str, Any]]:
            markets = exchange.fetch_markets()
            if not markets or not all(isinstance(market.get("symbol"), str) for market in markets):
                raise Unusable("no list of markets")
            return list(markets)

        self._take(self._exchange.asked(listed), self._exchange.server_now())
        kept = {"address": self._exchange.address, "at": str(self._asked_at), "markets": list(self._markets.values())}
        new = self._path.with_suffix(f".{os.getpid()}")
        with suppress(OSError, TypeError):  # it only saves time
            self._path.parent.mkdir(parents=True, exist_ok=True)
            new.write_text(json.dumps(kept), encoding="utf-8")
            new.replace(self._path)

    def _read(self, now: datetime) -> None:
        with suppress(OSError, ValueError, LookupError, TypeError):  # a file that is damaged is written again
            kept = json.loads(self._path.read_text(encoding="utf-8"))
            at = datetime.fromisoformat(kept["at"]).astimezone(UTC)
            if kept["address"] == self._exchange.address and abs(now - at) < MOST_AGE:
                self._take(kept["markets"], at)

    def _take(self, markets: list[dict[str, Any]], at: datetime) -> None:
        # Of several kinds of markets by one name the spot market counts.
        self._markets = {market["symbol"]: market for market in sorted(markets, key=lambda one: bool(one.get("spot")))}
        self._asked_at = at
