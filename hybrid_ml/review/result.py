"""What a review found, as one document."""

from datetime import datetime
from pathlib import Path
from typing import Any

from hybrid_ml.evaluation.threshold_search import Advice
from hybrid_ml.review.findings import Watch
from hybrid_ml.schemas.delivery_stats import Deliveries
from hybrid_ml.schemas.reports import SymbolsReport


class ReviewReport(SymbolsReport):
    """What a review found; `overall` and `parts` (each symbol and preset) as `review.measures.measure` gives them.

    `found`: a sentence for each alarm, empty where there is none. `newest_day`: the measures of the last
    24 hours. `advice` only where two answers have an outcome, with the settings worth showing.
    """

    as_of: datetime
    since: datetime
    drift_days: int
    fee_bps: float
    symbols: list[str]
    found: list[str]
    overall: dict[str, Any]
    parts: list[dict[str, Any]]
    newest_day: dict[str, Any]
    watches: list[Watch]
    deliveries: list[Deliveries]
    advice: Advice | None
    report_path: Path | None
