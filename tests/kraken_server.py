"""Kraken's public API on loopback: the shapes of recorded answers of OHLC, and of AssetPairs and Time as documented."""

from datetime import timedelta
from typing import Any

from tests.exchange_server import MINUTE, Exchange, milliseconds

KEPT_ROWS = 720


class Kraken(Exchange):
    """Markets by names such as ABCUSD. Every minute has a row, and only the newest KEPT_ROWS are to be had."""

    def answer(self, path: str, asked: dict[str, str]) -> tuple[int, Any]:
        """Errors stand in the body of a 200."""
        name = path.removeprefix("/0/public/")
        pair = asked.get("pair", "")
        if name == "Time":
            return 200, {"error": [], "result": {"unixtime": milliseconds(self.clock()) // 1_000}}
        if name == "AssetPairs":
            return 200, {"error": [], "result": {name: self._pair(name) for name in self.markets}}
        if name != "OHLC" or pair not in self.markets:
            return 200, {"error": ["EQuery:Unknown asset pair"]}
        interval = int(asked.get("interval", 1))
        kept = self.klines(pair, milliseconds(self.clock() - timedelta(minutes=interval * KEPT_ROWS)), None, 10**9)
        chosen = kept[:: max(interval, 1)][-KEPT_ROWS:]
        shown = [_row(row) for row in chosen if row[0] // 1_000 > int(asked.get("since", 0))]
        last = chosen[-2][0] // 1_000 if len(chosen) > 1 else 0
        return 200, {"error": [], "result": {pair: shown, "last": last}}

    def _pair(self, name: str) -> dict[str, Any]:
        return {
            "altname": name,
            "wsname": f"{name[:-3]}/{name[-3:]}",
            "base": name[:-3],
            "quote": f"Z{name[-3:]}",
            "pair_decimals": 5,
            "lot_decimals": 8,
            "cost_decimals": 5,
            "leverage_buy": [],
            "leverage_sell": [],
            "fees": [[0, 0.4]],
            "fees_maker": [[0, 0.25]],
            "ordermin": "0.1",
            "costmin": "0.5",
            "tick_size": "0.00001",
            "status": "online",
        }


def _row(kline: list[Any]) -> list[Any]:
    """time in seconds, open, high, low, close, vwap, volume, count."""
    return [kline[0] * 60 // MINUTE, *kline[1:5], kline[4], kline[5], kline[8]]
