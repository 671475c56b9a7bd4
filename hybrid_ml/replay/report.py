"""The report of a replay as Markdown, for a file and for the Prefect UI."""

from collections.abc import Mapping, Sequence
from datetime import time
from typing import Any

from hybrid_ml.evaluation.returns_section import returns_section
from hybrid_ml.evaluation.threshold_section import advice_section
from hybrid_ml.learning.scaling import WEEK
from hybrid_ml.market.labels import CLASSES
from hybrid_ml.replay.kept_sections import KeptSection
from hybrid_ml.replay.method_comparison import HYBRID
from hybrid_ml.replay.result import ReplayReport
from hybrid_ml.reporting.markdown import between, section, share, table
from hybrid_ml.reporting.wording import symbol_title
from hybrid_ml.text.counts import counted

FEW_DAYS = 8
SUNDAY = 7
WEEKLY, RELIABILITY, COVERAGE, METHODS = "weekly.png", "reliability.png", "coverage.png", "methods.png"
EQUITY = "equity.png"
RELIABILITY_BY_WEEK, COVERAGE_BY_WEEK = "reliability_by_week.png", "coverage_by_week.png"
BY_WEEK = {RELIABILITY_BY_WEEK, COVERAGE_BY_WEEK}
CAPTIONS = {
    WEEKLY: "Skill and gain of fine-tuning, week by week",
    RELIABILITY: "Reliability of the stated probabilities",
    COVERAGE: "Precision against coverage",
    METHODS: "Lead over other methods",
    EQUITY: "Equity line: one unit a signal from the entry, after the fee",
    RELIABILITY_BY_WEEK: "Reliability, week by week",
    COVERAGE_BY_WEEK: "Precision against coverage, week by week",
}


