"""The charts of a replay's report."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from hybrid_ml.learning.scaling import WEEK
from hybrid_ml.replay.report import (
    COVERAGE,
    COVERAGE_BY_WEEK,
    EQUITY,
    METHODS,
    RELIABILITY,
    RELIABILITY_BY_WEEK,
    WEEKLY,
)
from hybrid_ml.replay.result import ReplayReport
from hybrid_ml.replay.summary import Curves
from hybrid_ml.reporting import charts
from hybrid_ml.reporting.equity_chart import equity_chart

MOST_SMALL_CHARTS = 52
"""The newest weeks; more would not be readable in one picture."""


def draw(report: ReplayReport, whole: Curves | None, weekly: Mapping[str, Curves]) -> dict[str, bytes]:
    """PNG bytes by file name; none where no answer has an outcome, charts by week only where there are several,
    an equity line only where a signal was traded.
    """
    if whole is None:
        return {}
    sent = report.overall["signals"]
    pictures = {
        WEEKLY: charts.weekly_chart(_weeks(report)),
        RELIABILITY: charts.reliability_chart(whole.reliability),
        COVERAGE: charts.coverage_chart(
            whole.coverage, whole.blind, (sent["coverage"], sent["precision"]) if sent["count"] else None
        ),
        METHODS: charts.methods_chart(_methods(report)),
    }
    if len(whole.equity):
        pictures[EQUITY] = equity_chart(whole.equity, report.fee_bps, sent["entry"]["drawdown_bps"])
    newest = dict(list(weekly.items())[-MOST_SMALL_CHARTS:])
    if len(newest) > 1:
        pictures |= {
            RELIABILITY_BY_WEEK: charts.reliability_charts({day: item.reliability for day, item in newest.items()}),
            COVERAGE_BY_WEEK: charts.coverage_charts(
                {day: (item.coverage, item.blind) for day, item in newest.items()}
            ),
        }
    return pictures


def _weeks(report: ReplayReport) -> pd.DataFrame:
    rows = []
    for week, worth in enumerate(report.weekly):
        row: dict[str, Any] = {"week": f"{report.start + week * WEEK:%Y-%m-%d}"}
        rows.append(row | _point(worth, "skill", "skill") | _point(worth, "fine_tuning_gain", "gain"))
    return pd.DataFrame(rows)


def _methods(report: ReplayReport) -> pd.DataFrame:
    others = [method for method in report.methods if method.get("accuracy_lead") is not None]
    return pd.DataFrame(
        [
            {"method": other["method"]}
            | _point(other, "accuracy_lead", "accuracy", "accuracy_lead")
            | _point(other, "skill_lead", "skill", "skill_lead")
            for other in others
        ]
    )


def _point(record: Mapping[str, Any], source: str, name: str, middle: str | None = None) -> dict[str, float]:
    """A number of `record` and its interval's limits, NaN where it has none."""
    value = record.get(source)
    low, high = record[f"{source}_interval"] if value is not None else (np.nan, np.nan)
    return {middle or name: np.nan if value is None else value, f"{name}_low": low, f"{name}_high": high}
