"""Odd input that once got through, or took good input down with it."""

import pickle
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from hybrid_ml.config.settings import Settings
from hybrid_ml.errors import BadInput, ModelUnavailable
from hybrid_ml.learning.evaluation import RecentRecord
from hybrid_ml.learning.fine_tuning import refit_leaves
from hybrid_ml.learning.model import HybridModel
from hybrid_ml.learning.model_bytes import unpack_base
from hybrid_ml.learning.rows import Rows
from hybrid_ml.learning.training import train_base
from hybrid_ml.market.bars import clean_bars
from hybrid_ml.market.rolling import Rolling
from hybrid_ml.market.sources import read_bar_file
from hybrid_ml.pipeline.context import open_run
from hybrid_ml.schemas.requests import BackfillRequest, Request
from hybrid_ml.signals.gates import Answer, GateContext, evaluate_gates
from hybrid_ml.signals.penalty import NO_PENALTY
from hybrid_ml.signals.presets import Bounds
from hybrid_ml.store.model_files import model_folder
from tests.simulated import hand_made_bars, moment, simulated_window

NOW = datetime(2024, 6, 1, tzinfo=UTC)
UNIX = [1527811200 + 60 * i for i in range(30)]


def test_one_word_among_unix_times_costs_its_row_only(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(
        "time,open,high,low,close,volume\n" + "".join(f"{t},1,1,1,1,1\n" for t in UNIX) + "oops,1,1,1,1,1\n"
    )
    assert len(read_bar_file(path).bars) == 30


def test_unix_microseconds_are_no_bars_of_the_year_50000() -> None:
    cleaned = clean_bars(hand_made_bars([1.0] * 30).assign(time=np.array(UNIX) * 1_000_000))
    assert len(cleaned.bars) == 0 or cleaned.bars["time"].iloc[0].to_pydatetime().year == 2018


def test_a_time_outside_of_python_datetimes_is_set_aside() -> None:
    cleaned = clean_bars(hand_made_bars([1.0, 1.0]).assign(time=["9999-12-31T23:59-14:00", "2018-06-01T10:22Z"]))
    assert len(cleaned.bars) == 1


def test_one_byte_that_is_not_utf8_costs_its_row_only(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes("time,open,high,low,close,volume\n2018-06-01T10:20,1,1,1,1,1\né,1,1,1,1,1\n".encode("latin1"))
    assert len(read_bar_file(path).bars) == 1


@pytest.mark.parametrize("name", ["x.zip", "x.csv.xz", "x.csv.zst", "x.csv.tar"])
def test_a_broken_archive_is_bad_input(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"xx")
    with pytest.raises(BadInput, match=name):
        read_bar_file(path)


def test_an_absurd_correction_does_not_displace_the_good_row() -> None:
    rows = hand_made_bars([100.0] * 30)
    wrong = rows.iloc[[10]].assign(open=1e5, high=1e5, low=1e5, close=1e5)
    assert len(clean_bars(pd.concat([rows, wrong], ignore_index=True)).bars) == 30


@pytest.mark.parametrize("bare", [" 20180601", "1512061201230 ", Decimal(1527811200), b"1527811200"])
def test_a_bare_number_is_no_time(bare: object) -> None:
    with pytest.raises(ValidationError, match="is no time"):
        Request.model_validate({"as_of": bare})


def test_a_moment_too_early_for_utc_is_a_validation_error() -> None:
    with pytest.raises(ValidationError, match="is no time"):
        Request(as_of="0001-01-01T00:00+14:00")


def test_a_date_is_its_first_moment_in_utc() -> None:
    assert Request(as_of=date(2018, 6, 1)).as_of == datetime(2018, 6, 1, tzinfo=UTC)


def test_a_backfilled_symbol_is_stripped_like_every_other() -> None:
    assert BackfillRequest(csv_path="x", symbol=" ABC ").symbol == Request(symbols=" ABC ").symbols[0]


def test_configured_symbols_are_not_worked_on_twice() -> None:
    assert open_run(Request(), Settings(hybrid_ml_symbols="A,A,B"), [], NOW).symbols == ["A", "B"]


@pytest.mark.parametrize("symbol", ["日" * 64, "€" * 64], ids=["ideographs", "euros"])
def test_every_symbol_that_is_accepted_can_name_a_folder(symbol: str, tmp_path: Path) -> None:
    Request(symbols=symbol)
    model_folder(tmp_path, symbol, "OTHER").mkdir()


def test_the_bound_is_never_below_what_was_asked_for() -> None:
    around = GateContext(Bounds(1.0), NO_PENALTY, RecentRecord(0, None, None), 0.0, 15.0)
    assert evaluate_gates(Answer(0.0, 0.005, 0.995), around)[1].bound == 1.0


def test_a_window_of_no_bars_is_refused_by_every_statistic() -> None:
    with pytest.raises(ValueError, match="at least one bar"):
        Rolling(np.arange(10.0)).maximum(-3)


@pytest.fixture(scope="module")
def rows() -> Rows:
    return simulated_window(3_600).rows


def train(rows: Rows) -> HybridModel:
    return train_base(rows, symbol="DEMO", kind="base", row_limit=3_000, week=0, as_of=moment(3_600), num_threads=1)[0]


def test_trees_without_a_split_are_kept_by_a_refit(rows: Rows) -> None:
    base = train(Rows(rows.features, rows.forward_returns * 0, rows.times)).base
    unsplit = ~base.leaf_values[:, 1:].any(axis=1)
    recent = rows.labelled().last(1_000)
    leaves = HybridModel(base).leaves(recent.features)
    moved = refit_leaves(base.leaf_values, leaves, recent.labels(5e-4), learning_rate=0.05, lambda_l2=20.0)
    assert unsplit.any()
    assert (moved[unsplit] == base.leaf_values[unsplit]).all()


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
def test_a_part_that_does_not_fit_is_model_unavailable(rows: Rows, change: dict) -> None:
    content = pickle.loads(train(rows).base.packed)
    with pytest.raises(ModelUnavailable, match="check failed"):
        unpack_base(pickle.dumps({**content, **change}))
