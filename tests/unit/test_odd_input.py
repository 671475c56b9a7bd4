"""Regression tests for unusual input that was accepted, or caused valid input to be rejected."""

import pickle
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pytest
from prefect.exceptions import PrefectHTTPStatusError
from pydantic import ValidationError

from hybrid_ml.cli.__main__ import _server_problem
from hybrid_ml.config.settings import Settings
from hybrid_ml.errors import BadInput, ModelUnavailable
from hybrid_ml.learning.fine_tuning import refit_leaves
from hybrid_ml.learning.model import HybridModel
from hybrid_ml.learning.model_bytes import unpack_base
from hybrid_ml.learning.rows import Rows
from hybrid_ml.learning.training import train_base
from hybrid_ml.market.bars import clean_bars
from hybrid_ml.market.rolling import Rolling
from hybrid_ml.market.sources import read_bar_file
from hybrid_ml.pipeline.run import make_run
from hybrid_ml.schemas.backfill_request import BackfillRequest
from hybrid_ml.schemas.requests import Request
from hybrid_ml.signals.gates import Answer, GateContext, evaluate_gates
from hybrid_ml.signals.penalty import NO_PENALTY
from hybrid_ml.signals.presets import Bounds
from hybrid_ml.store.model_files import model_folder
from tests.simulated import hand_made_bars, moment, simulated_window

NOW = datetime(2024, 6, 1, tzinfo=UTC)
UNIX = [1527811200 + 60 * i for i in range(30)]


def test_word_among_unix_times_rejects_only_its_row(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(
        "time,open,high,low,close,volume\n" + "".join(f"{t},1,1,1,1,1\n" for t in UNIX) + "oops,1,1,1,1,1\n"
    )
    assert len(read_bar_file(path).bars) == 30


def test_unix_microseconds_are_not_read_as_year_50000() -> None:
    cleaned = clean_bars(hand_made_bars([1.0] * 30).assign(time=np.array(UNIX) * 1_000_000))
    assert len(cleaned.bars) == 0 or cleaned.bars["time"].iloc[0].to_pydatetime().year == 2018


def test_time_outside_of_python_datetimes_is_rejected() -> None:
    cleaned = clean_bars(hand_made_bars([1.0, 1.0]).assign(time=["9999-12-31T23:59-14:00", "2018-06-01T10:22Z"]))
    assert len(cleaned.bars) == 1


def test_invalid_utf8_rejects_only_its_row(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes("time,open,high,low,close,volume\n2018-06-01T10:20,1,1,1,1,1\né,1,1,1,1,1\n".encode("latin1"))
    assert len(read_bar_file(path).bars) == 1


@pytest.mark.parametrize("name", ["x.zip", "x.csv.xz", "x.csv.zst", "x.csv.tar"])
def test_broken_archive_is_bad_input(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"xx")
    with pytest.raises(BadInput, match=name):
        read_bar_file(path)


def test_outlier_correction_does_not_replace_the_valid_row() -> None:
    rows = hand_made_bars([100.0] * 30)
    wrong = rows.iloc[[10]].assign(open=1e5, high=1e5, low=1e5, close=1e5)
    assert len(clean_bars(pd.concat([rows, wrong], ignore_index=True)).bars) == 30


@pytest.mark.parametrize("number", [" 20180601", "1512061201230 ", Decimal(1527811200), b"1527811200"])
def test_number_is_not_accepted_as_time(number: object) -> None:
    with pytest.raises(ValidationError, match="is no time"):
        Request.model_validate({"as_of": number})


def test_time_before_year_1_in_utc_is_a_validation_error() -> None:
    with pytest.raises(ValidationError, match="is no time"):
        Request(as_of="0001-01-01T00:00+14:00")


def test_date_is_its_midnight_in_utc() -> None:
    assert Request(as_of=date(2018, 6, 1)).as_of == datetime(2018, 6, 1, tzinfo=UTC)


def test_symbol_of_a_backfill_is_stripped() -> None:
    assert BackfillRequest(csv_path="x", symbol=" ABC ").symbol == Request(symbols=" ABC ").symbols[0]


def test_repeated_configured_symbols_are_used_once() -> None:
    assert make_run(Request(), Settings(hybrid_ml_symbols="A,A,B"), [], NOW).symbols == ["A", "B"]


@pytest.mark.parametrize("symbol", ["日" * 64, "€" * 64], ids=["ideographs", "euros"])
def test_every_valid_symbol_can_name_a_folder(symbol: str, tmp_path: Path) -> None:
    Request(symbols=symbol)
    model_folder(tmp_path, symbol, "OTHER").mkdir()


def test_bound_is_never_below_the_requested_one() -> None:
    context = GateContext(Bounds(1.0), NO_PENALTY, 0.0, 15.0)
    assert evaluate_gates(Answer(0.0, 0.005, 0.995), context)[1].bound == 1.0


def test_negative_window_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one bar"):
        Rolling(np.arange(10.0)).maximum(-3)


@pytest.fixture(scope="module")
def rows() -> Rows:
    return simulated_window(3_600).rows


def train(rows: Rows) -> HybridModel:
    return train_base(rows, symbol="DEMO", kind="base", row_limit=3_000, week=0, as_of=moment(3_600), num_threads=1)[0]


def test_refit_keeps_trees_without_a_split(rows: Rows) -> None:
    base = train(Rows(rows.features, rows.forward_returns * 0, rows.times)).base
    unsplit = ~base.leaf_values[:, 1:].any(axis=1)
    recent = rows.labelled().last(1_000)
    leaves = HybridModel(base).leaves(recent.features)
    refitted = refit_leaves(base.leaf_values, leaves, recent.labels(5e-4), learning_rate=0.05, lambda_l2=20.0)
    assert unsplit.any()
    assert (refitted[unsplit] == base.leaf_values[unsplit]).all()


@pytest.mark.parametrize(
    "change",
    [
        {"as_of": "x"},
        {"as_of": 5},
        {"leaf_values": None},
        {"feature_names": 5},
        {"trees": None},
        {"leaf_values": {"dtype": "<f8", "shape": [3, 1], "data": b"x"}},
        {"leaf_values": {"dtype": "<f8", "shape": [1, 1], "data": b"12345678"}},
    ],
)
def test_invalid_field_of_a_model_is_model_unavailable(rows: Rows, change: dict) -> None:
    content = pickle.loads(train(rows).base.packed)
    with pytest.raises(ModelUnavailable, match="check failed"):
        unpack_base(pickle.dumps({**content, **change}))


def test_refusal_by_the_prefect_server_is_one_line() -> None:
    request = httpx.Request("GET", "http://127.0.0.1:4200/api/admin/version")
    answer = httpx.Response(401, request=request)
    error = httpx.HTTPStatusError("401 Unauthorized\nmore about it", request=request, response=answer)
    line = _server_problem(PrefectHTTPStatusError.from_httpx_error(error))
    assert line is not None
    assert "\n" not in line
    assert "refuses this command (401 Unauthorized" in line
    assert "run the command again" in line
