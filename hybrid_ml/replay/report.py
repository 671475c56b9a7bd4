"""The report of a replay as Markdown, for a file and for the Prefect UI."""

from collections.abc import Mapping
from datetime import time
from typing import Any

from hybrid_ml.learning.scaling import WEEK
from hybrid_ml.markdown import between, section, share, table
from hybrid_ml.market.labels import CLASSES
from hybrid_ml.replay.advice import Advice, Half, Setting
from hybrid_ml.replay.standing import HYBRID
from hybrid_ml.reports import ReplayReport
from hybrid_ml.summaries import symbol_title

FEW_DAYS = 8
SUNDAY = 7
WEEKLY, RELIABILITY, COVERAGE, METHODS = "weekly.png", "reliability.png", "coverage.png", "methods.png"
RELIABILITY_BY_WEEK, COVERAGE_BY_WEEK = "reliability_by_week.png", "coverage_by_week.png"
BY_WEEK = {RELIABILITY_BY_WEEK, COVERAGE_BY_WEEK}
CAPTIONS = {
    WEEKLY: "Skill and gain of fine-tuning, week by week",
    RELIABILITY: "Reliability of the stated chances",
    COVERAGE: "Precision against coverage",
    METHODS: "Lead over other methods",
    RELIABILITY_BY_WEEK: "Reliability, week by week",
    COVERAGE_BY_WEEK: "Precision against coverage, week by week",
}


