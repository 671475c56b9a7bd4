"""The SQL in docs/review.md gives the same figures as the review."""

import re
from collections import Counter
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Engine

from hybrid_ml.evaluation.threshold_search import advise
from hybrid_ml.market.labels import CLASSES
from hybrid_ml.review.ledger_metrics import measures
from hybrid_ml.signals.gates import Answer, GateContext, evaluate_gates
from hybrid_ml.signals.penalty import NO_PENALTY
from hybrid_ml.signals.presets import PRESETS, Bounds
from hybrid_ml.store.ledger import ledger_between
from tests.conftest import ROOT
from tests.ledgers import insert_answers, simulated_ledger

BLOCKS = re.findall(r"```sql\n(.*?)```", (ROOT / "docs" / "review.md").read_text(encoding="utf-8"), flags=re.DOTALL)
MARGIN = 0.15


@pytest.fixture
def now(engine: Engine) -> datetime:
    """The end of the answers; some of them are void, and one is not yet due."""
    moment = datetime.now(UTC).replace(second=0, microsecond=0)
    abc = simulated_ledger(count=900, until=moment)
    abc.loc[:5, ["outcome", "forward_return", "counted", "close_then"]] = None
    abc.loc[:5, "void_reason"] = "the session ended before"
    insert_answers(engine, abc)
    insert_answers(engine, simulated_ledger("XYZ", 700, seed=1, preset="aggressive", until=moment))
    insert_answers(engine, simulated_ledger("OLD", 20, until=moment - timedelta(days=40)))
    return moment


def run_sql(engine: Engine, block: str) -> list[dict]:
    with engine.connect() as connection:
        return [dict(row) for row in connection.exec_driver_sql(block).mappings()]


def read_ledger(engine: Engine, now: datetime) -> pd.DataFrame:
    with engine.connect() as connection:
        return ledger_between(connection, ["ABC", "XYZ", "OLD"], now - timedelta(days=30), now)


def test_sql_precision_coverage_and_false_positives_equal_the_review(engine: Engine, now: datetime) -> None:
    rows = run_sql(engine, BLOCKS[0])
    _, *parts = measures(read_ledger(engine, now), 0.0)
    assert [(row["symbol"], row["preset"]) for row in rows] == [("ABC", "balanced"), ("XYZ", "aggressive")]
    for row, part in zip(rows, parts, strict=True):
        assert row["signals"] == part["signals"]["count"] > 100
        for name in ("precision", "coverage", "false_positive_rate"):
            assert float(row[name]) == pytest.approx(part["signals"][name], abs=1e-12)


def test_sql_for_another_margin_equals_gates_and_advice(engine: Engine, now: datetime) -> None:
    rows = run_sql(engine, BLOCKS[1])
    answers = read_ledger(engine, now)
    resolved = answers[answers["outcome"].notna()]
    for row, preset in zip(rows, ("balanced", "aggressive"), strict=True):
        own = resolved[resolved["symbol"] == row["symbol"]]
        bounds = Bounds(PRESETS[preset].min_confidence, MARGIN, PRESETS[preset].max_entropy)
        passed = own[_passes(own, bounds) & ~own["refused_by"].str.contains("freshness")]
        assert row["signals"] == len(passed)
        assert float(row["precision"]) == pytest.approx((passed["direction"] == passed["outcome"]).mean())
        along = np.where(passed["direction"] == "up", 1, -1)
        for name, column in (("mean_return_bps", "forward_return"), ("mean_entry_return_bps", "entry_return")):
            assert float(row[name]) == pytest.approx((along * passed[column]).mean() * 1e4)
        advice = advise(own, bounds, wanted_precision=0.6, fee_bps=0.0)
        assert advice is not None
        same = (bounds.min_confidence, bounds.min_prob_margin, bounds.max_entropy)
        (setting,) = (s for s in advice.settings if (s.min_confidence, s.min_prob_margin, s.max_entropy) == same)
        # The advice leaves out answers that overlap both halves: at most one here.
        assert row["signals"] - setting.found.count - setting.shown.count in (0, 1)


def _passes(answers: pd.DataFrame, bounds: Bounds) -> np.ndarray:
    context = GateContext(bounds, NO_PENALTY, 0.0, 15.0)
    probabilities = answers[[f"p_{name}" for name in CLASSES]].to_numpy()
    return np.array(
        [all(verdict.passed for verdict in evaluate_gates(Answer.of(row), context)) for row in probabilities]
    )


def test_sql_refusals_equal_the_ledger(engine: Engine, now: datetime) -> None:
    rows = run_sql(engine, BLOCKS[2])
    answers = read_ledger(engine, now)
    refused, refused_alone = Counter(), Counter()
    for symbol, names in zip(answers["symbol"], answers["refused_by"], strict=True):
        gates = names.split(",") if names else []
        refused.update((symbol, gate) for gate in gates)
        refused_alone.update((symbol, gate) for gate in gates if len(gates) == 1)
    assert {(row["symbol"], row["gate"]): row["refused"] for row in rows} == refused
    assert {
        key: row["alone"] for row in rows if row["alone"] and (key := (row["symbol"], row["gate"]))
    } == refused_alone


def test_every_sql_block_is_tested() -> None:
    assert len(BLOCKS) == 3
