"""Models as bytes: an exact round trip, or an error with a reason; unpickling executes nothing."""

import os
import pickle
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hybrid_ml.errors import ModelUnavailable
from hybrid_ml.learning.model import Adapter, Base, HybridModel
from hybrid_ml.learning.model_bytes import (
    Checksum,
    build,
    check_seal,
    pack,
    pack_file,
    seal,
    unpack_adapter,
    unpack_base,
    unpack_file,
)
from hybrid_ml.learning.rows import Window
from hybrid_ml.market.features import FEATURE_NAMES

PARTS = 20


@pytest.fixture(scope="module")
def data(adapted: HybridModel) -> bytes:
    """The model file of a model with an adapter."""
    return pack_file(adapted)


def adapter_of(model: HybridModel) -> Adapter:
    assert model.adapter is not None
    return model.adapter


def with_changes(packed: bytes, **changes: Any) -> bytes:
    """A part with changed content, as an attacker who can write pickles would make it."""
    return pickle.dumps({**pickle.loads(packed), **changes}, protocol=5)


def file_of(base: Any, adapter: Any = None, **changes: Any) -> bytes:
    return pickle.dumps({"format": 1, "base": base, "adapter": adapter, **changes}, protocol=5)


def refusal(data: bytes, symbol: str = "DEMO") -> str:
    with pytest.raises(ModelUnavailable) as raised:
        unpack_file(data, symbol)
    return str(raised.value)


def assert_equal_parts(actual: Base | Adapter, expected: Base | Adapter) -> None:
    for item in fields(expected):
        value, expected_value = getattr(actual, item.name), getattr(expected, item.name)
        if isinstance(expected_value, np.ndarray):
            np.testing.assert_array_equal(value, expected_value, strict=True)
        else:
            assert value == expected_value, item.name


def test_packed_model_is_restored_exactly(adapted: HybridModel, market: Window, data: bytes) -> None:
    restored = unpack_file(data, "DEMO")
    features = market.rows.features[:: len(market.rows) // 300]
    np.testing.assert_array_equal(restored.probabilities(features), adapted.probabilities(features))
    np.testing.assert_array_equal(restored.base_probabilities(features), adapted.base_probabilities(features))
    assert_equal_parts(restored.base, adapted.base)
    assert_equal_parts(adapter_of(restored), adapter_of(adapted))
    assert pack_file(restored) == data
    assert restored.version == adapted.version


def test_base_without_adapter_is_restored(model: HybridModel) -> None:
    restored = unpack_file(pack_file(model), "DEMO")
    assert restored.adapter is None
    assert (restored.version, restored.kind) == (model.version, "base")


def test_rejected_adapter_is_not_written_to_the_file(model: HybridModel, adapted: HybridModel) -> None:
    rejected = pack(replace(adapter_of(adapted), leaf_values=None, step=0.0))
    assert pack_file(model.with_adapter(rejected)) == pack_file(model)
    assert_equal_parts(unpack_adapter(rejected.packed, model.base), rejected)


def test_packing_again_gives_the_same_bytes_and_version(model: HybridModel, adapted: HybridModel) -> None:
    for part in (model.base, adapter_of(adapted)):
        again = pack(replace(part, version="", packed=b""))
        assert again.packed == part.packed
        assert again.version == part.version


def test_version_has_symbol_time_kind_and_checksum(model: HybridModel, adapted: HybridModel) -> None:
    assert model.version == f"DEMO@20240105T204000Z-base-{seal(model.base.packed).sha256[:8]}"
    assert adapted.version == f"DEMO@20240106T232000Z-adapter-{seal(adapter_of(adapted).packed).sha256[:8]}"
    scratch = pack(replace(model.base, kind="scratch", symbol="EUR USD"))
    assert scratch.version.startswith("EUR USD@20240105T204000Z-scratch-")


@pytest.mark.parametrize("change", [{"rows": 5_999}, {"week": 1}, {"metrics": {"accuracy": 0.5}}])
def test_changed_content_changes_the_version(model: HybridModel, change: dict[str, Any]) -> None:
    assert pack(replace(model.base, **change)).version != model.version


def test_bytes_pass_only_their_own_checksum(data: bytes) -> None:
    check_seal(data, seal(data))
    with pytest.raises(ModelUnavailable, match="sha256 check failed"):
        check_seal(data, Checksum(len(data), "0" * 64))
    with pytest.raises(
        ModelUnavailable, match=f"length check failed: {len(data):,} bytes instead of {len(data) + 1:,}"
    ):
        check_seal(data, Checksum(len(data) + 1, seal(data).sha256))


@pytest.mark.parametrize("part", range(PARTS))
def test_truncated_bytes_are_refused(data: bytes, part: int) -> None:
    cut = data[: len(data) * part // PARTS]
    with pytest.raises(ModelUnavailable, match="length check failed"):
        check_seal(cut, seal(data))
    assert refusal(cut).startswith("pickle check failed")


@pytest.mark.parametrize("part", range(PARTS))
def test_flipped_bit_fails_the_checksum(data: bytes, part: int) -> None:
    damaged = bytearray(data)
    damaged[(len(data) - 1) * part // (PARTS - 1)] ^= 1 << part % 8
    with pytest.raises(ModelUnavailable, match="sha256 check failed"):
        check_seal(bytes(damaged), seal(data))


@pytest.mark.parametrize("extra", [b"", b"\x00", b"\n"])
def test_missing_or_extra_bytes_fail_the_length_check(data: bytes, extra: bytes) -> None:
    changed = data + extra if extra else b""
    with pytest.raises(ModelUnavailable, match="length check failed"):
        check_seal(changed, seal(data))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "pickle check failed: ValueError: pickle exhausted"),
        (b"tree\nversion=v4\n", "pickle check failed"),
        (b"{}", "pickle check failed"),
        (pickle.dumps(None), "format check failed"),
        (pickle.dumps([1, 2]), "format check failed"),
        (pickle.dumps({}), "format check failed"),
        (pickle.dumps({"format": 2, "base": b""}), "format check failed"),
        (pickle.dumps({"format": 1}), "format check failed: the file holds no base"),
        (file_of("text"), "format check failed: the file holds no base"),
        (file_of(b""), "pickle check failed"),
        (file_of(b"garbage"), "pickle check failed"),
        (file_of(pickle.dumps({"format": 1, "part": "base"})), "format check failed: not the base"),
    ],
)
def test_other_content_is_refused(content: bytes, text: str) -> None:
    assert refusal(content).startswith(text)


