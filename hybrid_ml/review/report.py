"""The report of a review as Markdown, for a file and for the Prefect UI: the verdict first."""

from collections.abc import Mapping
from typing import Any

from hybrid_ml.evaluation.returns_section import returns_section
from hybrid_ml.evaluation.threshold_section import advice_section
from hybrid_ml.reporting.markdown import between, plain, section, share, table
from hybrid_ml.reporting.wording import symbol_title
from hybrid_ml.review.findings import SymbolDrift, chance, not_judged, verdict_without_alarm
from hybrid_ml.review.result import ReviewReport
from hybrid_ml.text.counts import counted

ACCURACY, RELIABILITY, COVERAGE, EQUITY = "accuracy.png", "reliability.png", "coverage.png", "equity.png"
CAPTIONS = {
    ACCURACY: "Accuracy over time against the majority",
    RELIABILITY: "Reliability of the stated probabilities",
    COVERAGE: "Precision against coverage",
    EQUITY: "Equity line: one unit a signal from the entry, after the fee",
}


def report_markdown(report: ReviewReport, pictures: Mapping[str, str]) -> str:
    """The whole report. `pictures`: the address of each chart by its name; missing ones are left out."""
    parts = [
        f"# Review of {report.since:%Y-%m-%d} to {report.as_of:%Y-%m-%d %H:%M} UTC",
        _verdict(report),
        _not_judged(report),
        _answers(report) if report.overall["answers"] else "",
        _signals(report) if report.overall["resolved"] else "",
        _returns(report) if report.overall["resolved"] else "",
        *(_picture(name, pictures) for name in (EQUITY, ACCURACY, RELIABILITY, COVERAGE)),
        _watches(report) if report.watches else "",
        _deliveries(report) if report.deliveries else "",
        advice_section(report.advice, report.fee_bps) if report.advice else "",
        _meaning(report),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _verdict(report: ReviewReport) -> str:
    if report.found:
        return "\n".join(["**Found:**", "", *(f"- {plain(sentence)}" for sentence in report.found)])
    if not report.overall["answers"]:
        return "**The ledger holds no answers of this time:** there is nothing to review yet."
    begin, colon, rest = verdict_without_alarm(report.watches, len(report.failures)).partition(":")
    return f"**{begin}{colon}**{rest}"


def _not_judged(report: ReviewReport) -> str:
    lines = [
        f"- {plain(symbol_title(watch.symbol))}: {message}" for watch in report.watches for message in not_judged(watch)
    ]
    lines += [f"- {plain(failure.symbol)} failed: {plain(failure.error)}" for failure in report.failures]
    return "\n".join(["Not judged:", "", *lines]) if lines else ""


def _named(report: ReviewReport) -> list[tuple[list[str], dict[str, Any]]]:
    """The first two cells of each row, and its metrics."""
    parts = [([plain(symbol_title(part["symbol"])), plain(part["preset"])], part) for part in report.parts]
    return [(["all", ""], report.overall), *parts]


def _answers(report: ReviewReport) -> str:
    head = ["symbol", "preset", "answers", "resolved", "void", "open", "accuracy", "majority until then",
            "majority in hindsight", "calibration error", "bars corrected since",
            "recorded late"]  # fmt: skip
    rows = []
    for names, worth in _named(report):
        row = [*names, *(f"{worth[name]:,}" for name in ("answers", "resolved", "void", "open"))]
        judged = ("accuracy", "majority_accuracy", "majority_in_hindsight", "calibration_error")
        row += [share(worth.get(name)) for name in judged]
        rows.append([*row, *(f"{worth[name]:,}" for name in ("corrected_since", "recorded_late"))])
    frequent = report.overall.get("shares", {})
    words = ", ".join(f"{name} {part:.3f}" for name, part in frequent.items())
    return section("Metrics of the answers", table(head, rows), f"Outcomes: {words}." if words else "")


def _signals(report: ReviewReport) -> str:
    head = ["symbol", "preset", "signals", "with an outcome", "coverage", "precision (Wilson, 90 %)",
            "precision (days, 90 %)", "blind guess", "false-positive rate", "silenced by the penalty"]  # fmt: skip
    rows = [_signal_row(names, worth) for names, worth in _named(report) if worth["resolved"]]
    return section("Signals", table(head, rows))


def _signal_row(names: list[str], worth: dict[str, Any]) -> list[str]:
    sent = worth["signals"]
    row = [*names, f"{worth['signals_in_all']:,}", f"{sent['count']:,}", f"{sent['coverage']:.2%}"]
    lines = ["–", "–", share(worth["blind_precision"]), "–"]
    if sent["count"]:
        lines = [
            f"{share(sent['precision'])} ({between(sent['precision_interval'], '.3f')})",
            between(sent["precision_interval_of_days"], ".3f"),
            share(worth["blind_precision"]),
            share(sent["false_positive_rate"]),
        ]
    return [*row, *lines, f"{worth['silenced_by_penalty']:,}"]


def _returns(report: ReviewReport) -> str:
    lines = [(names, worth["signals"]) for names, worth in _named(report) if worth["resolved"]]
    return returns_section(["symbol", "preset"], lines, report.fee_bps)


def _watches(report: ReviewReport) -> str:
    head = ["symbol", "features", "changed most (deviations of a day)", "answers ten minutes apart",
            "accuracy changed", "signals: right", "stated", "p-value"]  # fmt: skip
    return section("Drift of features and accuracy", table(head, [_watch_row(watch) for watch in report.watches]))


def _watch_row(watch: SymbolDrift) -> list[str]:
    features, stream, sent = watch.features, watch.correctness, watch.signals
    moved = ", ".join(f"{plain(str(feature))} ({feature.difference:+z.1f})" for feature in features.moved)
    message = "; ".join(str(change) for change in stream.changes)
    right = f"{sent.right} of {sent.signals}"
    return [
        plain(symbol_title(watch.symbol)),
        f"{chance(features.p)} ({counted(features.days, 'day')})" if features.p else chance(features.p),
        moved or "–",
        f"{stream.answers:,}",
        message or ("no" if stream.answers else "–"),
        right if sent.interval is None else f"{right} ({between(sent.interval, '.2f')})",
        share(sent.mean_confidence),
        chance(sent.p),
    ]


def _deliveries(report: ReviewReport) -> str:
    head = ["alert", "chat", "state", "count", "late", "median, s", "longest, s"]
    rows = [
        [delivery.kind, plain(delivery.chat_id) or "log", delivery.state, f"{delivery.count:,}", f"{delivery.late:,}",
         *("–" if seconds is None else f"{seconds:,.1f}" for seconds in
            (delivery.median_seconds, delivery.longest_seconds))]
        for delivery in report.deliveries
    ]  # fmt: skip
    return section("Alerts", table(head, rows))


def _meaning(report: ReviewReport) -> str:
    lines = [
        f"{_recorded(report)} **Void** are those that can have none (the session "
        "ended within their ten minutes), **open** those whose outcome is not known yet.",
        "**Majority until then** names at each answer the most frequent outcome of these days until it was made; **in "
        "hindsight** the most frequent one in these rows. A **blind guess** always names the more frequent of "
        "down and up.",
        "The **false-positive rate** is the share of wrong answers that became signals. **Late** is an alert sent more "
        "than 60 s after it was written.",
        f"**Drift:** p is the probability of newest days ({report.drift_days}) as unusual as these if nothing had "
        "changed; 0.05 or less is an alarm, so about one review in twenty raises one without a cause, and more where "
        "a cause lasts for days. The accuracy changed where ADWIN detects it; a fall without a later rise is an "
        "alarm. Signals are an alarm where so few right ones have a probability of at most 0.05 if each came true as "
        "often as stated; those within an hour may be right or wrong together.",
        "Nothing here promises a profit: a market changes, and the price one gets differs from the open of a bar.",
    ]
    return section("What the figures mean", "\n".join(f"- {line}" for line in lines))


def _recorded(report: ReviewReport) -> str:
    late = report.overall["recorded_late"]
    if not late:
        return "Every answer was recorded before its outcome was known."
    return (
        f"**Recorded after their ten minutes were over: {late:,} of {counted(report.overall['answers'], 'answer')}** "
        "(`--as_of` of the past): by the same code, without later bars, but nobody could have acted on them."
    )


def _picture(name: str, pictures: Mapping[str, str]) -> str:
    return f"![{CAPTIONS[name]}]({pictures[name]})" if name in pictures else ""
