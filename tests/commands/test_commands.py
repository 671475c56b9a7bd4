"""The main commands, run as a user runs them."""

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import count
from pathlib import Path

import pytest
from prefect import get_client
from prefect._internal.analytics.ci_detection import CI_ENV_VARS
from prefect._internal.analytics.enabled import is_telemetry_enabled
from prefect.client.schemas.filters import LogFilter, LogFilterLevel, LogFilterTimestamp
from sqlalchemy import Engine

from analyze import load_saved_model, save_model, validate_model_on_recent_data
from hybrid_ml.cli.__main__ import main
from hybrid_ml.market.bars import clean_bars
from hybrid_ml.market.simulation import simulate_bars
from hybrid_ml.store.bars import store_bars
from tests.conftest import Command
from tests.flows.running import AS_OF, rows

MOMENT = AS_OF.strftime("%Y-%m-%dT%H:%M")


@pytest.fixture
def market(engine: Engine) -> Engine:
    store_bars(engine, "ABC", clean_bars(simulate_bars(AS_OF, bars=9_000)).bars)
    return engine


def test_documented_commands_work_as_written(command: Command, market: Engine, home: Path) -> None:
    trained = command("train_model.py", "--progressive", "--validate", "--as_of", MOMENT)
    assert trained.returncode == 0, trained.stderr
    assert "is in use from now on: there was no champion" in trained.stdout
    assert "recall" in trained.stdout
    assert "fewer than the limit" in trained.stdout
    assert "| INFO    |" in trained.stderr
    files = sorted(path.name for path in (home / "models").iterdir())
    assert files[0] == "lightgbm_model.pkl"
    assert files[1].startswith("model_metadata_")

    flags = ["--source", "db", "--fast_mode", "--preset", "balanced", "--max_signals", "1", "--as_of", MOMENT]
    request = command("analyze.py", *flags)
    assert request.returncode == 0, request.stderr
    assert "entropy" in request.stdout

    scaling = command("check_progressive_scaling.py")
    assert scaling.returncode == 0, scaling.stderr
    assert "80,000" in scaling.stdout

    checked = command("test_hybrid_ml.py")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    for part in ("database", "schema", "freshness", "model", "telegram", "prefect", "dry run"):
        assert part in checked.stdout
    assert rows(market, "SELECT count(*) FROM predictions") == [(1,)]


def test_json_flag_prints_exactly_one_document(command_here: Command, market: Engine) -> None:
    training = command_here("train", "--limit", "3000", "--as_of", MOMENT, "--json")
    (trained,) = json.loads(training.stdout)["trainings"]
    expected = {"symbol", "version", "week", "row_limit", "rows", "trained_until", "metrics", "promoted", "seconds"}
    assert expected <= set(trained)
    assert {"accuracy", "majority_accuracy", "log_loss", "prior_log_loss"} <= set(trained["metrics"])

    report = json.loads(command_here("analyze", "--as_of", MOMENT, "--json").stdout)
    assert {"as_of", "asleep", "analyses"} <= set(report)
    (answer,) = report["analyses"]
    assert {
        "symbol", "bar_time", "probabilities", "direction", "confidence", "margin", "entropy", "signal",
        "refused_by", "model", "recent_accuracy", "recent_rows", "fell_back", "stage_ms",
    } <= set(answer)  # fmt: skip
    assert set(answer["probabilities"]) == {"down", "flat", "up"}
    assert {"version", "kind", "trained_until"} == set(answer["model"])

    findings = json.loads(command_here("check", "--json").stdout)["findings"]
    assert [finding["part"] for finding in findings[:3]] == ["settings", "disk", "database"]
    assert json.loads(command_here("scaling", "--json").stdout)["steps"][6]["row_limit"] == 80_000


def test_quiet_prints_warnings_and_result_only(command: Command, command_here: Command, engine: Engine) -> None:
    """The symbol is of this test alone: the server has the logs of other tests too."""
    store_bars(engine, "QUIET", clean_bars(simulate_bars(AS_OF, bars=9_000)).bars)
    text = command_here("train", "--limit", "50000", "--as_of", MOMENT)
    begin = datetime.now(UTC)
    quiet = command("train", "--limit", "50000", "--as_of", MOMENT, "--quiet")
    assert "INFO" not in quiet.stderr
    assert "| WARNING | Task run 'train QUIET (base)' - QUIET: trained on the" in quiet.stderr
    assert quiet.stdout.splitlines()[1].split(" in ")[0] == text.stdout.splitlines()[1].split(" in ")[0]
    assert any(line.startswith("QUIET: hold-out accuracy") for line in info_lines_since(begin)), "they are in the UI"

    request = command("analyze", "--as_of", MOMENT, "--quiet", "--json", "--min_confidence", "0.99")
    assert request.stderr == "", "there is no alert that nobody gets"
    assert [answer["symbol"] for answer in json.loads(request.stdout)["analyses"]] == ["QUIET"]


