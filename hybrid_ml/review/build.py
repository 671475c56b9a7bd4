"""The report of a review: all metrics and findings."""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

import pandas as pd

from hybrid_ml.evaluation.outcome_metrics import ResolvedAnswers, followed_signals
from hybrid_ml.evaluation.signal_returns import equity
from hybrid_ml.evaluation.threshold_search import Advice, advise
from hybrid_ml.review.findings import SymbolDrift, findings
from hybrid_ml.review.ledger_metrics import majority_until_then, measure, measures
from hybrid_ml.review.result import ReviewReport
from hybrid_ml.review.scope import Scope
from hybrid_ml.schemas.delivery_stats import Deliveries
from hybrid_ml.schemas.reports import Failure
from hybrid_ml.schemas.requests import ReviewRequest
from hybrid_ml.signals.presets import PRESETS

NEWEST_DAY = timedelta(days=1)


def account(
    request: ReviewRequest,
    scope: Scope,
    answers: pd.DataFrame,
    deliveries: list[Deliveries],
    watches: list[SymbolDrift],
    failures: Sequence[Failure] = (),
) -> ReviewReport:
    """Measure `answers` (ledger columns, see `store.ledger`); `watches`: drift of the symbols that did not fail."""
    overall, *parts = measures(answers, request.fee_bps)
    newest = answers[answers["bar_time"] >= pd.Timestamp(scope.as_of - NEWEST_DAY)]
    best = advice(answers, request)
    return ReviewReport(
        as_of=scope.as_of,
        since=scope.since,
        drift_days=request.drift_days,
        fee_bps=request.fee_bps,
        symbols=scope.symbols,
        found=[sentence for watch in watches for sentence in findings(watch)],
        overall=overall,
        parts=parts,
        newest_day=measure(newest, majority_until_then(answers).loc[newest.index], request.fee_bps),
        equity=equity(followed_signals(ResolvedAnswers.of(answers)), request.fee_bps).to_dict("records"),
        watches=watches,
        deliveries=deliveries,
        advice=best.shortened() if best else None,
        failures=list(failures),
        report_path=request.report_path,
    )


def advice(answers: pd.DataFrame, request: ReviewRequest) -> Advice | None:
    """The results of other bounds, compared with those of the preset of most answers."""
    known = Counter(preset for preset in answers["preset"] if preset in PRESETS)
    bounds = PRESETS[known.most_common(1)[0][0]] if known else PRESETS["balanced"]
    return advise(answers, bounds, wanted_precision=request.wanted_precision, fee_bps=request.fee_bps)
