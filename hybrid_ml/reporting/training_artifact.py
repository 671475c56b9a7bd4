"""The page of a weekly training."""

from collections.abc import Mapping
from typing import Any

from hybrid_ml.learning.promotion import CAUTION
from hybrid_ml.market.labels import CLASSES
from hybrid_ml.reporting.analysis_artifact import failures_section
from hybrid_ml.reporting.artifact_images import MOST_FEATURES, importance_picture, reliability_picture, scaling_picture
from hybrid_ml.reporting.markdown import inline, plain, section, share, table, wrapped
from hybrid_ml.reporting.wording import symbol_title
from hybrid_ml.schemas.reports import ScalingReport, Training, TrainingReport
from hybrid_ml.text.counts import counted

SCALING, IMPORTANCE, RELIABILITY = "scaling", "importance", "reliability"
UNBROKEN_DASH = "\N{NON-BREAKING HYPHEN}"
MOST_BASES = 3
"""Bases of one week in the table, the newest first; `hybrid-ml scaling` shows all."""
CAPTIONS = {
    SCALING: "Row limit and rows trained on, week by week",
    IMPORTANCE: "Share of the gain by feature",
    RELIABILITY: "Stated probabilities against how often they came true on the hold-out",
}


def training_pictures(training: Training, scaling: ScalingReport) -> dict[str, bytes]:
    """PNG bytes by name."""
    return {
        SCALING: scaling_picture(scaling),
        IMPORTANCE: importance_picture(training.metrics["importance"]),
        RELIABILITY: reliability_picture(training.metrics["reliability"]),
    }


def training_page(training: Training, scaling: ScalingReport, pictures: Mapping[str, bytes]) -> str:
    """Metrics and those of guessing, champion against challenger, scaling, importance; without missing pictures."""
    verdict = "promoted" if training.promoted else "the champion stays"
    parts = [
        f"# {plain(symbol_title(training.symbol))}: {verdict}",
        f"`{training.version}`, week {training.week}, trained on {training.rows:,} of up to {training.row_limit:,} "
        f"rows until {training.trained_until:%Y-%m-%d %H:%M} UTC, in {training.seconds:.1f} s.",
        section("On the hold-out", _metrics(training.metrics), _picture(RELIABILITY, pictures)),
        section("Truth and answers", _confusion(training.metrics["confusion"])),
        section("Champion against challenger", _comparison(training)),
        section("Progressive scaling", _scaling(scaling), _picture(SCALING, pictures)),
        section("Features", _importance(training.metrics["importance"]), _picture(IMPORTANCE, pictures)),
    ]
    return "\n\n".join(parts)


def _metrics(metrics: dict[str, Any]) -> str:
    rows = [
        ["accuracy", f"{metrics['accuracy']:.3f}", f"{metrics['majority_accuracy']:.3f}",
         "always the most frequent class"],
        ["log loss, nats", f"{metrics['log_loss']:.4f}", f"{metrics['prior_log_loss']:.4f}",
         "the class shares of the training rows"],
        ["calibration error", f"{metrics['calibration_error']:.3f}", "", ""],
        ["rows", f"{metrics['rows']:,}", "", "newer than all training data"],
    ]  # fmt: skip
    return table(["", "model", "guessing", ""], rows)


def _confusion(confusion: list[list[int]]) -> str:
    """Truth in rows, answers in columns, counts."""
    rows = [
        [f"was {name}", *(f"{count:,}" for count in counts), share(_part(counts[place], counts))]
        for place, (name, counts) in enumerate(zip(CLASSES, confusion, strict=True))
    ]
    columns = list(zip(*confusion, strict=True))
    precision = [share(_part(column[place], column)) for place, column in enumerate(columns)]
    return table(["", *(f"answered {name}" for name in CLASSES), "recall"], [*rows, ["precision", *precision, ""]])


def _part(count: int, counts: list[int] | tuple[int, ...]) -> float | None:
    return count / sum(counts) if sum(counts) else None


def _comparison(training: Training) -> str:
    message = f"{plain(training.reason)}."
    comparison, loss = training.comparison, training.challenger_log_loss
    if comparison is None or loss is None:
        return message
    requested = CAUTION * comparison.standard_error
    rows = [
        [f"challenger `{training.version}`", f"{loss:.4f}"],
        [f"champion `{training.champion}`", f"{loss + comparison.gain:.4f}"],
        ["gain of the challenger", f"{comparison.gain:+z.4f}"],
        ["standard error of the gain", f"{comparison.standard_error:.4f}"],
        [f"required: more than {CAUTION:g} x the standard error", f"{requested:.4f}"],
    ]
    head = [f"on the same {counted(comparison.rows, 'row')}, unseen by both", "log loss, nats"]
    verdict = "✓ The challenger is promoted" if training.promoted else "✗ The champion stays"
    return "\n\n".join([table(head, rows), f"{verdict}: {message}"])


def _scaling(scaling: ScalingReport) -> str:
    last = scaling.steps[-1].week
    rows = [
        [
            f"**{step.week}** now" if step.week == min(scaling.week, last) else f"{step.week}",
            f"{step.begins:%Y-%m-%d}".replace("-", UNBROKEN_DASH) if step.begins else "",
            f"{step.row_limit:,}",
            _trained(step.trained),
        ]
        for step in scaling.steps
    ]
    message = f"The training used {scaling.bars:,} minutes of bars; this is week {scaling.week}."
    return "\n\n".join([message, table(["week", "from", "row limit", "trained"], rows)])


def _trained(message: list[str]) -> str:
    earlier = [f"and {len(message) - MOST_BASES} before"] if len(message) > MOST_BASES else []
    return "<br>".join([*(wrapped(one) for one in message[: -MOST_BASES - 1 : -1]), *earlier])


def _importance(importance: dict[str, float]) -> str:
    named = ", ".join(f"{plain(name)} {gain:.1%}" for name, gain in list(importance.items())[:5])
    return f"Share of the total gain, the greatest {MOST_FEATURES} of {len(importance)}: {named} and so on."


def _picture(name: str, pictures: Mapping[str, bytes]) -> str:
    return f"![{CAPTIONS[name]}]({inline(pictures[name])})" if name in pictures else ""


def untrained_page(report: TrainingReport) -> str:
    """The symbols of a run without a new model."""
    return "\n\n".join(["# Weekly training", failures_section(report.failures)])