def info_lines_since(begin: datetime) -> Iterator[str]:
    chosen = LogFilter(
        level=LogFilterLevel(ge_=logging.INFO, le_=logging.INFO), timestamp=LogFilterTimestamp(after_=begin)
    )
    with get_client(sync_client=True) as client:
        for page in count():
            lines = client.read_logs(chosen, limit=200, offset=200 * page)
            yield from (line.message for line in lines)
            if len(lines) < 200:
                return


@pytest.mark.parametrize("name", ["train", "analyze", "replay", "review", "backfill", "demo"])
def test_commands_that_run_flows_have_quiet_flag(name: str, command_here: Command) -> None:
    assert "--quiet" in command_here(name, "--help").stdout


def test_quiet_prints_errors_but_not_the_temporary_server(command: Command, market: Engine) -> None:
    done = command("analyze", "--symbol", "NONE", "--as_of", MOMENT, "--quiet", PREFECT_API_URL="")
    assert done.returncode == 1
    assert "INFO" not in done.stderr
    assert "failed NONE: no bars of NONE in the database" in done.stderr


def test_functions_of_analyze_module_work(command_here: Command, market: Engine) -> None:
    command_here("train", "--limit", "3000", "--as_of", MOMENT)
    model = load_saved_model()
    assert str(model).startswith("HybridModel ABC@")
    assert validate_model_on_recent_data(model).rows == 200
    assert save_model(model) == model.version


def test_check_fails_when_the_database_is_unreachable(command_here: Command) -> None:
    done = command_here("check", NEON_CONN_STR="postgresql://me:s3cret@127.0.0.1:1/db")
    assert done.returncode == 1
    assert "✗ database" in done.stdout
    assert "s3cret" not in done.stdout


def test_demo_needs_no_server_and_does_not_touch_the_configured_database(
    command: Command, engine: Engine, tmp_path: Path
) -> None:
    """Its three flows share one temporary server that Prefect starts for the command."""
    done = command("demo", HYBRID_ML_DATA_DIR=str(tmp_path / "data"), PREFECT_API_URL="")
    assert done.returncode == 0, done.stderr
    assert "SIMULATED" in done.stdout
    assert "does not use that database" in done.stdout
    assert str(tmp_path / "data" / "demo" / "models" / "lightgbm_model.pkl") in done.stdout
    for table in ("bars", "model_versions", "predictions", "alerts"):
        assert rows(engine, f"SELECT count(*) FROM {table}") == [(0,)]


ONE_COMMAND = """
import sys
from hybrid_ml.cli.__main__ import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
print(sorted({"prefect", "pandas", "lightgbm", "sqlalchemy", "numpy"} & set(sys.modules)))
"""


def test_help_loads_no_heavy_library(command: Command) -> None:
    done = command("-c", ONE_COMMAND, "analyze", "--help")
    assert done.stdout.splitlines()[-1] == "[]"
    assert "run as of a past moment" in " ".join(done.stdout.split())


def test_version_is_that_of_the_package_and_loads_no_heavy_library(command: Command) -> None:
    assert command("--version").stdout == f"hybrid-ml {version('hybrid-ml')}\n"
    assert command("-c", ONE_COMMAND, "--version").stdout.splitlines()[-1] == "[]"


def test_telemetry_is_off(capsys: pytest.CaptureFixture[str]) -> None:
    """Prefect's library reports usage except in CI and where DO_NOT_TRACK is set."""
    with pytest.MonkeyPatch.context() as patch:
        for name in CI_ENV_VARS:
            patch.delenv(name, raising=False)
        patch.setenv("DO_NOT_TRACK", "")
        assert is_telemetry_enabled()
        patch.delenv("DO_NOT_TRACK")
        with pytest.raises(SystemExit):
            main(["--help"])
        assert not is_telemetry_enabled()
    assert "hybrid-ml" in capsys.readouterr().out
