"""Local copies of models: whole or not there, and never trusted without their seal."""

import json
import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hybrid_ml.errors import BadInput, ModelUnavailable
from hybrid_ml.learning.model import HybridModel
from hybrid_ml.learning.model_bytes import Checksum, pack, pack_file, seal
from hybrid_ml.learning.rows import Window
from hybrid_ml.store.model_files import MODEL_FILE, model_folder, read_model, write_atomically, write_model

MODELS = Path("/models")
PLACES = 20


@pytest.fixture
def folder(tmp_path: Path, adapted: HybridModel) -> Path:
    """A folder with the adapted model in it."""
    write_model(tmp_path / "copies", adapted)
    return tmp_path / "copies"


@pytest.fixture
def sealed(adapted: HybridModel) -> Checksum:
    return seal(pack_file(adapted))


def refusal(folder: Path, expected: Checksum, symbol: str = "DEMO") -> str:
    with pytest.raises(ModelUnavailable) as raised:
        read_model(folder, expected, symbol)
    assert str(folder / MODEL_FILE) in str(raised.value)
    return str(raised.value)


def test_a_model_that_was_written_is_read_back_with_the_same_answers(
    adapted: HybridModel, market: Window, tmp_path: Path
) -> None:
    path = write_model(tmp_path / "not" / "yet" / "there", adapted)
    assert path == tmp_path / "not" / "yet" / "there" / "lightgbm_model.pkl"
    back = read_model(path.parent, seal(path.read_bytes()), "DEMO")
    features = market.rows.last(50).features
    np.testing.assert_array_equal(back.probabilities(features), adapted.probabilities(features))
    assert back.version == adapted.version


def test_a_newer_model_takes_the_place_of_the_one_before(
    folder: Path, model: HybridModel, adapted: HybridModel
) -> None:
    assert adapted.adapted
    write_model(folder, model)
    back = read_model(folder, seal(pack_file(model)), "DEMO")
    assert back.version == model.version
    assert not back.adapted


def test_nothing_but_the_model_and_its_metadata_is_left_in_the_folder(folder: Path, model: HybridModel) -> None:
    write_model(folder, model)
    assert sorted(path.name for path in folder.iterdir()) == [
        "lightgbm_model.pkl",
        f"model_metadata_{model.base.version}.json",
    ]
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o644}


def test_the_metadata_describes_the_base_without_its_trees(folder: Path, adapted: HybridModel) -> None:
    base = adapted.base
    known = json.loads((folder / f"model_metadata_{base.version}.json").read_text())
    assert not {"leaf_values", "packed"} & set(known)
    assert (known["symbol"], known["version"], known["rows"], known["trees"]) == ("DEMO", base.version, 6_000, 900)
    assert known["trained_until"] == base.trained_until.isoformat()
    assert known["metrics"] == base.metrics
    assert known["feature_names"] == list(base.feature_names)
    assert (known["length"], known["sha256"]) == (len(base.packed), seal(base.packed).sha256)


def test_every_base_keeps_its_metadata(folder: Path, model: HybridModel) -> None:
    next_base = pack(replace(model.base, week=1))
    write_model(folder, HybridModel(next_base))
    names = {path.name for path in folder.glob("model_metadata_*.json")}
    assert names == {f"model_metadata_{base.version}.json" for base in (model.base, next_base)}


def test_metadata_that_is_there_is_left_alone(folder: Path, adapted: HybridModel) -> None:
    path = folder / f"model_metadata_{adapted.base.version}.json"
    path.write_text("a note of mine")
    write_model(folder, adapted)
    assert path.read_text() == "a note of mine"


def test_a_missing_model_is_said_to_be_missing(tmp_path: Path, sealed: Checksum) -> None:
    assert refusal(tmp_path, sealed).endswith("is missing")


def test_a_model_that_cannot_be_read_says_why(tmp_path: Path, sealed: Checksum) -> None:
    (tmp_path / MODEL_FILE).mkdir()
    assert "cannot be read: Is a directory" in refusal(tmp_path, sealed)


