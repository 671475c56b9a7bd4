"""Reports as Markdown, for the artifacts in the Prefect UI."""

from hybrid_ml.market.simulation import SIMULATED_SYMBOL
from hybrid_ml.reports import Analysis, AnalysisReport, Failure, Training, TrainingReport


def training_markdown(report: TrainingReport) -> str:
    """Each training with its metrics beside what guessing gives."""
    parts = ["# Weekly training", *map(_training, report.trainings), _failures(report.failures)]
    return "\n\n".join(part for part in parts if part)


def _training(training: Training) -> str:
    metrics = training.metrics
    return "\n".join(
        [
            f"## {symbol_title(training.symbol)}: {'promoted' if training.promoted else 'champion stays'}",
            f"{training.reason}. Version `{training.version}`, week {training.week}, {training.rows:,} of up to "
            f"{training.row_limit:,} rows, trained until {training.trained_until:%Y-%m-%d %H:%M} UTC, "
            f"in {training.seconds:.1f} s.",
            "",
            "| on the hold-out | model | guessing |",
            "|---|---|---|",
            f"| accuracy | {metrics['accuracy']:.3f} | {metrics['majority_accuracy']:.3f} (most frequent class) |",
            f"| log loss, nats | {metrics['log_loss']:.4f} | {metrics['prior_log_loss']:.4f} (class prior) |",
            f"| calibration error | {metrics['calibration_error']:.3f} | |",
            f"| rows | {metrics['rows']:,} | |",
        ]
    )


def analysis_markdown(report: AnalysisReport) -> str:
    """Each answer with the verdict of every gate."""
    title = f"# Analysis as of {report.as_of:%Y-%m-%d %H:%M} UTC"
    asleep = f"Asleep: quiet hours {report.quiet_hours}, nothing was asked." if report.asleep else ""
    parts = [title, asleep, *map(_analysis, report.analyses), _failures(report.failures)]
    return "\n\n".join(part for part in parts if part)


def _analysis(analysis: Analysis) -> str:
    chances = analysis.probabilities
    lines = [
        f"## {symbol_title(analysis.symbol)}: {analysis.direction.upper()}, "
        f"{'signal' if analysis.signal else 'no signal'}",
        f"down {chances['down']:.3f}, flat {chances['flat']:.3f}, up {chances['up']:.3f} after the bar of "
        f"{analysis.bar_time:%Y-%m-%d %H:%M} UTC by `{analysis.model.version}` ({analysis.model.kind}).",
        f"Model: {recent_told(analysis)}; {fine_tuning_told(analysis)}{_refit(analysis)}.",
        *([f"Fallback: {analysis.fallback}."] if analysis.fallback else []),
        *([f"Alert: {analysis.alert}."] if analysis.alert else []),
        *(["Degraded: the model is under the bar; this answer is for the record only."] if analysis.degraded else []),
        "",
        "| gate | value | bound | |",
        "|---|---|---|---|",
    ]
    for verdict in analysis.gates:
        value, bound = ("" if number is None else f"{number:.3f}" for number in (verdict.value, verdict.bound))
        lines.append(f"| {verdict.gate} | {value} | {bound} | {'✓' if verdict.passed else '✗'} {verdict.meaning} |")
    return "\n".join(lines)


def recent_told(analysis: Analysis) -> str:
    """How the model did on the newest rows it has not seen."""
    if analysis.recent_accuracy is None:
        return "no recent rows to judge the model on yet"
    return (
        f"accuracy {analysis.recent_accuracy:.3f} on {analysis.recent_rows} recent rows "
        f"(most frequent class: {analysis.recent_majority_accuracy:.3f})"
    )


def fine_tuning_told(analysis: Analysis) -> str:
    """What fine-tuning came to."""
    if analysis.fine_tune_step is None:
        return "asked as it is"
    return f"fine-tuned, step {analysis.fine_tune_step:g}" if analysis.fine_tune_step else "fine-tuning kept the base"


def _refit(analysis: Analysis) -> str:
    return f" (the whole refit on unseen rows: {analysis.refit_told})" if analysis.refit_told else ""


def _failures(failures: list[Failure]) -> str:
    parts = []
    for title, busy in (("Failed", False), ("Left to another run", True)):
        told = [f"- **{failure.symbol}**: {failure.error}" for failure in failures if failure.busy is busy]
        parts += [f"## {title}", *told] if told else []
    return "\n".join(parts)


def symbol_title(symbol: str) -> str:
    """The symbol, with a word of warning where its bars are not real."""
    return f"{symbol} (simulated data)" if symbol == SIMULATED_SYMBOL else symbol
