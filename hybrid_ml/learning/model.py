"""The hybrid model: an immutable base of 300 boosted rounds and a small adapter to it.

The base is a LightGBM booster. The adapter holds new values for the base's leaves and nothing
else: it can neither grow the model nor change a split. Probabilities are softmax(raw score /
temperature).
"""

from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from hybrid_ml.learning.rows import Rows

if TYPE_CHECKING:
    import lightgbm

Kind = Literal["base", "scratch", "adapter"]
CLASS_COUNT = 3


def softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities along the last axis of `scores`, any shape; each row sums to one."""
    shifted = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


@dataclass(frozen=True)
class Base:
    """A trained base and everything needed to use and to evaluate it.

    `trees`: LightGBM's text form. `leaf_values`: (trees, leaves) float64, raw-score units, unused
    leaves zero; tree t belongs to class t % 3. `label_threshold`: |log return| below which the
    outcome is FLAT, which `flat_share` of the training rows were. `leaders`: the symbols whose bars it sees beside
    its own, in the order of its features. `trained_until`: when the last training label was known; `data_until`: the
    close of the newest bar used in making the model, the hold-out included. `version`
    and `packed` (the part as bytes, see `model_bytes`) are filled in when it is packed or unpacked.
    """

    symbol: str
    kind: Kind
    trees: str
    leaf_values: NDArray[np.float64]
    feature_names: tuple[str, ...]
    classes: tuple[str, ...]
    label_threshold: float
    class_prior: tuple[float, float, float]
    temperature: float
    as_of: datetime
    trained_from: datetime
    trained_until: datetime
    data_until: datetime
    rows: int
    row_limit: int
    week: int
    leaders: tuple[str, ...] = ()
    flat_share: float = 1 / 3
    parameters: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    library_versions: dict[str, str] = field(default_factory=dict)
    version: str = ""
    packed: bytes = field(default=b"", repr=False)

    @cached_property
    def booster(self) -> "lightgbm.Booster":
        """The booster parsed from `trees`; only bytes that passed the checks of `model_bytes` get here."""
        import lightgbm

        return lightgbm.Booster(model_str=self.trees)

    @property
    def has_node_counts(self) -> bool:
        """Whether the trees state how many rows reached each node; those of older models do not."""
        return "\nleaf_count=" in self.trees


@dataclass(frozen=True)
class Adapter:
    """Leaf values changed towards recent rows.

    `leaf_values`: (trees, leaves) float32 instead of the base's, or None when the trial was not
    better on unseen rows. `step`: share of the full step, 0 to 1.
    """

    parent: str
    leaf_values: NDArray[np.float32] | None
    step: float
    as_of: datetime
    trained_from: datetime
    trained_until: datetime
    data_until: datetime
    rows: int
    metrics: dict[str, Any] = field(default_factory=dict)
    version: str = ""
    packed: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class HybridModel:
    """A base, and an adapter when one was adopted."""

    base: Base
    adapter: Adapter | None = None

    @property
    def adapted(self) -> bool:
        """Whether an adapter changes the base's answer."""
        return self.adapter is not None and self.adapter.leaf_values is not None

    @property
    def serving_part(self) -> Base | Adapter:
        """The part whose version is that of the answers."""
        return self.adapter if self.adapter is not None and self.adapted else self.base

    @property
    def version(self) -> str:
        return self.serving_part.version

    @property
    def kind(self) -> Kind:
        return "adapter" if self.adapted else self.base.kind

    @property
    def trained_until(self) -> datetime:
        """The model must not be evaluated on rows that open before this."""
        return self.serving_part.trained_until

    def with_adapter(self, adapter: Adapter | None) -> "HybridModel":
        return replace(self, adapter=adapter)

    def leaves(self, features: NDArray[np.float32], num_threads: int = 1) -> NDArray[np.intp]:
        """Leaf each row falls into in each tree, (n, trees)."""
        leaves = self.base.booster.predict(features, pred_leaf=True, num_threads=num_threads)
        return np.asarray(leaves).reshape(len(features), -1).astype(np.intp, copy=False)

    def leaves_of(self, rows: Rows, num_threads: int = 1) -> NDArray[np.intp]:
        """The same for `rows`, which may contain their leaves in this base already."""
        if rows.leaves is not None and rows.leaves.version == self.base.version:
            return rows.leaves.places.astype(np.intp)
        return self.leaves(rows.matrix(self.base.leaders), num_threads)

    def raw_scores(self, leaves: NDArray[np.intp], *, base_only: bool = False) -> NDArray[np.float64]:
        """Raw class scores (n, 3) from the leaves of rows."""
        adapter = self.adapter
        if base_only or adapter is None or adapter.leaf_values is None:
            return sum_leaves(self.base.leaf_values, leaves)
        return sum_leaves(adapter.leaf_values, leaves)

    def probabilities(self, features: NDArray[np.float32], *, num_threads: int = 1) -> NDArray[np.float64]:
        """P(down), P(flat), P(up) for each row, (n, 3)."""
        return softmax(self.raw_scores(self.leaves(features, num_threads)) / self.base.temperature)

    def probabilities_of(self, rows: Rows, *, num_threads: int = 1) -> NDArray[np.float64]:
        """P(down), P(flat), P(up) for each of `rows`, (n, 3)."""
        return softmax(self.raw_scores(self.leaves_of(rows, num_threads)) / self.base.temperature)

    def base_probabilities(self, features: NDArray[np.float32], *, num_threads: int = 1) -> NDArray[np.float64]:
        """The same from the base alone, (n, 3)."""
        scores = self.raw_scores(self.leaves(features, num_threads), base_only=True)
        return softmax(scores / self.base.temperature)

    def base_probabilities_of(self, rows: Rows, *, num_threads: int = 1) -> NDArray[np.float64]:
        """The same for each of `rows`, (n, 3)."""
        return self.base_probabilities(rows.matrix(self.base.leaders), num_threads=num_threads)

    def __str__(self) -> str:
        base = self.base
        accuracy = base.metrics.get("accuracy")
        judged = f", hold-out accuracy {accuracy:.3f}" if accuracy is not None else ""
        adapted = f", adapted at {self.adapter.as_of:%Y-%m-%d %H:%M}" if self.adapter and self.adapted else ""
        return (
            f"HybridModel {self.version} ({self.kind} of {base.symbol}): {base.rows:,} rows until "
            f"{base.trained_until:%Y-%m-%d %H:%M} UTC, {len(base.leaf_values)} trees{adapted}{judged}"
        )


def sum_leaves(leaf_values: NDArray[Any], leaves: NDArray[np.intp]) -> NDArray[np.float64]:
    """Add up each row's leaf values by class, (n, trees) leaves to (n, 3) float64 raw scores."""
    trees = np.arange(leaf_values.shape[0])
    values = leaf_values[trees, leaves].astype(np.float64)
    return values.reshape(len(leaves), -1, CLASS_COUNT).sum(axis=1)
