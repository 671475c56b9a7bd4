"""The table of a collector as a feed: backfill and the refresh before an analysis, in the project's database."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine

from flows.backfill import backfill
from hybrid_ml.console.run_tables import show_history
from hybrid_ml.pipeline.run import Run
from hybrid_ml.schemas.backfill_request import BackfillRequest
from hybrid_ml.schemas.reports import Failure
from tasks import refresh
from tests.flows.running import rows, run
from tests.store.test_sql_feed import SELECT, STORED, fill, in_table

REQUEST = BackfillRequest(source="exchange", exchange="sql", symbols=["ABC"], days=3)


@pytest.fixture
def collected(engine: Engine, prefect_api: str, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """A table in the project's database, whose SELECT is in the settings."""
    monkeypatch.setenv("HYBRID_ML_SQL_FEED", SELECT)
    fill(engine)
    return engine


def refreshed(engine: Engine, until: datetime) -> dict[str, str]:
    """What the stage says of a run whose slot is `until`."""
    stage: Callable[[Run], tuple[dict[str, str], list[Failure]]] = refresh.refresh_bars.fn  # type: ignore[attr-defined]
    named = dict.fromkeys(("default_symbol", "source", "csv_path", "models_dir", "max_gap_minutes", "training_threads"))
    late, refused = stage(Run(as_of=until, symbols=["ABC"], **named))  # type: ignore[arg-type]
    return late | {failure.symbol: failure.error for failure in refused}


def test_backfill_and_refresh_end_equal_to_the_table(collected: Engine, capsys: pytest.CaptureFixture) -> None:
    state, report = run(backfill, REQUEST)
    assert state.is_completed(), report
    (history,) = report.histories
    show_history(report)
    assert f"UTC from sql: {history.bars:,} bars" in capsys.readouterr().out
    (end,) = rows(collected, "SELECT max(bucket) FROM candles")[0]
    for table, time in (("bars", "time"), ("coverage", "to_time")):
        with collected.begin() as connection:
            connection.exec_driver_sql(f"DELETE FROM {table} WHERE {time} >= '{end - timedelta(minutes=7)}'")
    assert refreshed(collected, end) == {}
    stored = rows(collected, STORED.format("ABC"))
    assert stored[-5:] == [row for row in in_table(collected) if row[0] < end][-5:]


def test_select_that_is_wrong_fails_with_its_setting(collected: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYBRID_ML_SQL_FEED", "DELETE FROM candles")
    state, _ = run(backfill, REQUEST)
    assert state.is_failed()
    assert "HYBRID_ML_SQL_FEED begins with DELETE; a feed only reads" in state.message
