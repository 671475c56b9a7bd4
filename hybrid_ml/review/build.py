"""The account of a review: everything measured, and what of it a person should know."""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

import pandas as pd

from hybrid_ml.evaluation.threshold_search import Advice, advise
from hybrid_ml.review.findings import Watch, findings
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
    watches: list[Watch],
    failures: Sequence[Failure] = (),
) -> ReviewReport:
    """Measure `answers` (ledger columns, see `store.ledger`); `watches` of the symbols that could be looked at."""
    overall, *parts = measures(answers, request.fee_bps)
    newest = answers[answers["bar_time"] >= pd.Timestamp(scope.as_of - NEWEST_DAY)]
    found = advice(answers, request)
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
        watches=watches,
        deliveries=deliveries,
        advice=found.shortened() if found else None,
        failures=list(failures),
        report_path=request.report_path,
    )


def advice(answers: pd.DataFrame, request: ReviewRequest) -> Advice | None:
    """What other bounds would have given, beside those of the preset most answers were judged by."""
    known = Counter(preset for preset in answers["preset"] if preset in PRESETS)
    bounds = PRESETS[known.most_common(1)[0][0]] if known else PRESETS["balanced"]
    return advise(answers, bounds, wanted_precision=request.wanted_precision, fee_bps=request.fee_bps)
