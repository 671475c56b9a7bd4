"""The backfill flow from an exchange of ccxt at the address of the settings."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import Engine

from flows.backfill import backfill
from hybrid_ml.console.run_tables import show_history
from hybrid_ml.schemas.backfill_request import BackfillRequest
from tests.exchange_server import Exchange, Market, exchange_server
from tests.flows.running import rows, run
from tests.flows.test_history import NOW, wait_only_in_name
from tests.kraken_server import Kraken

REQUEST = {"source": "exchange", "exchange": "kraken", "symbols": ["ABC/USD", "XYZ/USD"], "days": 90}


@pytest.fixture
def kraken(engine: Engine, prefect_api: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Exchange]:
    markets = {name: Market(NOW - timedelta(days=20)) for name in ("ABCUSD", "XYZUSD")}
    wait_only_in_name(monkeypatch)
    with exchange_server(Kraken(lambda: NOW, markets)) as served:
        monkeypatch.setenv("HYBRID_ML_EXCHANGE_URLS", f"kraken={served.url}")
        yield served


def test_newest_hours_are_loaded_and_the_archive_is_named(
    engine: Engine, kraken: Exchange, capsys: pytest.CaptureFixture
) -> None:
    state, report = run(backfill, BackfillRequest(**REQUEST))
    assert state.is_completed(), report
    assert rows(engine, "SELECT symbol, count(*) FROM bars GROUP BY 1 ORDER BY 1") == [
        ("ABC/USD", 715),
        ("XYZ/USD", 715),
    ]
    assert len([path for path, _ in kraken.requests if path.endswith("AssetPairs")]) == 1
    show_history(report)
    printed = " ".join(capsys.readouterr().out.split())
    assert "kraken serves the newest 720 minutes only; older bars are in Kraken's archive of OHLCVT files" in printed


def test_unknown_names_fail_with_the_nearest(kraken: Exchange) -> None:
    state, _ = run(backfill, BackfillRequest(**{**REQUEST, "symbols": ["ABCUSD"]}))
    assert state.is_failed()
    assert "kraken has no symbol ABCUSD; did you mean ABC/USD" in state.message
    state, _ = run(backfill, BackfillRequest(**{**REQUEST, "exchange": "krakem", "symbols": ["ABC/USD"]}))
    assert state.is_failed()
    assert "there is no exchange krakem in ccxt" in state.message
