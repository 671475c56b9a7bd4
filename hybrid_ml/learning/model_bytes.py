"""Models as bytes: written with builtins only, checked before they are parsed.

A part (base or adapter) is a pickle of a dictionary of builtins. The serving file holds the bytes
of both parts, so each can be compared with its row in the registry. LightGBM aborts the process on
damaged text, and a pickle can name any function to call; so length and sha256 come first, the
pickle is read by `plain_pickle`, and only then is a model built.
"""

import hashlib
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any, TypeVar

import numpy as np

from hybrid_ml.errors import ModelUnavailable, one_line
from hybrid_ml.learning.model import Adapter, Base, HybridModel
from hybrid_ml.learning.plain_pickle import load_plain
from hybrid_ml.market.labels import CLASSES
from hybrid_ml.market.leaders import feature_names

FORMAT = 1
LARGEST_MODEL = 64 * 1024 * 1024
"""Bytes of a serving file; twenty times the present size. A longer one is not read."""
TIMES = ("as_of", "trained_from", "trained_until", "data_until")
DERIVED = {"version", "packed"}
EARLIER: dict[str, Any] = {"leaders": [], "flat_share": 1 / 3}
"""What bases mean that were made before they stated these."""
FLOATS = ("<f4", "<f8", ">f4", ">f8")
ModelPart = TypeVar("ModelPart", Base, Adapter)


@dataclass(frozen=True)
class Checksum:
    """The expected length and sha256 (hexadecimal) of bytes, checked before they are parsed."""

    length: int
    sha256: str


def seal(data: bytes) -> Checksum:
    """The checksum of `data`."""
    return Checksum(len(data), hashlib.sha256(data).hexdigest())


def check_seal(data: bytes, expected: Checksum) -> None:
    """Raise ModelUnavailable, naming the check that failed, unless `data` has the checksum `expected`."""
    if len(data) != expected.length:
        raise ModelUnavailable(f"length check failed: {len(data):,} bytes instead of {expected.length:,}")
    if hashlib.sha256(data).hexdigest() != expected.sha256:
        raise ModelUnavailable(f"sha256 check failed: the bytes are not those of {expected.sha256[:12]}…")


def _unpickle(data: bytes) -> dict[str, Any]:
    content = load_plain(data)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ModelUnavailable(f"format check failed: not a model of format {FORMAT}")
    return content


def pack(part: ModelPart) -> ModelPart:
    """`part` with `packed` and `version` filled in; the same training gives the same of both."""
    content: dict[str, Any] = {"format": FORMAT, "part": type(part).__name__.lower()}
    for item in fields(part):
        if item.name not in DERIVED:
            content[item.name] = _plain(getattr(part, item.name))
    data = pickle.dumps(content, protocol=5)
    return replace(part, version=_version(part, data), packed=data)


def _version(part: Base | Adapter, data: bytes) -> str:
    symbol, kind = (part.symbol, part.kind) if isinstance(part, Base) else (part.parent.rsplit("@", 1)[0], "adapter")
    return f"{symbol}@{part.as_of:%Y%m%dT%H%M%SZ}-{kind}-{hashlib.sha256(data).hexdigest()[:8]}"


def _plain(value: Any) -> Any:
    """`value` in builtins: arrays as dtype, shape and bytes, times as ISO text, tuples as lists."""
    if isinstance(value, np.ndarray):
        return {"dtype": value.dtype.str, "shape": list(value.shape), "data": value.tobytes()}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    return value


def unpack_base(data: bytes) -> Base:
    """The base in `data`, whose checksum has been checked. Raises ModelUnavailable when it does not fit."""
    content = _part(data, Base)
    with _fitting():
        for name in ("feature_names", "classes", "class_prior", "leaders"):
            content[name] = tuple(content[name])
        base = Base(**_with_times_and_arrays(content))
        trees = base.trees.count("\nTree=")
    expected = feature_names(len(base.leaders))
    if base.feature_names != expected:
        different = sorted(set(map(str, base.feature_names)) ^ set(expected)) or ["their order"]
        text = one_line(", ".join(map(one_line, different[:5])))
        raise ModelUnavailable(f"feature check failed: the model and this program differ in {text}")
    if base.classes != CLASSES:
        raise ModelUnavailable(f"class check failed: the model's classes are {one_line(base.classes)}, not {CLASSES}")
    if np.ndim(base.leaf_values) != 2 or len(base.leaf_values) != trees:
        raise ModelUnavailable(f"format check failed: the leaf values are not those of {trees} trees")
    return replace(base, version=_version(base, data), packed=data)


