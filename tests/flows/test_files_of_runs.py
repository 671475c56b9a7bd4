"""A run of a deployment reads allowed files only; a command reads every file that its user can read."""

from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow
from sqlalchemy import Engine

from flows.backfill import backfill
from hybrid_ml.schemas.backfill_request import BackfillRequest
from tests.faults.table import FaultRows
from tests.flows.running import rows, run
from tests.simulated import simulated_bars

SECRET = "S3cretS3cret"


def test_deployment_run_reads_only_allowed_files_and_command_reads_all(
    prefect_api: str, engine: Engine, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    password_file, bars = tmp_path / "shadow", tmp_path / "bars.parquet"
    password_file.write_text(f"root:{SECRET}:20000:0:99999:7:::\n")
    simulated_bars(300).to_parquet(bars)
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment(backfill.to_deployment("files of a run").apply())
        for path in (password_file, bars):
            requested = {"request": {"csv_path": str(path), "symbol": "ABC"}}
            created = client.create_flow_run_from_deployment(deployment.id, parameters=requested)
            state = run_flow(backfill, flow_run=created, parameters=requested, return_type="state")
            final_state = client.read_flow_run(created.id).state
            assert state.is_failed()
            assert final_state is not None
            assert f"--csv_path {path} is not for runs of a deployment" in str(final_state.message)
            assert "HYBRID_ML_FILES" in str(final_state.message)
            assert SECRET not in str(final_state.message)
        client.delete_deployment(deployment.id)
    assert rows(engine, "SELECT count(*) FROM bars") == [(0,)]
    state, _ = run(backfill, BackfillRequest(csv_path=password_file, symbol="ABC"))
    assert "none has these names" in str(state.message)
    assert SECRET not in str(state.message)
    _, report = run(backfill, BackfillRequest(csv_path=bars, symbol="ABC"))
    assert report.rows_new == 300
    FaultRows(request.node).add(
        "`csv_path` of a run of a deployment names a password file, and bars outside of the allowed folders",
        "Failed in one line that names HYBRID_ML_FILES; a command reads the bars, and repeats nothing of the other",
        report.seconds,
    )
