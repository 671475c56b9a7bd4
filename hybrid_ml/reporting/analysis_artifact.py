"""The page of a ten-minute answer, and that of a run over several symbols."""

import math
from collections.abc import Collection

import pandas as pd

from hybrid_ml.market.simulation import SIMULATED_SYMBOL
from hybrid_ml.reporting.artifact_images import in_few_colours
from hybrid_ml.reporting.markdown import inline, plain, section, table, wrapped
from hybrid_ml.reporting.signal_chart import call_chart
from hybrid_ml.reporting.wording import (
    format_absent_leaders,
    format_closed,
    format_fine_tuning,
    format_recent_accuracy,
    symbol_title,
)
from hybrid_ml.schemas.reports import Analysis, AnalysisReport, Failure
from hybrid_ml.signals.gates import Verdict
from hybrid_ml.signals.reasons import format_reason
from hybrid_ml.text.counts import counted

MOST_PICTURES = 12
"""A run over more symbols than this draws only signals: a picture takes as long as ten pages without one."""


def pictured(analyses: Collection[Analysis]) -> set[str]:
    """The symbols whose page gets a picture: all of a small run, those with a signal in a large one."""
    few = len(analyses) <= MOST_PICTURES
    return {answer.symbol for answer in [one for one in analyses if few or one.signal][:MOST_PICTURES]}


def answer_picture(analysis: Analysis, bars: pd.DataFrame, zone: str) -> bytes:
    """PNG of the last two hours and the probabilities of the next ten minutes; `bars` and `zone` as in `call_chart`."""
    picture = call_chart(
        bars,
        symbol=analysis.symbol,
        direction=analysis.direction,
        confidence=analysis.confidence,
        threshold=analysis.threshold,
        zone=zone,
        simulated=analysis.symbol == SIMULATED_SYMBOL,
        probabilities=analysis.probabilities,
    )
    return in_few_colours(picture)


def analysis_page(analysis: Analysis, picture: bytes | None) -> str:
    """The answer, every gate's verdict, the model, and the state of the alert."""
    parts = [
        f"# {plain(symbol_title(analysis.symbol))}: {analysis.direction.upper()}, {format_verdict(analysis)}",
        _warnings(analysis),
        f"After the bar of {analysis.bar_time:%Y-%m-%d %H:%M} UTC, which closed at {analysis.close:.8g}.",
        f"![Two hours of closes and the answer for the next ten minutes]({inline(picture)})" if picture else "",
        _probabilities(analysis),
        section("What moved it", _reasons(analysis)),
        section("Gates", _gates(analysis.gates)),
        section("Model", _model(analysis)),
        _stages(analysis.stage_ms),
    ]
    return "\n\n".join(part for part in parts if part)


def format_verdict(analysis: Analysis) -> str:
    """Whether it is a signal, and if not, the gates that refused it."""
    return "signal" if analysis.signal else f"no signal ({', '.join(analysis.refused_by)})"


def _warnings(analysis: Analysis) -> str:
    lines = [f"**Alert**: {plain(analysis.alert)}."] if analysis.alert else []
    if analysis.fallback:
        lines.append(f"**Fallback**: {plain(analysis.fallback)}.")
    if analysis.absent_leaders:
        lines.append(f"**Leader absent**: {plain(format_absent_leaders(analysis.absent_leaders))}.")
    lines += [f"**Problem**: {plain(problem)}" for problem in analysis.problems]
    return "\n\n".join(lines)


def _probabilities(analysis: Analysis) -> str:
    below, above = (analysis.close * math.exp(sign * analysis.threshold) for sign in (-1, 1))
    meaning = {
        "down": f"the close in ten minutes is under {below:.8g}",
        "flat": "it is between the two",
        "up": f"it is above {above:.8g}",
    }
    rows = [
        [name, f"{probability:.3f}", _bar(probability), meaning[name]]
        for name, probability in analysis.probabilities.items()
    ]
    return table(["", "probability", "", "means that"], rows)


def _reasons(analysis: Analysis) -> str:
    if not analysis.reasons:
        return f"Not known: {plain(analysis.reasons_problem or 'it was not recorded')}."
    rows = [
        [plain(reason.group), f"{reason.towards_nats:+z.2f}", wrapped(format_reason(reason, analysis.direction))]
        for reason in analysis.reasons
    ]
    return table(["features", "nats", ""], rows)


def _bar(probability: float) -> str:
    return "█" * round(20 * probability)


def _gates(verdicts: list[Verdict]) -> str:
    rows = []
    for verdict in verdicts:
        value, bound = ("" if number is None else f"{number:z.3f}" for number in (verdict.value, verdict.bound))
        rows.append(["✓" if verdict.passed else "✗", plain(verdict.gate), value, bound, wrapped(verdict.meaning)])
    return table(["", "gate", "value", "bound", "meaning"], rows)


def _model(analysis: Analysis) -> str:
    model = analysis.model
    refit = f"; the whole refit on unseen rows: {analysis.refit_summary}" if analysis.refit_summary else ""
    return "\n".join(
        [
            f"- `{model.version}` ({model.kind}), trained until {model.trained_until:%Y-%m-%d %H:%M} UTC",
            f"- {format_recent_accuracy(analysis)}",
            f"- {format_fine_tuning(analysis)}{refit}",
        ]
    )


def _stages(stage_ms: dict[str, float]) -> str:
    if not stage_ms:
        return ""
    message = ", ".join(f"{name} {milliseconds:,.0f}" for name, milliseconds in stage_ms.items())
    return f"Took {sum(stage_ms.values()):,.0f} ms: {message}."


def run_page(report: AnalysisReport) -> str:
    """Every symbol of a run in one table, signals first, and those that failed or were busy."""
    ordered = sorted(report.analyses, key=lambda item: (not item.signal, -item.confidence))
    rows = [
        [
            plain(symbol_title(gate.symbol)),
            gate.direction.upper(),
            f"{gate.confidence:.3f}",
            "signal" if gate.signal else f"no: {wrapped(', '.join(gate.refused_by))}",
            plain(gate.alert or ""),
            "fallback" if gate.fell_back else "",
        ]
        for gate in ordered
    ]
    head = ["symbol", "answer", "confidence", "signal", "alert", ""]
    signals = sum(gate.signal for gate in ordered)
    parts = [
        f"# Analysis as of {report.as_of:%Y-%m-%d %H:%M} UTC",
        f"{counted(len(ordered), 'answer')}, {counted(signals, 'signal')}. Each symbol has a page of its own.",
        table(head, rows) if rows else "",
        _closed(report),
        failures_section(report.failures),
    ]
    return "\n\n".join(part for part in parts if part)


def _closed(report: AnalysisReport) -> str:
    lines = [f"- **{plain(symbol)}**: {format_closed(opens_at)}" for symbol, opens_at in report.closed.items()]
    return section("Closed", "\n".join(lines)) if lines else ""


def failures_section(failures: list[Failure]) -> str:
    """The symbols that failed, and those that another run was working on."""
    parts = []
    for title, busy in (("Failed", False), ("Left to another run", True)):
        lines = [
            f"- **{plain(failure.symbol)}**: {plain(failure.error)}" for failure in failures if failure.busy is busy
        ]
        parts += [section(title, "\n".join(lines))] if lines else []
    return "\n\n".join(parts)