def unpack_adapter(data: bytes, base: Base) -> Adapter:
    """The adapter in `data`, whose checksum has been checked, for `base`."""
    content = _part(data, Adapter)
    with _fitting():
        adapter = Adapter(**_with_times_and_arrays(content))
    if adapter.parent != base.version:
        belongs = f"the adapter belongs to {one_line(adapter.parent)}, not {one_line(base.version)}"
        raise ModelUnavailable(f"parent check failed: {belongs}")
    if adapter.leaf_values is not None and adapter.leaf_values.shape != base.leaf_values.shape:
        raise ModelUnavailable("parent check failed: the adapter has other leaves than its base")
    return replace(adapter, version=_version(adapter, data), packed=data)


@contextmanager
def _fitting() -> Iterator[None]:
    """Translate errors of values of the wrong kind into the error of a model that does not fit."""
    try:
        yield
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise ModelUnavailable(f"format check failed: {type(error).__name__}: {one_line(error)}") from None


def _with_times_and_arrays(content: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {name: datetime.fromisoformat(content[name]) for name in TIMES}
    values = content["leaf_values"]
    if values is not None:
        if values["dtype"] not in FLOATS:
            raise ValueError(f"leaf values are floats, not {one_line(values['dtype'], 40)}")
        array = np.frombuffer(values["data"], dtype=np.dtype(values["dtype"]))
        made["leaf_values"] = array.reshape(values["shape"])
    return content | made


def _part(data: bytes, kind: type[Base] | type[Adapter]) -> dict[str, Any]:
    content = _unpickle(data)
    names = {item.name for item in fields(kind)} - DERIVED
    content = EARLIER | content if kind is Base else content
    if content.pop("part", None) != kind.__name__.lower() or set(content) - {"format"} != names:
        raise ModelUnavailable(f"format check failed: not the {kind.__name__.lower()} of a model")
    content.pop("format")
    return content


@dataclass(frozen=True)
class RenamedPart:
    """A part under another symbol. `is_adopted`: it is a base, or an adapter that changes its base."""

    version: str
    data: bytes
    is_adopted: bool


def rename_part(data: bytes, version: str, symbol: str, parent: str | None) -> RenamedPart:
    """The base in `data`, whose checksum has been checked, as one of `symbol`; or with `parent` the adapter to that.

    Nothing else in it changes. Its version is another one, since versions name their symbol and their bytes.
    """
    content = _unpickle(data)
    content |= {"symbol": symbol} if parent is None else {"parent": parent}
    renamed = pickle.dumps(content, protocol=5)
    moment_and_kind = version.rpartition("@")[2].rpartition("-")[0]
    digest = hashlib.sha256(renamed).hexdigest()[:8]
    return RenamedPart(f"{symbol}@{moment_and_kind}-{digest}", renamed, content.get("leaf_values") is not None)


def pack_file(model: HybridModel) -> bytes:
    """The serving file of a model with packed parts: the bytes of both in one pickle of builtins."""
    return pack_parts(model.base.packed, model.adapter.packed if model.adapter is not None and model.adapted else None)


def pack_parts(base: bytes, adapter: bytes | None) -> bytes:
    """The serving file of a base and of the adapter that changes it, if any."""
    return pickle.dumps({"format": FORMAT, "base": base, "adapter": adapter}, protocol=5)


def unpack_file(data: bytes, symbol: str | None) -> HybridModel:
    """The model in a serving file whose checksum has been checked; it must be one of `symbol` (None: of any)."""
    content = _file(data)
    return build(content["base"], content.get("adapter"), symbol)


def base_bytes(data: bytes) -> bytes:
    """The bytes of the base in a serving file, to be checked before they are used."""
    base: bytes = _file(data)["base"]
    return base


def _file(data: bytes) -> dict[str, Any]:
    content = _unpickle(data)
    if not isinstance(content.get("base"), bytes):
        raise ModelUnavailable("format check failed: the file holds no base")
    return content


def build(base_data: bytes, adapter_data: bytes | None, symbol: str | None) -> HybridModel:
    """The model made of checked parts."""
    base = unpack_base(base_data)
    if symbol is not None and base.symbol != symbol:
        raise ModelUnavailable(f"symbol check failed: the model was made for {one_line(base.symbol)}, not {symbol}")
    return HybridModel(base, None if adapter_data is None else unpack_adapter(adapter_data, base))