class Malicious:
    """Its pickle calls `function(argument)` in a standard unpickler."""

    def __init__(self, function: Callable[[Any], Any], argument: Any) -> None:
        self.call = (function, (argument,))

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    ("function", "argument"), [(os.system, "touch {}"), (eval, "open({!r}, 'w')"), (os.mkdir, "{}")]
)
def test_malicious_pickle_is_refused_and_executes_nothing(
    tmp_path: Path, function: Callable[[Any], Any], argument: str, protocol: int
) -> None:
    marker = tmp_path / "called"
    malicious = Malicious(function, argument.format(str(marker)))
    for part in (malicious, {"format": 1, "base": malicious}, [malicious]):
        data = pickle.dumps(part, protocol=protocol)
        assert "pickle check failed: it contains the operation " in refusal(data)
        assert not marker.exists()
    pickle.loads(pickle.dumps(malicious, protocol=protocol))
    assert marker.exists(), "a standard unpickler must execute this pickle, or the test proves nothing"


def test_malicious_part_of_a_valid_file_is_refused_and_executes_nothing(
    model: HybridModel, adapted: HybridModel, tmp_path: Path
) -> None:
    marker = tmp_path / "called"
    malicious = Malicious(os.mkdir, str(marker))
    malicious_base = with_changes(model.base.packed, metrics={"accuracy": malicious})
    malicious_adapter = with_changes(adapter_of(adapted).packed, metrics=malicious)
    assert "it contains the operation STACK_GLOBAL" in refusal(file_of(malicious_base))
    assert "it contains the operation STACK_GLOBAL" in refusal(file_of(model.base.packed, malicious_adapter))
    assert not marker.exists()


def test_pickle_with_persistent_id_is_refused() -> None:
    assert refusal(b"Psecret\n.").startswith("pickle check failed: it contains the operation PERSID")


def test_model_of_another_symbol_is_refused(data: bytes, model: HybridModel) -> None:
    assert refusal(data, "OTHER") == "symbol check failed: the model was made for DEMO, not OTHER"
    with pytest.raises(ModelUnavailable, match="symbol check failed"):
        build(model.base.packed, None, "demo")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (FEATURE_NAMES[:-1], FEATURE_NAMES[-1]),
        ((*FEATURE_NAMES, "moon_phase"), "moon_phase"),
        (FEATURE_NAMES[::-1], "their order"),
        ((), "autocorrelation_120"),
    ],
)
def test_model_with_other_features_is_refused(model: HybridModel, names: tuple[str, ...], message: str) -> None:
    text = refusal(file_of(pack(replace(model.base, feature_names=names)).packed))
    assert text.startswith("feature check failed")
    assert message in text


@pytest.mark.parametrize("classes", [("up", "flat", "down"), ("down", "up"), ("down", "flat", "up", "sideways")])
def test_model_with_other_classes_is_refused(model: HybridModel, classes: tuple[str, ...]) -> None:
    assert refusal(file_of(pack(replace(model.base, classes=classes)).packed)).startswith("class check failed")


def test_adapter_of_another_base_is_refused(model: HybridModel, adapted: HybridModel) -> None:
    other = pack(replace(model.base, rows=model.base.rows + 1))
    text = refusal(file_of(other.packed, adapter_of(adapted).packed))
    assert text == f"parent check failed: the adapter belongs to {model.version}, not {other.version}"


@pytest.mark.parametrize(("trees", "leaves"), [(3, 0), (-3, 0), (0, 1), (0, 1_000), (0, -1), (300, -1)])
def test_adapter_of_another_shape_is_refused(model: HybridModel, adapted: HybridModel, trees: int, leaves: int) -> None:
    height, width = model.base.leaf_values.shape
    resized = np.zeros((height + trees, width + leaves), dtype=np.float32)
    adapter = pack(replace(adapter_of(adapted), leaf_values=resized))
    assert refusal(file_of(model.base.packed, adapter.packed)).startswith("parent check failed")


def test_base_and_adapter_parts_are_not_interchangeable(model: HybridModel, adapted: HybridModel) -> None:
    base, adapter = model.base.packed, adapter_of(adapted).packed
    assert refusal(file_of(adapter)) == "format check failed: not the base of a model"
    assert refusal(file_of(base, base)) == "format check failed: not the adapter of a model"


def test_part_with_missing_or_extra_fields_is_refused(model: HybridModel) -> None:
    content = pickle.loads(model.base.packed)
    del content["temperature"]
    for packed in (
        pickle.dumps(content),
        with_changes(model.base.packed, surprise=1),
        with_changes(model.base.packed, format=0),
    ):
        with pytest.raises(ModelUnavailable, match="format check failed"):
            unpack_base(packed)


def test_restored_model_is_read_only(data: bytes) -> None:
    restored = unpack_file(data, "DEMO")
    for values in (restored.base.leaf_values, adapter_of(restored).leaf_values):
        with pytest.raises(ValueError, match="read-only"):
            values[0, 0] = 1.0
