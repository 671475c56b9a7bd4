"""The result of a review, as one document."""

from datetime import datetime
from pathlib import Path
from typing import Any

from hybrid_ml.evaluation.threshold_search import Advice
from hybrid_ml.review.findings import SymbolDrift
from hybrid_ml.schemas.delivery_stats import Deliveries
from hybrid_ml.schemas.reports import SymbolsReport


class ReviewReport(SymbolsReport):
    """The result of a review; `overall` and `parts` (each symbol and preset) as returned by `ledger_metrics.measure`.

    `found`: a sentence for each alarm, empty where there is none. `newest_day`: the metrics of the last
    24 hours. `equity`: a record for each traded signal, see `signal_returns.equity`. `advice` only where two
    answers have an outcome, with the settings worth showing.
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
    equity: list[dict[str, Any]]
    watches: list[SymbolDrift]
    deliveries: list[Deliveries]
    advice: Advice | None
    report_path: Path | None
