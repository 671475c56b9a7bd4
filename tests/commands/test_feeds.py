"""Commands that load from an exchange, as processes: Ctrl-C keeps what was loaded, and the same command continues."""

import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

from prefect.settings import PREFECT_API_URL
from sqlalchemy import Engine

from hybrid_ml.errors import EXIT_INTERRUPTED
from tests.conftest import ROOT, WITHOUT_BLOCKS, WITHOUT_HEARTBEATS
from tests.exchange_server import Exchange, Market, exchange_server
from tests.flows.running import rows

PROGRAM = str(Path(sys.executable).with_name("hybrid-ml"))
LOAD = [PROGRAM, "backfill", "--source", "exchange", "--symbols", "ABCUSDT", "--days", "10", "--until"]


def test_ctrl_c_keeps_what_was_loaded_and_the_same_command_continues(
    engine: Engine, prefect_api: str, home: Path
) -> None:
    """The exchange's clock is the machine's; the load ends some minutes ago, the same each time."""
    sixth, go_on, asked = threading.Event(), threading.Event(), []
    now = datetime.now(UTC)
    load = [*LOAD, f"{now - timedelta(minutes=5):%Y-%m-%dT%H:%M}"]

    def hold_the_sixth() -> str:
        asked.append(1)
        if len(asked) == 6:
            sixth.set()
            go_on.wait(300)
        return ""

    exchange = Exchange(lambda: datetime.now(UTC), {"ABCUSDT": Market(now - timedelta(days=400))})
    exchange.plan = hold_the_sixth
    with exchange_server(exchange) as served:
        variables = {"PREFECT_API_URL": PREFECT_API_URL.value(), "HYBRID_ML_BINANCE_URL": served.url}
        environment = os.environ | variables | WITHOUT_BLOCKS | WITHOUT_HEARTBEATS
        process = subprocess.Popen(load, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
        assert sixth.wait(300), "the sixth request was never sent"
        process.send_signal(signal.SIGINT)
        go_on.set()
        _, errors = process.communicate(timeout=300)
        assert process.returncode == EXIT_INTERRUPTED
        assert "interrupted; what was loaded is kept, and the same command continues after it" in errors
        assert "Traceback" not in errors
        kept = rows(engine, "SELECT count(*) FROM bars")[0][0]
        assert 1_000 <= kept < 14_400
        covered = rows(engine, "SELECT sum(to_time - from_time) FROM coverage WHERE state = 'have'")[0][0]
        assert covered == kept * timedelta(minutes=1), "bars and coverage are stored together"
        again = subprocess.run(load, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert f"{kept:,} minutes answered before, not asked again" in again.stdout
    assert rows(engine, "SELECT count(*) FROM bars") == [(14_400,)]
