"""Malicious model files: refused quickly and in one line, at the cost of a valid file."""

import hashlib
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from hybrid_ml.errors import ModelUnavailable
from hybrid_ml.learning.model import HybridModel
from hybrid_ml.learning.model_bytes import LARGEST_MODEL, pack_file, unpack_base
from hybrid_ml.learning.plain_pickle import MOST_OPCODES, load_plain
from hybrid_ml.registry.sandbox import try_in_child
from hybrid_ml.store.model_export import read_model_file
from tests.conftest import ROOT
from tests.faults.table import FaultRows
from tests.flows.running import rows
from tests.peak import Usage, run_measured
from tests.store.test_registry import model as model  # noqa: PLC0414  # the fixtures of the registry's tests
from tests.store.test_registry import window as window  # noqa: PLC0414

CPU_SECONDS, PEAK_BYTES = 40.0, 1024**3
"""Far above the cost of a command without import (3 s, 0.3 GB), far below that of these files once: 100 s, 2.3 GB."""
NESTED_TUPLES_AS_KEY = b"\x80\x04})" + 40 * b"2\x86" + b"Ns."
"""Every tuple is a pair of the previous one, so the hash of the last takes 2**40 steps."""
MEMO_AT_A_LARGE_INDEX = b"\x80\x04}r\xff\xff\xff\x0f."
"""The unpickler's memo is a list as long as its largest index."""


@pytest.fixture
def faults(request: pytest.FixtureRequest) -> FaultRows:
    return FaultRows(request.node)


def with_checksum(path: Path, data: bytes) -> Path:
    """A file as `models export` would write it, whatever `data` is."""
    path.write_bytes(b"hybrid-ml model 1 %d %s\n" % (len(data), hashlib.sha256(data).hexdigest().encode()) + data)
    return path


def import_as_user(path: Path) -> Usage:
    program = Path(sys.executable).with_name("hybrid-ml")
    return run_measured([program, "models", "import", "--path", path], cwd=ROOT)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("nested tuples as a key", NESTED_TUPLES_AS_KEY),
        ("a memo of 268 million places in its base", pickle.dumps({"format": 1, "base": MEMO_AT_A_LARGE_INDEX})),
    ],
    ids=["key", "memo"],
)
def test_malicious_model_file_is_refused_at_the_cost_of_a_valid_one(
    engine: Engine, tmp_path: Path, faults: FaultRows, name: str, data: bytes
) -> None:
    path = with_checksum(tmp_path / "hostile.model", data)
    done = import_as_user(path)
    assert (done.code, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"hybrid-ml: --path {path}: pickle check failed: it contains the operation ")
    assert done.cpu_seconds < CPU_SECONDS
    assert done.peak_bytes < PEAK_BYTES
    assert rows(engine, "SELECT count(*) FROM model_versions") == [(0,)]
    faults.add(
        f"`models import` of {path.stat().st_size} bytes: {name}",
        f"refused in one line; {done.cpu_seconds:.1f} s of processor, {done.peak_bytes / 2**20:.0f} MB at most",
        done.seconds,
    )


def nested_lists() -> list[Any]:
    content: list[Any] = ["ha"]
    for _ in range(10):
        content = [content] * 100
    return content


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (NESTED_TUPLES_AS_KEY, "operation EMPTY_TUPLE"),
        (MEMO_AT_A_LARGE_INDEX, "operation LONG_BINPUT"),
        (pickle.dumps({"a": (1, 2)}), "operation TUPLE2"),
        (b"\x80\x04" + b"}" * 1_000_000 + b".", f"more than {MOST_OPCODES:,} operations"),
        (pickle.dumps({"metrics": nested_lists()}), "repeats its content too often"),
        (pickle.dumps({"metrics": ["x" * 100_000] * 1_000}), "repeats its content too often"),
        (b"\x80\x04" + b"]" * 100 + b"a" * 99 + b".", "nested deeper than"),
        (b"\x80\x04]\x94h\x00a.", "nested deeper than"),  # a list that contains itself
        (b"\x80\x04\x8b\x00\x00\x00\x10" + b"\xff" * 100 + b".", "pickle check failed"),  # a number of 256 MB
        (b"\x80\x05\x8e" + b"\xff" * 7 + b"\x7f.", "pickle check failed"),  # bytes of 9 exabytes
        (b"\x80\x04\x95" + b"\xff" * 8 + b"N.", "pickle check failed"),  # a frame of 18 exabytes
    ],
    ids=[
        "nested tuples", "large memo index", "a tuple", "a million dictionaries", "lists of lists", "a text often",
        "deep", "a list in itself", "a long number", "endless bytes", "an endless frame",
    ],
)  # fmt: skip
def test_malicious_pickle_is_refused(data: bytes, text: str) -> None:
    with pytest.raises(ModelUnavailable, match=text) as raised:
        load_plain(data)
    assert len(str(raised.value)) < 500


def test_plain_values_are_unpickled() -> None:
    content = {"a": [1, 2.5, "text", b"bytes", None, True, 2**40, {"b": [], 3: {}}], "c": "text"}
    assert load_plain(pickle.dumps(content, protocol=5)) == content


def test_header_with_an_excessive_length_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "huge.model"
    path.write_bytes(b"hybrid-ml model 1 %d %s\n" % (LARGEST_MODEL + 1, b"0" * 64))
    with pytest.raises(ModelUnavailable, match=f"are more than the maximum of {LARGEST_MODEL:,}"):
        read_model_file(path)


def test_long_texts_of_a_model_are_cut_in_the_error(model: HybridModel) -> None:
    for changes in (
        {"classes": ["x" * 1_000_000]},
        {"feature_names": ["x" * 1_000_000] * 5},
        {"as_of": "x\n" * 1_000_000},
        {"leaf_values": {"dtype": "O" * 1_000_000, "shape": [1, 1], "data": b""}},
    ):
        data = pickle.dumps({**pickle.loads(model.base.packed), **changes}, protocol=5)
        with pytest.raises(ModelUnavailable, match="check failed") as raised:
            unpack_base(data)
        assert len(str(raised.value)) < 1_000
        assert "\n" not in str(raised.value)


def test_memory_of_the_model_check_is_limited(model: HybridModel) -> None:
    program = "from hybrid_ml.registry.sandbox import _limit_self; _limit_self(); bytearray(8 << 30)"
    done = run_measured([sys.executable, "-c", program], cwd=ROOT)
    assert done.code != 0
    assert "MemoryError" in done.stderr
    assert done.peak_bytes < PEAK_BYTES
    try_in_child(pack_file(model))  # a valid model stays below the limit