def report_markdown(report: ReplayReport, pictures: Mapping[str, str], earlier: Sequence[KeptSection] = ()) -> str:
    """The whole report. `pictures`: the address of each chart by its name; missing ones are left out.

    `earlier`: sections that an earlier run has written and this one has not.
    """
    title = (
        f"# Replay of {symbol_title(report.symbol)} from {report.start:%Y-%m-%d %H:%M} UTC on\n\n"
        f"Weeks: {report.weeks}{_not_live_weeks(report)}. {counted(report.cycles, 'answer')}, one every "
        f"{counted(report.cycle_minutes, 'minute')} where there was a fresh bar"
        f"{'' if report.awake_always else ' and no quiet hour'}, in {report.seconds:,.0f} s. "
        f"Champions replaced {report.replaced}, kept {report.kept}. Signals by {report.judged_by}."
    )
    if not report.overall["rows"]:
        return f"{title}\n\nNo answer has an outcome yet: nothing can be measured.\n"
    parts = [
        title,
        _meaning(report),
        _overall(report),
        _weekly(report),
        *(_picture(name, pictures) for name in (WEEKLY, RELIABILITY, RELIABILITY_BY_WEEK)),
        _confusion(report),
        _signals(report),
        *(_picture(name, pictures) for name in (COVERAGE, COVERAGE_BY_WEEK)),
        _returns(report),
        _picture(EQUITY, pictures),
        _methods(report),
        _picture(METHODS, pictures),
        advice_section(report.advice, report.fee_bps) if report.advice else "",
        *(section.labelled_markdown for section in earlier),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _not_live_weeks(report: ReplayReport) -> str:
    """A warning where the weekly training is at another time than it is live."""
    live = report.start.isoweekday() == SUNDAY and report.start.time() == time()
    return "" if live else f", trained {report.start:%A %H:%M} UTC (live weeks begin on Sunday 00:00)"


def _meaning(report: ReplayReport) -> str:
    overall = report.overall
    simulated = symbol_title(report.symbol) != report.symbol
    lines = [
        "**The bars are simulated: no figure here is about a market.**" if simulated else "",
        "These are answers of the past, each made by the live code from what was known at its moment. They "
        "measure how good the answers were then. They promise nothing about future answers or "
        "profit: a market changes, and a price one could trade at differs from the close of a bar.",
        "**Accuracy** is compared with that of always naming the class that was most frequent in these rows "
        "(majority, known afterwards only) and of repeating the last ten minutes (persistence). **Log loss** "
        "is in nats, less is better, compared with that of always stating the class shares of the training window "
        "(class prior). **Skill** is the difference of the two: above 0 is better than guessing.",
        f"**Intervals** are 90 %. Those of skill, gains and returns resample whole days ({overall['days']} here), as "
        "answers close in time share minutes; those of precision are Wilson's, which assumes independent signals "
        "and is too narrow where they come in clusters.",
        f"Fewer than {FEW_DAYS} days, as in any single week, make an interval too narrow."
        if overall["days"] < FEW_DAYS or report.weeks > 1
        else "",
        f"Returns are in basis points, before and after a fee of {report.fee_bps:g} bps a signal: from close to close, "
        "which nobody could have had, and from the entry, the next price that was traded.",
    ]
    return section("What the figures mean", "\n".join(f"- {line}" for line in lines if line))


def _overall(report: ReplayReport) -> str:
    worth, gain = report.overall, report.window_gain
    rows = [
        ["accuracy", share(worth["accuracy"]), f"majority {share(worth['majority_accuracy'])}, persistence "
         f"{share(worth['persistence_accuracy'])}"],
        ["log loss, nats", f"{worth['log_loss']:.4f}", f"class prior {worth['prior_log_loss']:.4f}"],
        ["skill, nats", f"{worth['skill']:+z.4f}", between(worth["skill_interval"], "+z.4f")],
        ["calibration error", share(worth["calibration_error"]), "0 is perfect"],
        [f"precision of the most confident 1 % ({counted(max(1, round(worth['rows'] / 100)), 'answer')})",
         share(worth["directional_precision_at_1_percent"]),
         f"always naming the more frequent direction: {share(worth['blind_precision'])}"],
        ["gain of fine-tuning over the base alone, nats", *(["–", "there was none: fast mode"] if report.fast_mode else
         [f"{worth['fine_tuning_gain']:+z.4f}", between(worth["fine_tuning_gain_interval"], "+z.4f")])],
        *([["gain of 80,000 over 23,000 rows, nats", f"{gain['gain']:+z.4f}",
            f"{between(gain['gain_interval'], '+z.4f')}, on {counted(gain['rows'], 'bar')}"]] if gain else []),
        ["trained from scratch", f"{worth['fell_back']}", "fallbacks"],
    ]  # fmt: skip
    return section(
        "In all", table([f"{counted(worth['rows'], 'answer')} with an outcome", "hybrid-ml", "for comparison"], rows)
    )


def _weekly(report: ReplayReport) -> str:
    head = ["week beginning", "answers", "accuracy", "majority", "persistence", "log loss", "class prior",
            "skill (90 %)", "calibration error", "gain of fine-tuning (90 %)"]  # fmt: skip
    larger = any(report.weekly_window_gain)
    head += ["80,000 over 23,000 rows (90 %)"] if larger else []
    head += ["from scratch", "champions replaced", "kept"]
    rows = []
    for day, worth, champions, gain in zip(
        _days(report), report.weekly, report.champions, report.weekly_window_gain, strict=True
    ):
        row = [day, f"{worth['rows']:,}"]
        if worth["rows"]:
            row += [share(worth[f"{name}accuracy"]) for name in ("", "majority_", "persistence_")]
            row += [f"{worth['log_loss']:.4f}", f"{worth['prior_log_loss']:.4f}", _with_interval(worth, "skill")]
            row += [share(worth["calibration_error"]), _with_interval(worth, "fine_tuning_gain")]
            row += [_with_interval(gain, "gain") if gain else "–"] if larger else []
            row += [str(worth["fell_back"])]
        row += ["–"] * (len(head) - 2 - len(row))
        rows.append([*row, str(champions["replaced"]), str(champions["kept"])])
    return section("Week by week", table(head, rows))


def _confusion(report: ReplayReport) -> str:
    head = ["came true → answered", *(f"{truth} → {text}" for truth in CLASSES for text in CLASSES)]
    lines = [("all", report.overall), *zip(_days(report), report.weekly, strict=True)]
    rows = [
        [name, *(f"{count:,}" for row in worth["confusion"] for count in row)] for name, worth in lines if worth["rows"]
    ]
    matrix = [
        [truth, *(f"{count:,}" for count in row)]
        for truth, row in zip(CLASSES, report.overall["confusion"], strict=True)
    ]
    square = table(["came true", *(f"answered {name}" for name in CLASSES)], matrix)
    return section("Answers and outcomes", square, table(head, rows))


def _signals(report: ReplayReport) -> str:
    head = ["week beginning", "signals", "coverage", "precision (Wilson, 90 %)", "precision (days, 90 %)",
            "false-positive rate", "precision of the most confident 1 %", "blind guess"]  # fmt: skip
    lines = [("all", report.overall), *zip(_days(report), report.weekly, strict=True)]
    rows = [_signal_row(name, worth) for name, worth in lines if worth["rows"]]
    words = (
        "A signal is a DOWN or UP that passed every gate. The false-positive rate is the share of wrong answers "
        "that became signals. A blind guess always names the more frequent direction. In the chart, "
        "a coin toss on the same rows shows how much of the precision comes from predicting only that the price "
        "will move."
    )
    return section("Signals", words, table(head, rows))


def _signal_row(name: str, worth: dict[str, Any]) -> list[str]:
    sent = worth["signals"]
    row = [name, f"{sent['count']:,}", f"{sent['coverage']:.2%}"]
    if sent["count"]:
        row += [f"{share(sent['precision'])} ({between(sent['precision_interval'], '.3f')})"]
        row += [between(sent["precision_interval_of_days"], ".3f"), share(sent["false_positive_rate"])]
    row += ["–"] * (6 - len(row))
    return [*row, share(worth["directional_precision_at_1_percent"]), share(worth["blind_precision"])]


def _returns(report: ReplayReport) -> str:
    lines = [("all", report.overall), *zip(_days(report), report.weekly, strict=True)]
    rows = [([name], worth["signals"]) for name, worth in lines if worth["rows"]]
    return returns_section(["week beginning"], rows, report.fee_bps)


def _methods(report: ReplayReport) -> str:
    head = ["method", "answers", "accuracy", "log loss", "class prior", "skill (90 %)", "calibration error",
            "precision of the most confident 1 %", "bars both answered", "same threshold",
            "hybrid-ml ahead, accuracy (90 %)",
            "hybrid-ml ahead, skill (90 %)"]  # fmt: skip
    rows = []
    for method in report.methods:
        row = [method["method"], f"{method['rows']:,}", share(method["accuracy"])]
        row += ["–" if method[name] is None else f"{method[name]:.4f}" for name in ("log_loss", "prior_log_loss")]
        row += [_with_interval(method, "skill"), share(method["calibration_error"])]
        row += [share(method["precision_at_1_percent"])]
        if method["method"] == HYBRID:
            row += ["–"] * 4
        else:
            same = method.get("same_question")
            row += [f"{method['shared_rows']:,}", "–" if same is None else f"{same:.0%}"]
            row += [_with_interval(method, "accuracy_lead", "+z.3f"), _with_interval(method, "skill_lead")]
        rows.append(row)
    words = (
        "Each method is compared with its own class prior and by its own threshold; where that is not hybrid-ml's, "
        "its labels differ (same threshold: the share of shared bars with the same threshold), and only "
        "skill can be compared. Leads are computed on the bars that both answered, above 0 in favour of hybrid-ml. "
        "Guesses that are always certain state no probabilities, so they have an accuracy and nothing else. Methods "
        "with far fewer answers were requested by an earlier run, of fewer weeks."
    )
    return section("Comparison with other methods", words, table(head, rows))


def _days(report: ReplayReport) -> list[str]:
    return [f"{report.start + week * WEEK:%Y-%m-%d}" for week in range(report.weeks)]


def _picture(name: str, pictures: Mapping[str, str]) -> str:
    return f"![{CAPTIONS[name]}]({pictures[name]})" if name in pictures else ""


def _with_interval(record: Mapping[str, Any], name: str, form: str = "+z.4f") -> str:
    """A number with its interval, or a dash where there is none."""
    if record.get(name) is None:
        return "–"
    return f"{record[name]:{form}} ({between(record[f'{name}_interval'], form)})"
