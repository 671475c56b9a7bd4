"""Model files: written atomically, and read only with a matching checksum."""

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
PARTS = 20


@pytest.fixture
def folder(tmp_path: Path, adapted: HybridModel) -> Path:
    """A folder with the adapted model in it."""
    write_model(tmp_path / "copies", adapted)
    return tmp_path / "copies"


@pytest.fixture
def checksum(adapted: HybridModel) -> Checksum:
    return seal(pack_file(adapted))


def refusal(folder: Path, expected: Checksum, symbol: str = "DEMO") -> str:
    with pytest.raises(ModelUnavailable) as raised:
        read_model(folder, expected, symbol)
    assert str(folder / MODEL_FILE) in str(raised.value)
    return str(raised.value)


def test_written_model_is_read_with_the_same_probabilities(
    adapted: HybridModel, market: Window, tmp_path: Path
) -> None:
    path = write_model(tmp_path / "not" / "yet" / "there", adapted)
    assert path == tmp_path / "not" / "yet" / "there" / "lightgbm_model.pkl"
    restored = read_model(path.parent, seal(path.read_bytes()), "DEMO")
    features = market.rows.last(50).features
    np.testing.assert_array_equal(restored.probabilities(features), adapted.probabilities(features))
    assert restored.version == adapted.version


def test_newer_model_replaces_the_file(folder: Path, model: HybridModel, adapted: HybridModel) -> None:
    assert adapted.adapted
    write_model(folder, model)
    restored = read_model(folder, seal(pack_file(model)), "DEMO")
    assert restored.version == model.version
    assert not restored.adapted


def test_folder_has_only_model_and_metadata(folder: Path, model: HybridModel) -> None:
    write_model(folder, model)
    assert sorted(path.name for path in folder.iterdir()) == [
        "lightgbm_model.pkl",
        f"model_metadata_{model.base.version}.json",
    ]
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o644}


def test_metadata_describes_the_base_without_its_trees(folder: Path, adapted: HybridModel) -> None:
    base = adapted.base
    metadata = json.loads((folder / f"model_metadata_{base.version}.json").read_text())
    assert not {"leaf_values", "packed"} & set(metadata)
    assert (metadata["symbol"], metadata["version"], metadata["rows"], metadata["trees"]) == (
        "DEMO",
        base.version,
        6_000,
        900,
    )
    assert metadata["trained_until"] == base.trained_until.isoformat()
    assert metadata["metrics"] == base.metrics
    assert metadata["feature_names"] == list(base.feature_names)
    assert (metadata["length"], metadata["sha256"]) == (len(base.packed), seal(base.packed).sha256)


def test_every_base_keeps_its_metadata(folder: Path, model: HybridModel) -> None:
    next_base = pack(replace(model.base, week=1))
    write_model(folder, HybridModel(next_base))
    names = {path.name for path in folder.glob("model_metadata_*.json")}
    assert names == {f"model_metadata_{base.version}.json" for base in (model.base, next_base)}


def test_existing_metadata_is_not_overwritten(folder: Path, adapted: HybridModel) -> None:
    path = folder / f"model_metadata_{adapted.base.version}.json"
    path.write_text("a note of mine")
    write_model(folder, adapted)
    assert path.read_text() == "a note of mine"


def test_missing_model_file_is_reported(tmp_path: Path, checksum: Checksum) -> None:
    assert refusal(tmp_path, checksum).endswith("is missing")


def test_unreadable_model_file_has_the_reason(tmp_path: Path, checksum: Checksum) -> None:
    (tmp_path / MODEL_FILE).mkdir()
    assert "cannot be read: Is a directory" in refusal(tmp_path, checksum)


def test_truncated_model_file_is_refused(folder: Path, checksum: Checksum) -> None:
    content = (folder / MODEL_FILE).read_bytes()
    for part in range(PARTS):
        (folder / MODEL_FILE).write_bytes(content[: checksum.length * part // PARTS])
        assert "length check failed" in refusal(folder, checksum)


def test_model_file_with_a_flipped_bit_is_refused(folder: Path, checksum: Checksum) -> None:
    content = (folder / MODEL_FILE).read_bytes()
    for part in range(PARTS):
        damaged = bytearray(content)
        damaged[(checksum.length - 1) * part // (PARTS - 1)] ^= 0b100
        (folder / MODEL_FILE).write_bytes(damaged)
        assert "sha256 check failed" in refusal(folder, checksum)


def test_malicious_file_is_refused_before_it_is_unpickled(folder: Path, checksum: Checksum, tmp_path: Path) -> None:
    class Malicious:
        def __reduce__(self) -> tuple:
            return os.mkdir, (str(tmp_path / "called"),)

    malicious = pickle.dumps(Malicious())
    (folder / MODEL_FILE).write_bytes(malicious)
    assert "length check failed" in refusal(folder, checksum)
    assert "it contains the operation STACK_GLOBAL" in refusal(folder, seal(malicious))
    assert not (tmp_path / "called").exists()


def test_model_of_another_symbol_is_refused(folder: Path, checksum: Checksum) -> None:
    assert "symbol check failed: the model was made for DEMO, not BTCUSD" in refusal(folder, checksum, "BTCUSD")


def test_unwritable_folder_is_bad_input_with_remedy(tmp_path: Path, model: HybridModel) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BadInput, match="cannot be written") as raised:
        write_model(tmp_path / "file", model)
    assert "HYBRID_ML_MODELS_DIR" in str(raised.value)
    assert "in the database" in str(raised.value)


def test_failed_write_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "occupied").mkdir()
    (tmp_path / "occupied" / "inside").write_text("x")
    with pytest.raises(OSError, match="occupied"):
        write_atomically(tmp_path / "occupied", b"data")
    assert [path.name for path in tmp_path.iterdir()] == ["occupied"]


def test_write_replaces_a_link_but_not_its_target(tmp_path: Path) -> None:
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
def test_symbol_cannot_escape_its_models_folder(symbol: str, folder: str) -> None:
    assert model_folder(MODELS, symbol, "BTCUSD") == Path(folder)


def test_symbol_with_special_characters_is_written_and_read(model: HybridModel, tmp_path: Path) -> None:
    odd_model = HybridModel(pack(replace(model.base, symbol="../EUR/USD.x")))
    folder = model_folder(tmp_path, odd_model.base.symbol, "BTCUSD")
    path = write_model(folder, odd_model)
    assert path.parent.parent == tmp_path
    assert read_model(folder, seal(path.read_bytes()), "../EUR/USD.x").version == odd_model.version
    assert len(list(folder.glob("model_metadata_*.json"))) == 1
