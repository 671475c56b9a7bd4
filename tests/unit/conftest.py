"""One market and one model for all unit tests, made once per session; tests must not change them."""

from dataclasses import dataclass, replace

import pytest

from hybrid_ml.learning import training
from hybrid_ml.learning.fine_tuning import fine_tune
from hybrid_ml.learning.model import HybridModel
from hybrid_ml.learning.model_bytes import pack
from hybrid_ml.learning.rows import Rows, Window, make_window
from hybrid_ml.learning.training import train_base
from hybrid_ml.market.bars import MAX_GAP_MINUTES
from tests.simulated import always_rising, moment, simulated_bars

MARKET_MINUTES = 8_600
TRAINING_MINUTES = 7_000
ROW_LIMIT = 6_000


@dataclass(frozen=True)
class Trained:
    """A model, the rows for its training, and its hold-out."""

    model: HybridModel
    offered: Rows
    hold_out: Rows


@pytest.fixture(scope="session")
def market() -> Window:
    """A market without session breaks; its last 1,600 minutes are newer than the trained model."""
    return make_window(simulated_bars(MARKET_MINUTES), MAX_GAP_MINUTES)


@pytest.fixture(scope="session")
def trained() -> Trained:
    """A base trained on the market's first 7,000 minutes."""
    offered = make_window(simulated_bars(TRAINING_MINUTES), MAX_GAP_MINUTES).rows
    model, hold_out = train_base(
        offered,
        symbol="DEMO",
        kind="base",
        row_limit=ROW_LIMIT,
        week=0,
        as_of=moment(TRAINING_MINUTES),
        num_threads=1,
    )
    return Trained(model, offered, hold_out)


@pytest.fixture(scope="session")
def model(trained: Trained) -> HybridModel:
    """The trained base without an adapter."""
    return trained.model


@pytest.fixture(scope="session")
def without_counts(model: HybridModel) -> HybridModel:
    """The same model as an earlier version of the program made it: its trees do not state the counts of their nodes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "ONLY_FOR_TRAINING", ("leaf_count=", "internal_count="))
        trees = training.lean_text(model.base.trees)
    return HybridModel(pack(replace(model.base, trees=trees)))


@pytest.fixture(scope="session")
def adapted(model: HybridModel, market: Window) -> HybridModel:
    """The trained base with an adapter that moves its answers towards UP."""
    rows = always_rising(market.rows, model.base.label_threshold)
    return model.with_adapter(fine_tune(model, rows, count=1_000, as_of=moment(MARKET_MINUTES)).adapter)