def report_markdown(report: ReplayReport, pictures: Mapping[str, str]) -> str:
    """The whole report. `pictures`: where each chart is, by its name; those that are missing are left out."""
    title = (
        f"# Replay of {symbol_title(report.symbol)} from {report.start:%Y-%m-%d %H:%M} UTC on\n\n"
        f"Weeks: {report.weeks}{_not_live_weeks(report)}. {report.cycles:,} answers, one every {report.cycle_minutes} "
        f"minutes where there was a fresh bar{'' if report.awake_always else ' and no quiet hour'}, in "
        f"{report.seconds:,.0f} s. Champions replaced {report.replaced}, kept {report.kept}."
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
        _methods(report),
        _picture(METHODS, pictures),
        advice_section(report.advice, report.fee_bps) if report.advice else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _not_live_weeks(report: ReplayReport) -> str:
    """A word of warning where the weekly training falls on another moment than it does live."""
    live = report.start.isoweekday() == SUNDAY and report.start.time() == time()
    return "" if live else f", trained {report.start:%A %H:%M} UTC (live weeks begin on Sunday 00:00)"


def _meaning(report: ReplayReport) -> str:
    overall = report.overall
    simulated = symbol_title(report.symbol) != report.symbol
    lines = [
        "**The bars are simulated: no figure here says anything about a market.**" if simulated else "",
        "These are answers of the past, each made by the code that serves, from what was known at its moment. They "
        "say how good the answers were then. They promise nothing about answers to come, and nothing here is a "
        "promise of profit: a market changes, and a price one could trade at differs from the close of a bar.",
        "**Accuracy** stands beside that of always naming the class that turned out most frequent in these very rows "
        "(majority, known afterwards only) and of guessing that the last ten minutes go on (persistence). **Log loss** "
        "is in nats, less is better, beside that of always stating the class shares of the training window (class "
        "prior). **Skill** is the difference of the two: above 0 is better than guessing.",
        f"**Intervals** are 90 %. Those of skill, gains and returns resample whole days ({overall['days']} here), as "
        "answers close in time share minutes and fate; those of precision are Wilson's, which takes signals for "
        "independent and is too narrow where they come in clusters.",
        f"Fewer than {FEW_DAYS} days, as in any single week, make an interval too narrow; read it as a hint."
        if overall["days"] < FEW_DAYS or report.weeks > 1
        else "",
        f"Returns are from close to close over the ten minutes, in basis points, before and after a fee of "
        f"{report.fee_bps:g} bps a signal; spread, slippage and latency are not in them.",
    ]
    return section("What the figures mean, and what they do not", "\n".join(f"- {line}" for line in lines if line))


def _overall(report: ReplayReport) -> str:
    worth, gain = report.overall, report.window_gain
    rows = [
        ["accuracy", share(worth["accuracy"]), f"majority {share(worth['majority_accuracy'])}, persistence "
         f"{share(worth['persistence_accuracy'])}"],
        ["log loss, nats", f"{worth['log_loss']:.4f}", f"class prior {worth['prior_log_loss']:.4f}"],
        ["skill, nats", f"{worth['skill']:+.4f}", between(worth["skill_interval"], "+.4f")],
        ["calibration error", share(worth["calibration_error"]), "0 is perfect"],
        [f"precision of the surest 1 % ({max(1, round(worth['rows'] / 100)):,} answers)",
         share(worth["directional_precision_at_1_percent"]),
         f"always naming the more frequent direction: {share(worth['blind_precision'])}"],
        ["gain of fine-tuning over the base alone, nats", *(["–", "there was none: fast mode"] if report.fast_mode else
         [f"{worth['fine_tuning_gain']:+.4f}", between(worth["fine_tuning_gain_interval"], "+.4f")])],
        *([["gain of 80,000 over 23,000 rows, nats", f"{gain['gain']:+.4f}",
            f"{between(gain['gain_interval'], '+.4f')}, on {gain['rows']:,} bars"]] if gain else []),
        ["trained from scratch in need", f"{worth['fell_back']}", "fallbacks"],
    ]  # fmt: skip
    return section("In all", table([f"{worth['rows']:,} answers with an outcome", "hybrid-ml", "beside it"], rows))


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
    head = ["came true → answered", *(f"{truth} → {said}" for truth in CLASSES for said in CLASSES)]
    told = [("all", report.overall), *zip(_days(report), report.weekly, strict=True)]
    rows = [
        [name, *(f"{count:,}" for row in worth["confusion"] for count in row)] for name, worth in told if worth["rows"]
    ]
    matrix = [
        [truth, *(f"{count:,}" for count in row)]
        for truth, row in zip(CLASSES, report.overall["confusion"], strict=True)
    ]
    square = table(["came true", *(f"answered {name}" for name in CLASSES)], matrix)
    return section("What was answered, and what came true", square, table(head, rows))


def _signals(report: ReplayReport) -> str:
    head = ["week beginning", "signals", "coverage", "precision (Wilson, 90 %)", "precision (days, 90 %)",
            "false-positive rate", "mean return, bps (90 %)", "after the fee, bps", "precision of the surest 1 %",
            "blind guess"]  # fmt: skip
    told = [("all", report.overall), *zip(_days(report), report.weekly, strict=True)]
    rows = [_signal_row(name, worth) for name, worth in told if worth["rows"]]
    words = (
        "A signal is a sure DOWN or UP that every gate let pass. The false-positive rate is the share of wrong answers "
        "that became signals. A blind guess always names the direction that turned out more frequent. In the chart, "
        "tossing a coin on the same rows tells how much of the precision comes from knowing only that something "
        "will move."
    )
    return section("Signals", words, table(head, rows))


def _signal_row(name: str, worth: dict[str, Any]) -> list[str]:
    sent = worth["signals"]
    row = [name, f"{sent['count']:,}", f"{sent['coverage']:.2%}"]
    if sent["count"]:
        row += [f"{share(sent['precision'])} ({between(sent['precision_interval'], '.3f')})"]
        row += [between(sent["precision_interval_of_days"], ".3f"), share(sent["false_positive_rate"])]
        row += [f"{sent['mean_return_bps']:+.1f} ({between(sent['mean_return_interval_bps'], '+.1f')})"]
        row += [f"{sent['mean_return_after_fee_bps']:+.1f}"]
    row += ["–"] * (8 - len(row))
    return [*row, share(worth["directional_precision_at_1_percent"]), share(worth["blind_precision"])]


def _methods(report: ReplayReport) -> str:
    head = ["method", "answers", "accuracy", "log loss", "class prior", "skill (90 %)", "calibration error",
            "precision of the surest 1 %", "bars both answered", "same question", "hybrid-ml ahead, accuracy (90 %)",
            "hybrid-ml ahead, skill (90 %)"]  # fmt: skip
    rows = []
    for each in report.methods:
        row = [each["method"], f"{each['rows']:,}", share(each["accuracy"])]
        row += ["–" if each[name] is None else f"{each[name]:.4f}" for name in ("log_loss", "prior_log_loss")]
        row += [_with_interval(each, "skill"), share(each["calibration_error"])]
        row += [share(each["precision_at_1_percent"])]
        if each["method"] == HYBRID:
            row += ["–"] * 4
        else:
            same = each.get("same_question")
            row += [f"{each['shared_rows']:,}", "–" if same is None else f"{same:.0%}"]
            row += [_with_interval(each, "accuracy_lead", "+.3f"), _with_interval(each, "skill_lead")]
        rows.append(row)
    words = (
        "Each method is judged against its own class prior and by its own threshold; where that is not hybrid-ml's, "
        "it answered another question (same question: the share of shared bars with the same threshold), and only "
        "skill compares well. Leads are taken on the bars both answered, above 0 in favour of hybrid-ml. Guesses "
        "that are sure each time state no chances, so they have an accuracy and nothing else."
    )
    return section("Beside other methods", words, table(head, rows))


def advice_section(advice: Advice, fee_bps: float) -> str:
    """Which bounds would have given what, on which answers that was found, and how far it is to be relied on."""
    words = (
        f"{advice.tried} settings were tried on answers before {advice.split_at:%Y-%m-%d %H:%M} UTC; what they gave "
        "after that is shown beside it. The best of many is partly luck, so a setting counts as reaching the "
        "precision only if the cautious lower edge of its interval does: an error of 5 % divided by the "
        f"{max(1, advice.different)} different sets of signals there were to choose from, signals within the same ten "
        "minutes counted once, twenty at least. Of those that reach it, the one with the most signals is advised. The "
        "second half decides whether that holds. Only the three bounds vary: an answer that another gate refused stays "
        f"refused, which leaves {advice.eligible:,} of {advice.answers:,} answers to choose from; the penalty "
        "after poor recent signals and the most signals of one run are not replayed again. "
        f"Returns after a fee of {fee_bps:g} bps stand behind the slash."
    )
    head = ["setting", "confidence", "margin", "entropy", "found: signals", "coverage", "precision (90 %)", "sure of",
            "return, bps", "shown: signals", "coverage", "precision (90 %)", "return, bps"]  # fmt: skip
    rows = [_setting_row(each, advice.advised) for each in advice.settings]
    question = f"Which setting gives a precision of {advice.wanted_precision:.2f}?"
    return section(question, f"**{advice.verdict}**", words, table(head, rows))


def _setting_row(setting: Setting, advised: Setting | None) -> list[str]:
    name = " ".join(word for word in (setting.name, "advised" if setting == advised else "") if word)
    bounds = (setting.min_confidence, setting.min_prob_margin, setting.max_entropy)
    found, shown = _half(setting.found), _half(setting.shown)
    sure = [share(setting.surely)]
    return [name, *(f"{bound:g}" for bound in bounds), *found[:3], *sure, *found[3:], *shown]


def _half(half: Half) -> list[str]:
    if half.precision is None or half.interval is None:
        return ["0", "0.00%", "–", "–"]
    returns = f"{half.mean_return_bps:+.1f} / {half.mean_return_after_fee_bps:+.1f}"
    precision = f"{half.precision:.3f} ({between(half.interval, '.3f')})"
    return [f"{half.count:,}", f"{half.coverage:.2%}", precision, returns]


def _days(report: ReplayReport) -> list[str]:
    return [f"{report.start + week * WEEK:%Y-%m-%d}" for week in range(report.weeks)]


def _picture(name: str, pictures: Mapping[str, str]) -> str:
    return f"![{CAPTIONS[name]}]({pictures[name]})" if name in pictures else ""


def _with_interval(record: Mapping[str, Any], name: str, form: str = "+.4f") -> str:
    """A figure with its interval, or a dash where nothing could tell."""
    if record.get(name) is None:
        return "–"
    return f"{record[name]:{form}} ({between(record[f'{name}_interval'], form)})"
