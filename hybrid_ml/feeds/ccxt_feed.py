"""Feeds of ccxt's exchanges. They state prices and volume only: quote volume and trades are dropped by ccxt."""

import difflib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import numpy as np
import pandas as pd
from sqlalchemy import Engine

from hybrid_ml.config.settings import Settings
from hybrid_ml.errors import ExchangeRefused, one_line
from hybrid_ml.feeds.bar_rows import NotBars, bar_rows
from hybrid_ml.feeds.ccxt_exchange import MINUTE, REMEDIES, CcxtExchange, milliseconds_a_request, new_exchange
from hybrid_ml.feeds.feed import PAGE_MINUTES, Answer, Clock, HistoryLimit, Wait, final_through
from hybrid_ml.feeds.history import SILENT_MINUTES, older_bars
from hybrid_ml.feeds.limited_client import TIMEOUT_SECONDS, LimitedClient, Unusable
from hybrid_ml.feeds.markets import Markets
from hybrid_ml.feeds.pace import Pace
from hybrid_ml.feeds.shared_budget import SharedBudget
from hybrid_ml.market.bars import BAR_LENGTH, VALUE_COLUMNS
from hybrid_ml.store.coverage import Instrument

LIMITS = {"kraken": HistoryLimit(720, "Kraken's archive of OHLCVT files")}
BEGINNING, END = datetime(2010, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
"""Before the first exchange. Some take the time 0 for none."""
LONG_BARS = {"1M": timedelta(days=31), "1w": timedelta(weeks=1), "1d": timedelta(days=1)}
"""Bars by which the listing of a symbol is found, the longest first, so that one request goes back to it."""
USUAL_PAGE = 300
WITH_EMPTY_MINUTES = {"kraken"}
"""Recorded: its answers have rows of volume 0. Others are known to leave such minutes out, or not known."""
PACE_SHARE = 0.8
"""Of what an exchange allows; these answers do not state what other programs at this address use."""


@contextmanager
def open_ccxt_feed(
    name: str, settings: Settings, engine: Engine, clock: Clock, wait: Wait, chance: Callable[[], float]
) -> Iterator["CcxtFeed"]:
    """The feed of exchange `name`; see open_feed. Raises ExchangeRefused where ccxt has none with one-minute bars."""
    apart = milliseconds_a_request(new_exchange(name))
    most_weight = max(1, int(60_000 / apart * PACE_SHARE))
    limits = Pace(SharedBudget(engine, name, most_weight), apart / 1_000, clock)
    with httpx.Client(timeout=TIMEOUT_SECONDS) as http:
        client = LimitedClient(name, http, limits, clock, wait, chance, REMEDIES)
        exchange = CcxtExchange(name, client, settings.exchange_urls.get(name, ""))
        yield CcxtFeed(exchange, Markets(exchange, settings.data_dir / "markets"), settings.hybrid_ml_settling_seconds)


class CcxtFeed:
    """The feed of one exchange; any number of threads may use it. `settling_seconds`: as in BinanceFeed."""

    def __init__(self, exchange: CcxtExchange, markets: Markets, settling_seconds: float) -> None:
        self._exchange, self._markets, self._settling_seconds = exchange, markets, settling_seconds

    @property
    def name(self) -> str:
        return self._exchange.name

    @property
    def limit(self) -> HistoryLimit | None:
        return LIMITS.get(self.name)

    @property
    def states_empty_minutes(self) -> bool:
        return self.name in WITH_EMPTY_MINUTES

    def describe(self, symbol: str) -> tuple[Instrument, datetime]:
        """See Feed. Listed as the exchange says, else with its first long bar: some days early, never late."""
        market = self._market(symbol)
        listed_at = self._listed_at(market)
        final = final_through(self.read_clock(), self._settling_seconds)
        delisted_at = None
        if listed_at is not None and market.get("active") is False:
            newest, _ = self._bars(market, MINUTE, None)
            last = newest["time"].iloc[-1].to_pydatetime() + BAR_LENGTH if len(newest) else None
            delisted_at = last if last is not None and last < final - timedelta(minutes=SILENT_MINUTES) else None
        return Instrument(symbol, self.name, symbol, listed_at, delisted_at), final

    def read_clock(self) -> datetime:
        """See Feed; of the Date header, in whole seconds, where the exchange does not tell its time."""

        def told(exchange: Any) -> datetime | None:
            if exchange.has.get("fetchTime") is True:
                return datetime.fromtimestamp(float(exchange.fetch_time()) / 1_000, UTC)
            if not self._exchange.knows_clock:
                exchange.fetch_markets()
            return None

        return self._exchange.asked(told) or self._exchange.server_now()

    def fetch(self, instrument: Instrument, since: datetime, until: datetime) -> Answer:
        """See Feed. An answer that ends early is asked for its rest, one without a row for what follows its page."""
        market = self._market(instrument.feed_symbol)
        if self.limit is not None and since < self._exchange.server_now() - timedelta(minutes=self.limit.minutes + 1):
            raise ExchangeRefused(older_bars(self.name, self.limit, instrument.symbol))
        found, at, final = [], since, END
        while at < min(until, final):
            most = min(self._most_rows(market), (until - at) // BAR_LENGTH)
            rows, settled = self._bars(market, MINUTE, at, most)
            final = min(final, settled)
            inside = rows[(rows["time"] >= at) & (rows["time"] < until)]
            found.append(inside[inside["time"] < settled])
            at = inside["time"].iloc[-1].to_pydatetime() + BAR_LENGTH if len(inside) else at + most * BAR_LENGTH
            if len(rows) and rows["time"].iloc[-1] >= until:
                break
        everything = pd.concat(found, ignore_index=True)
        return Answer(everything[everything["time"] < final], final)

    def _bars(
        self, market: dict[str, Any], timeframe: str, since: datetime | None, most: int | None = None
    ) -> tuple[pd.DataFrame, datetime]:
        """One answer of fetch_ohlcv, perhaps with rows outside of the range, and until when bars are final."""
        milliseconds = None if since is None else round(since.timestamp() * 1_000)

        def bars(exchange: Any) -> tuple[pd.DataFrame, datetime]:
            _know(exchange, market)
            rows = _checked(exchange.fetch_ohlcv(market["symbol"], timeframe, milliseconds, most))
            return rows, final_through(self._exchange.server_now(), self._settling_seconds)

        return self._exchange.asked(bars)

    def _most_rows(self, market: dict[str, Any]) -> int:
        def most(exchange: Any) -> int:
            _know(exchange, market)
            stated = exchange.feature_value(market["symbol"], "fetchOHLCV", "limit", USUAL_PAGE)
            return min(int(stated or USUAL_PAGE), PAGE_MINUTES)

        return self._exchange.asked(most)

    def _market(self, symbol: str) -> dict[str, Any]:
        market = self._markets.named(symbol)
        if market is not None:
            return market
        names = {"".join(filter(str.isalnum, name)).upper(): name for name in reversed(self._markets.symbols)}
        plain = "".join(filter(str.isalnum, symbol)).upper()
        nearest = [names[name] for name in difflib.get_close_matches(plain, names, n=3)]
        hint = f"did you mean {', '.join(nearest)}?" if nearest else "write it as ccxt does, such as BTC/USDT"
        raise ExchangeRefused(f"{self.name} has no symbol {one_line(symbol)}; {hint}")

    def _listed_at(self, market: dict[str, Any]) -> datetime | None:
        """When the symbol was listed, rather too early than too late; None where it has no bar."""
        created = market.get("created")
        if isinstance(created, int | float) and created > BEGINNING.timestamp() * 1_000:
            return datetime.fromtimestamp(created / 1_000, UTC).replace(second=0, microsecond=0)
        timeframe = self._exchange.asked(lambda exchange: next(filter(exchange.timeframes.__contains__, LONG_BARS), ""))
        if not timeframe:
            return BEGINNING
        at, now = BEGINNING, self.read_clock()
        while at < now:  # an exchange that answers for a range only has nothing in the first ones
            most = self._most_rows(market)
            rows, _ = self._bars(market, timeframe, at, most)
            if len(rows):
                first: datetime = rows["time"].iloc[0].to_pydatetime()
                return first
            at += most * LONG_BARS[timeframe]
        return None


def _know(exchange: Any, market: dict[str, Any]) -> None:
    """Make the market known to ccxt's object, which would else ask for all of them."""
    if market["symbol"] not in (exchange.markets or {}):
        exchange.set_markets([*(exchange.markets or {}).values(), market])


def _checked(rows: Any) -> pd.DataFrame:
    """Rows of fetch_ohlcv as those of an Answer; raises Unusable where one is no bar."""
    if not isinstance(rows, list) or not all(isinstance(row, list) and len(row) >= 6 for row in rows):
        raise Unusable("no list of bars")
    try:
        table = np.array([row[:6] for row in rows], dtype=np.float64).reshape(-1, 6)
        times = pd.DatetimeIndex((table[:, 0] * 1_000).astype("int64").astype("datetime64[us]")).tz_localize("UTC")
        return bar_rows(times, dict(zip(VALUE_COLUMNS, table[:, 1:].T, strict=True)))
    except (TypeError, ValueError, OverflowError) as error:
        reason = str(error) if isinstance(error, NotBars) else "a value is no number"
        raise Unusable(reason) from None
