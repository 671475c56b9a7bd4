"""Models as bytes: the same again, or refused with a reason, and nothing in them is ever called."""

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

PLACES = 20


@pytest.fixture(scope="module")
def data(adapted: HybridModel) -> bytes:
    """The serving file of a model with an adapter."""
    return pack_file(adapted)


def adapter_of(model: HybridModel) -> Adapter:
    assert model.adapter is not None
    return model.adapter


def altered(packed: bytes, **changes: Any) -> bytes:
    """A part with other content, sealed or not, as someone who can write pickles would make it."""
    return pickle.dumps({**pickle.loads(packed), **changes}, protocol=5)


def file_of(base: Any, adapter: Any = None, **changes: Any) -> bytes:
    return pickle.dumps({"format": 1, "base": base, "adapter": adapter, **changes}, protocol=5)


def refusal(data: bytes, symbol: str = "DEMO") -> str:
    with pytest.raises(ModelUnavailable) as raised:
        unpack_file(data, symbol)
    return str(raised.value)


def assert_equal_parts(found: Base | Adapter, expected: Base | Adapter) -> None:
    for item in fields(expected):
        one, other = getattr(found, item.name), getattr(expected, item.name)
        if isinstance(other, np.ndarray):
            np.testing.assert_array_equal(one, other, strict=True)
        else:
            assert one == other, item.name


