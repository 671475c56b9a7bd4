"""Binance and Binance US: bars of one minute by /api/v3/klines, which needs no account.

Plain HTTP rather than ccxt: its `fetch_ohlcv` drops quote volume, number of trades and taker-buy volume, turns an
answer that is no JSON into bars of None, and its exceptions do not separate 451 from a timeout.
"""

import difflib
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd

from hybrid_ml.errors import ExchangeRefused, HybridMLError
from hybrid_ml.feeds.feed import PAGE_MINUTES, Answer, HistoryLimit, final_through
from hybrid_ml.feeds.klines import NotKlines, parse_klines
from hybrid_ml.feeds.limited_client import LimitedClient, RefusedWithCode, Reply, Unusable
from hybrid_ml.market.bars import BAR_LENGTH
from hybrid_ml.store.coverage import Instrument

KLINES, EXCHANGE_INFO, TIME = "/api/v3/klines", "/api/v3/exchangeInfo", "/api/v3/time"
KLINES_WEIGHT, EXCHANGE_INFO_WEIGHT, TIME_WEIGHT = 2, 20, 1
INVALID_SYMBOL, ILLEGAL_CHARACTERS = -1121, -1100
BUDGET_SHARE = 0.95
"""Of the exchange's limit. What other programs at this address use is in its answers, and counts."""
BEGINNING, END = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Exchange:
    """Address and limit of an exchange that speaks Binance's language; `weight_per_minute` is allowed an address."""

    name: str
    url: str
    weight_per_minute: int

    @property
    def most_weight(self) -> int:
        """The weight that all our processes use in a minute at most."""
        return int(self.weight_per_minute * BUDGET_SHARE)


EXCHANGES = {
    exchange.name: exchange
    for exchange in (
        Exchange("binance", "https://api.binance.com", 6_000),
        Exchange("binanceus", "https://api.binance.us", 1_200),
    )
}


class BinanceFeed:
    """The feed of one exchange of EXCHANGES. `settling_seconds`: how long after its minute a bar counts as final."""

    def __init__(self, exchange: Exchange, client: LimitedClient, settling_seconds: float) -> None:
        self._exchange, self._client, self._settling_seconds = exchange, client, settling_seconds

    @property
    def name(self) -> str:
        return self._exchange.name

    @property
    def limit(self) -> HistoryLimit | None:
        return None

    @property
    def states_empty_minutes(self) -> bool:
        return True

    def describe(self, symbol: str) -> tuple[Instrument, datetime]:
        """When `symbol` was listed and, where it is not traded now, its last bar; and until when bars are final.

        Raises ExchangeRefused, with the nearest names, where there is no such symbol.
        """
        try:
            first, final = self._klines(symbol, BEGINNING, END, startTime=0, limit=1)
        except RefusedWithCode as error:
            if error.code not in (INVALID_SYMBOL, ILLEGAL_CHARACTERS):
                raise
            raise self._unknown(symbol) from None
        listed_at = _first_time(first)
        delisted_at = None
        if listed_at is not None and not self._is_traded(symbol):
            newest, final = self._klines(symbol, BEGINNING, END, limit=1)
            last = _first_time(newest)
            delisted_at = last + BAR_LENGTH if last is not None else None
        return Instrument(symbol, self.name, symbol, listed_at, delisted_at), final

    def read_clock(self) -> datetime:
        """See Feed; to the millisecond, which the Date header of other answers is not."""
        return self._client.get(TIME, {}, TIME_WEIGHT, _server_time)

    def fetch(self, instrument: Instrument, since: datetime, until: datetime) -> Answer:
        """See Feed. An answer that ends early is asked for its rest: only an empty one means that there is no more."""
        symbol = instrument.feed_symbol
        found, final = self._page(symbol, since, until)
        while not found.empty and (rest_at := found["time"].iloc[-1].to_pydatetime() + BAR_LENGTH) < min(until, final):
            rest, _ = self._page(symbol, rest_at, until)
            if rest.empty:
                break
            found = pd.concat([found, rest], ignore_index=True)
        return Answer(_before(found, final), final)

    def _page(self, symbol: str, since: datetime, until: datetime) -> tuple[pd.DataFrame, datetime]:
        """The rows of one request that were final when it was answered: a later answer says nothing about them."""
        asked = {"startTime": _milliseconds(since), "endTime": _milliseconds(until) - 1, "limit": PAGE_MINUTES}
        rows, final = self._klines(symbol, since, until, **asked)
        return _before(rows, final), final

    def _klines(self, symbol: str, since: datetime, until: datetime, **asked: int) -> tuple[pd.DataFrame, datetime]:
        """Rows of one request, the newest perhaps not final, and until when they are final."""

        def read(reply: Reply) -> tuple[pd.DataFrame, datetime]:
            try:
                rows = parse_klines(reply.body, since, until)
            except NotKlines as error:
                raise Unusable(str(error)) from None
            return rows, final_through(reply.server_now, self._settling_seconds)

        return self._client.get(KLINES, {"symbol": symbol, "interval": "1m", **asked}, KLINES_WEIGHT, read)

    def _is_traded(self, symbol: str) -> bool:
        """Whether the exchange lists the symbol as traded now; a symbol that was removed has bars and no entry."""
        try:
            listed = self._client.get(EXCHANGE_INFO, {"symbol": symbol}, EXCHANGE_INFO_WEIGHT, _symbols)
        except RefusedWithCode as error:
            if error.code != INVALID_SYMBOL:
                raise
            return False
        return any(entry.get("status") == "TRADING" for entry in listed)

    def _unknown(self, symbol: str) -> ExchangeRefused:
        try:
            listed = self._client.get(EXCHANGE_INFO, {}, EXCHANGE_INFO_WEIGHT, _symbols)
        except HybridMLError:  # the names are a help; the symbol is unknown without them, too
            listed = []
        names = [str(entry.get("symbol")) for entry in listed]
        plain = "".join(letter for letter in symbol.upper() if letter.isalnum())
        nearest = difflib.get_close_matches(plain, names, n=3)
        hint = f"did you mean {', '.join(nearest)}?" if nearest else "write it as the exchange does, such as BTCUSDT"
        return ExchangeRefused(f"{self.name} has no symbol {symbol}; {hint}")


def _symbols(reply: Reply) -> list[dict[str, Any]]:
    try:
        listed = json.loads(reply.body)["symbols"]
        if isinstance(listed, list) and all(isinstance(entry, dict) for entry in listed):
            return listed
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise Unusable("no list of symbols")


def _server_time(reply: Reply) -> datetime:
    try:
        return BEGINNING + timedelta(milliseconds=int(json.loads(reply.body)["serverTime"]))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        raise Unusable("no serverTime") from None


def _before(rows: pd.DataFrame, end: datetime) -> pd.DataFrame:
    return rows.iloc[: rows["time"].searchsorted(pd.Timestamp(end))]


def _first_time(rows: pd.DataFrame) -> datetime | None:
    return None if rows.empty else rows["time"].iloc[0].to_pydatetime()


def _milliseconds(time: datetime) -> int:
    return (time - BEGINNING) // timedelta(milliseconds=1)
