"""The charts of a review."""

import pandas as pd

from hybrid_ml.evaluation.outcome_metrics import ResolvedAnswers, blind_precision, precision_by_coverage
from hybrid_ml.learning.reliability import reliability
from hybrid_ml.reporting import charts
from hybrid_ml.reporting.equity_chart import equity_chart
from hybrid_ml.reporting.wording import symbol_title
from hybrid_ml.review.ledger_metrics import running_accuracy
from hybrid_ml.review.report import ACCURACY, COVERAGE, EQUITY, RELIABILITY
from hybrid_ml.review.result import ReviewReport

WINDOW_ANSWERS = 200
"""Answers of a running accuracy: a day and a half, with a standard error of 0.035."""
MOST_STRIPS = 8
"""Symbols in one picture, the first by name; the tables contain all."""


def draw(report: ReviewReport, answers: pd.DataFrame) -> dict[str, bytes]:
    """PNG bytes by file name; none where no answer has an outcome, no accuracy before there are enough answers.

    An equity line only where a signal was traded.
    """
    known = ResolvedAnswers.of(answers)
    if not len(known):
        return {}
    probabilities, truth, sent = known.probabilities(), known.truth, report.overall["signals"]
    star = (sent["coverage"], sent["precision"]) if sent["count"] else None
    pictures = {
        RELIABILITY: charts.reliability_chart(reliability(probabilities, truth)),
        COVERAGE: charts.coverage_chart(precision_by_coverage(probabilities, truth), blind_precision(truth), star),
    }
    if report.equity:
        pictures[EQUITY] = equity_chart(pd.DataFrame(report.equity), report.fee_bps, sent["entry"]["drawdown_bps"])
    running = list(running_accuracy(answers, WINDOW_ANSWERS).items())[:MOST_STRIPS]
    if running:
        strips = {symbol_title(symbol): frame for symbol, frame in running}
        changed = {
            symbol_title(watch.symbol): [one.at for one in watch.correctness.changes] for watch in report.watches
        }
        pictures[ACCURACY] = charts.running_accuracy_chart(strips, WINDOW_ANSWERS, changed)
    return pictures