def test_a_truncated_copy_is_refused_wherever_it_ends(folder: Path, sealed: Checksum) -> None:
    whole = (folder / MODEL_FILE).read_bytes()
    for place in range(PLACES):
        (folder / MODEL_FILE).write_bytes(whole[: sealed.length * place // PLACES])
        assert "length check failed" in refusal(folder, sealed)


def test_a_copy_with_one_bit_flipped_is_refused_wherever_it_is(folder: Path, sealed: Checksum) -> None:
    whole = (folder / MODEL_FILE).read_bytes()
    for place in range(PLACES):
        damaged = bytearray(whole)
        damaged[(sealed.length - 1) * place // (PLACES - 1)] ^= 0b100
        (folder / MODEL_FILE).write_bytes(damaged)
        assert "sha256 check failed" in refusal(folder, sealed)


def test_a_hostile_file_is_refused_before_it_is_parsed(folder: Path, sealed: Checksum, tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple:
            return os.mkdir, (str(tmp_path / "called"),)

    hostile = pickle.dumps(Hostile())
    (folder / MODEL_FILE).write_bytes(hostile)
    assert "length check failed" in refusal(folder, sealed)
    assert "it holds the operation STACK_GLOBAL" in refusal(folder, seal(hostile))
    assert not (tmp_path / "called").exists()


def test_the_model_of_another_symbol_is_refused(folder: Path, sealed: Checksum) -> None:
    assert "symbol check failed: the model was made for DEMO, not BTCUSD" in refusal(folder, sealed, "BTCUSD")


def test_a_folder_that_cannot_be_made_is_bad_input_with_a_remedy(tmp_path: Path, model: HybridModel) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BadInput, match="cannot be written") as raised:
        write_model(tmp_path / "file", model)
    assert "HYBRID_ML_MODELS_DIR" in str(raised.value)
    assert "safe in the database" in str(raised.value)


def test_a_write_that_fails_leaves_no_trace(tmp_path: Path) -> None:
    (tmp_path / "occupied").mkdir()
    (tmp_path / "occupied" / "inside").write_text("x")
    with pytest.raises(OSError, match="occupied"):
        write_atomically(tmp_path / "occupied", b"data")
    assert [path.name for path in tmp_path.iterdir()] == ["occupied"]


def test_a_write_replaces_a_link_and_not_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"theirs")
    (tmp_path / "model").symlink_to(tmp_path / "elsewhere")
    write_atomically(tmp_path / "model", b"ours")
    assert (tmp_path / "model").read_bytes() == b"ours"
    assert (tmp_path / "elsewhere").read_bytes() == b"theirs"


@pytest.mark.parametrize(
    ("symbol", "folder"),
    [
        ("BTCUSD", "/models"),
        ("ETHUSD", "/models/ETHUSD"),
        ("btcusd", "/models/btcusd"),
        ("EUR/USD", "/models/EUR%2FUSD"),
        ("NIFTY 50", "/models/NIFTY 50"),
        ("../../etc", "/models/%2E%2E%2F%2E%2E%2Fetc"),
        ("..", "/models/%2E%2E"),
        (".", "/models/%2E"),
        ("C:\\x", "/models/C%3A%5Cx"),
        ("%2E", "/models/%252E"),
        ("lightgbm_model.pkl", "/models/lightgbm_model%2Epkl"),
        ("日経", "/models/%E6%97%A5%E7%B5%8C"),
    ],
)
def test_no_symbol_leads_out_of_the_models_folder_or_into_anothers(symbol: str, folder: str) -> None:
    assert model_folder(MODELS, symbol, "BTCUSD") == Path(folder)


def test_a_symbol_with_odd_characters_is_written_and_read(model: HybridModel, tmp_path: Path) -> None:
    odd = HybridModel(pack(replace(model.base, symbol="../EUR/USD.x")))
    folder = model_folder(tmp_path, odd.base.symbol, "BTCUSD")
    path = write_model(folder, odd)
    assert path.parent.parent == tmp_path
    assert read_model(folder, seal(path.read_bytes()), "../EUR/USD.x").version == odd.version
    assert len(list(folder.glob("model_metadata_*.json"))) == 1