def test_a_model_comes_back_with_the_same_answers_fields_and_bytes(
    adapted: HybridModel, market: Window, data: bytes
) -> None:
    back = unpack_file(data, "DEMO")
    features = market.rows.features[:: len(market.rows) // 300]
    np.testing.assert_array_equal(back.probabilities(features), adapted.probabilities(features))
    np.testing.assert_array_equal(back.base_probabilities(features), adapted.base_probabilities(features))
    assert_equal_parts(back.base, adapted.base)
    assert_equal_parts(adapter_of(back), adapter_of(adapted))
    assert pack_file(back) == data
    assert back.version == adapted.version


def test_a_base_alone_comes_back_alone(model: HybridModel) -> None:
    back = unpack_file(pack_file(model), "DEMO")
    assert back.adapter is None
    assert (back.version, back.kind) == (model.version, "base")


def test_an_adapter_that_changes_nothing_is_not_written(model: HybridModel, adapted: HybridModel) -> None:
    stayed = pack(replace(adapter_of(adapted), leaf_values=None, step=0.0))
    assert pack_file(model.with_adapter(stayed)) == pack_file(model)
    assert_equal_parts(unpack_adapter(stayed.packed, model.base), stayed)


def test_packing_again_gives_the_same_bytes_and_version(model: HybridModel, adapted: HybridModel) -> None:
    for part in (model.base, adapter_of(adapted)):
        again = pack(replace(part, version="", packed=b""))
        assert again.packed == part.packed
        assert again.version == part.version


def test_the_version_names_symbol_moment_kind_and_content(model: HybridModel, adapted: HybridModel) -> None:
    assert model.version == f"DEMO@20240105T204000Z-base-{seal(model.base.packed).sha256[:8]}"
    assert adapted.version == f"DEMO@20240106T232000Z-adapter-{seal(adapter_of(adapted).packed).sha256[:8]}"
    scratch = pack(replace(model.base, kind="scratch", symbol="EUR USD"))
    assert scratch.version.startswith("EUR USD@20240105T204000Z-scratch-")


@pytest.mark.parametrize("change", [{"rows": 5_999}, {"week": 1}, {"metrics": {"accuracy": 0.5}}])
def test_any_other_content_is_another_version(model: HybridModel, change: dict[str, Any]) -> None:
    assert pack(replace(model.base, **change)).version != model.version


def test_sealed_bytes_pass_their_own_seal_and_no_other(data: bytes) -> None:
    check_seal(data, seal(data))
    with pytest.raises(ModelUnavailable, match="sha256 check failed"):
        check_seal(data, Checksum(len(data), "0" * 64))
    with pytest.raises(
        ModelUnavailable, match=f"length check failed: {len(data):,} bytes instead of {len(data) + 1:,}"
    ):
        check_seal(data, Checksum(len(data) + 1, seal(data).sha256))


@pytest.mark.parametrize("place", range(PLACES))
def test_truncated_bytes_are_refused_with_and_without_a_seal(data: bytes, place: int) -> None:
    cut = data[: len(data) * place // PLACES]
    with pytest.raises(ModelUnavailable, match="length check failed"):
        check_seal(cut, seal(data))
    assert refusal(cut).startswith("pickle check failed")


@pytest.mark.parametrize("place", range(PLACES))
def test_a_flipped_bit_is_found_wherever_it_is(data: bytes, place: int) -> None:
    damaged = bytearray(data)
    damaged[(len(data) - 1) * place // (PLACES - 1)] ^= 1 << place % 8
    with pytest.raises(ModelUnavailable, match="sha256 check failed"):
        check_seal(bytes(damaged), seal(data))


@pytest.mark.parametrize("extra", [b"", b"\x00", b"\n"])
def test_no_bytes_and_more_bytes_fail_the_seal(data: bytes, extra: bytes) -> None:
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
def test_what_is_no_model_is_refused(content: bytes, text: str) -> None:
    assert refusal(content).startswith(text)


class Hostile:
    """Its pickle calls `function(argument)` when it is loaded by an unpickler that trusts it."""

    def __init__(self, function: Callable[[Any], Any], argument: Any) -> None:
        self.call = (function, (argument,))

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    ("function", "written"), [(os.system, "touch {}"), (eval, "open({!r}, 'w')"), (os.mkdir, "{}")]
)
def test_a_hostile_pickle_is_refused_and_calls_nothing(
    tmp_path: Path, function: Callable[[Any], Any], written: str, protocol: int
) -> None:
    trace = tmp_path / "called"
    bomb = Hostile(function, written.format(str(trace)))
    for place in (bomb, {"format": 1, "base": bomb}, [bomb]):
        data = pickle.dumps(place, protocol=protocol)
        assert "pickle check failed: it holds the operation " in refusal(data)
        assert not trace.exists()
    pickle.loads(pickle.dumps(bomb, protocol=protocol))
    assert trace.exists(), "the pickle was harmless, so that nothing was shown"


def test_a_hostile_part_in_a_good_file_is_refused_and_calls_nothing(
    model: HybridModel, adapted: HybridModel, tmp_path: Path
) -> None:
    trace = tmp_path / "called"
    bomb = Hostile(os.mkdir, str(trace))
    hostile_base = altered(model.base.packed, metrics={"accuracy": bomb})
    hostile_adapter = altered(adapter_of(adapted).packed, metrics=bomb)
    assert "it holds the operation STACK_GLOBAL" in refusal(file_of(hostile_base))
    assert "it holds the operation STACK_GLOBAL" in refusal(file_of(model.base.packed, hostile_adapter))
    assert not trace.exists()


def test_a_pickle_that_refers_outside_itself_is_refused() -> None:
    assert refusal(b"Psecret\n.").startswith("pickle check failed: it holds the operation PERSID")


def test_a_model_of_another_symbol_is_refused(data: bytes, model: HybridModel) -> None:
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
def test_a_model_of_other_features_is_refused(model: HybridModel, names: tuple[str, ...], message: str) -> None:
    text = refusal(file_of(pack(replace(model.base, feature_names=names)).packed))
    assert text.startswith("feature check failed")
    assert message in text


@pytest.mark.parametrize("classes", [("up", "flat", "down"), ("down", "up"), ("down", "flat", "up", "sideways")])
def test_a_model_of_other_classes_is_refused(model: HybridModel, classes: tuple[str, ...]) -> None:
    assert refusal(file_of(pack(replace(model.base, classes=classes)).packed)).startswith("class check failed")


def test_an_adapter_of_another_base_is_refused(model: HybridModel, adapted: HybridModel) -> None:
    other = pack(replace(model.base, rows=model.base.rows + 1))
    text = refusal(file_of(other.packed, adapter_of(adapted).packed))
    assert text == f"parent check failed: the adapter belongs to {model.version}, not {other.version}"


@pytest.mark.parametrize(("trees", "leaves"), [(3, 0), (-3, 0), (0, 1), (0, 1_000), (0, -1), (300, -1)])
def test_an_adapter_that_would_change_the_size_of_the_model_is_refused(
    model: HybridModel, adapted: HybridModel, trees: int, leaves: int
) -> None:
    height, width = model.base.leaf_values.shape
    grown = np.zeros((height + trees, width + leaves), dtype=np.float32)
    adapter = pack(replace(adapter_of(adapted), leaf_values=grown))
    assert refusal(file_of(model.base.packed, adapter.packed)).startswith("parent check failed")


def test_a_part_of_one_kind_is_not_taken_for_the_other(model: HybridModel, adapted: HybridModel) -> None:
    base, adapter = model.base.packed, adapter_of(adapted).packed
    assert refusal(file_of(adapter)) == "format check failed: not the base of a model"
    assert refusal(file_of(base, base)) == "format check failed: not the adapter of a model"


def test_a_part_with_a_field_too_many_or_too_few_is_refused(model: HybridModel) -> None:
    content = pickle.loads(model.base.packed)
    del content["temperature"]
    for packed in (pickle.dumps(content), altered(model.base.packed, surprise=1), altered(model.base.packed, format=0)):
        with pytest.raises(ModelUnavailable, match="format check failed"):
            unpack_base(packed)


def test_a_model_that_was_read_cannot_be_written_to(data: bytes) -> None:
    back = unpack_file(data, "DEMO")
    for values in (back.base.leaf_values, adapter_of(back).leaf_values):
        with pytest.raises(ValueError, match="read-only"):
            values[0, 0] = 1.0
