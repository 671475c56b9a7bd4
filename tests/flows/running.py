"""Runs flows and reads their results."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter
from prefect.client.schemas.sorting import ArtifactSort
from sqlalchemy import Engine, text

from flows.analysis import analysis
from flows.weekly_training import weekly_training
from hybrid_ml.schemas.reports import Analysis, Training
from hybrid_ml.schemas.requests import AnalysisRequest, TrainingRequest
from hybrid_ml.store.sessions import set_calendar, store_own_days

AS_OF = datetime(2024, 2, 2, 10, 20, tzinfo=UTC)
"""15:50 in Kolkata, outside of quiet hours."""
SURE = {"preset": "very_aggressive", "min_confidence": 0.0, "min_prob_margin": 0.0, "max_entropy": 1.1}
"""Bounds that every answer except FLAT passes."""


A_THIRD = {"flat_share": 1 / 3}
"""With a third as FLAT the model of a few thousand simulated bars at AS_OF is right often enough to stay."""


BOOSTING_ROUNDS = 60
"""A fifth of the usual ones: no test of flows is about how good a model is."""

RUNS: list[UUID] = []
"""The flow runs of this process. The Prefect server has those of other test processes as well."""


def run(flow: Flow, request: Any) -> tuple[Any, Any]:
    """Run a flow; its final state and its report."""
    state: Any = flow(request, return_state=True)
    RUNS.append(state.state_details.flow_run_id)
    return state, state.result(raise_on_failure=False)


def page(key: str) -> str:
    """The newest artifact with `key` of a run of this process, as Markdown."""
    with get_client(sync_client=True) as client:
        chosen = ArtifactFilter(key={"any_": [key]}, flow_run_id={"any_": RUNS})
        artifacts = client.read_artifacts(artifact_filter=chosen, sort=ArtifactSort.CREATED_DESC)
    assert artifacts, f"there is no artifact {key}"
    return str(artifacts[0].data)


def train(**changes: Any) -> Training:
    """Train ABC a little before AS_OF."""
    _, report = run(weekly_training, TrainingRequest(**{"limit": 3_000, "as_of": AS_OF, **A_THIRD, **changes}))
    return report.trainings[0]


def analyze(**changes: Any) -> Analysis:
    """Analyse ABC as of AS_OF."""
    _, report = run(analysis, AnalysisRequest(**{"as_of": AS_OF, **changes}))
    return report.analyses[0]


def rows(engine: Engine, statement: str) -> list[tuple[Any, ...]]:
    """The rows of a query."""
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(statement))]


def choose_calendar(engine: Engine, symbol: str, times: list[tuple[datetime, datetime]]) -> None:
    """Give `symbol` a calendar of its own with these sessions."""
    calendar = f"of {symbol}"
    with engine.begin() as connection:
        store_own_days(connection, calendar, {times[0][0].date(): times})
        set_calendar(connection, [symbol], calendar)
