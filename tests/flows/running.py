"""Running flows and looking at what they left."""

from datetime import UTC, datetime
from typing import Any

from prefect import Flow
from sqlalchemy import Engine, text

from flows.analysis import analysis
from flows.weekly_training import weekly_training
from hybrid_ml.schemas.reports import Analysis, Training
from hybrid_ml.schemas.requests import AnalysisRequest, TrainingRequest

AS_OF = datetime(2024, 2, 2, 10, 20, tzinfo=UTC)
"""15:50 in Kolkata: nobody sleeps."""
SURE = {"preset": "very_aggressive", "min_confidence": 0.0, "min_prob_margin": 0.0, "max_entropy": 1.1}
"""Bounds that any answer but FLAT passes."""


def run(flow: Flow, request: Any) -> tuple[Any, Any]:
    """Run a flow; its final state and its report."""
    state: Any = flow(request, return_state=True)
    return state, state.result(raise_on_failure=False)


def train(**changes: Any) -> Training:
    """Train ABC a little before AS_OF."""
    _, report = run(weekly_training, TrainingRequest(**{"limit": 3_000, "as_of": AS_OF, **changes}))
    return report.trainings[0]


def analyze(**changes: Any) -> Analysis:
    """Analyse ABC as of AS_OF."""
    _, report = run(analysis, AnalysisRequest(**{"as_of": AS_OF, **changes}))
    return report.analyses[0]


def rows(engine: Engine, statement: str) -> list[tuple[Any, ...]]:
    """What a query gives."""
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(statement))]
