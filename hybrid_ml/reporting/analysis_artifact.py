"""The page of a ten-minute answer, and that of a run over several symbols."""

import math
from collections.abc import Collection

import pandas as pd

from hybrid_ml.market.simulation import SIMULATED_SYMBOL
from hybrid_ml.reporting.artifact_images import in_few_colours
from hybrid_ml.reporting.markdown import inline, plain, section, table, wrapped
from hybrid_ml.reporting.signal_chart import call_chart
from hybrid_ml.reporting.wording import format_fine_tuning, format_recent_accuracy, symbol_title
from hybrid_ml.schemas.reports import Analysis, AnalysisReport, Failure
from hybrid_ml.signals.gates import Verdict
from hybrid_ml.text.counts import counted

MOST_PICTURES = 12
"""A run over more symbols than this draws signals only: a picture takes as long as ten pages without one."""


def pictured(analyses: Collection[Analysis]) -> set[str]:
    """The symbols whose page gets a picture: all of a small run, of a large one those with a signal."""
    few = len(analyses) <= MOST_PICTURES
    return {answer.symbol for answer in [one for one in analyses if few or one.signal][:MOST_PICTURES]}


def answer_picture(analysis: Analysis, bars: pd.DataFrame, zone: str) -> bytes:
    """PNG of the last two hours and the three chances of the next ten minutes; `bars` and `zone` as in `call_chart`."""
    picture = call_chart(
        bars,
        symbol=analysis.symbol,
        direction=analysis.direction,
        confidence=analysis.confidence,
        threshold=analysis.threshold,
        zone=zone,
        simulated=analysis.symbol == SIMULATED_SYMBOL,
        chances=analysis.probabilities,
    )
    return in_few_colours(picture)


def analysis_page(analysis: Analysis, picture: bytes | None) -> str:
    """The answer, every gate's verdict on it, the model behind it, and what became of the alert."""
    parts = [
        f"# {plain(symbol_title(analysis.symbol))}: {analysis.direction.upper()}, {format_verdict(analysis)}",
        _warnings(analysis),
        f"After the bar of {analysis.bar_time:%Y-%m-%d %H:%M} UTC, which closed at {analysis.close:.8g}.",
        f"![Two hours of closes and what is said about the next ten minutes]({inline(picture)})" if picture else "",
        _chances(analysis),
        section("Gates", _gates(analysis.gates)),
        section("Model", _model(analysis)),
        _stages(analysis.stage_ms),
    ]
    return "\n\n".join(part for part in parts if part)


def format_verdict(analysis: Analysis) -> str:
    """Whether it is a signal, and if not, who said no."""
    return "signal" if analysis.signal else f"no signal ({', '.join(analysis.refused_by)})"


def _warnings(analysis: Analysis) -> str:
    lines = [f"**Alert**: {plain(analysis.alert)}."] if analysis.alert else []
    if analysis.degraded:
        lines.append("**Degraded**: the model is under the bar; this answer is for the record only.")
    if analysis.fallback:
        lines.append(f"**Fallback**: {plain(analysis.fallback)}.")
    lines += [f"**Problem**: {plain(problem)}" for problem in analysis.problems]
    return "\n\n".join(lines)


def _chances(analysis: Analysis) -> str:
    below, above = (analysis.close * math.exp(sign * analysis.threshold) for sign in (-1, 1))
    meaning = {
        "down": f"the close in ten minutes is under {below:.8g}",
        "flat": "it is between the two",
        "up": f"it is above {above:.8g}",
    }
    rows = [[name, f"{chance:.3f}", _bar(chance), meaning[name]] for name, chance in analysis.probabilities.items()]
    return table(["", "probability", "", "means that"], rows)


def _bar(chance: float) -> str:
    return "█" * round(20 * chance)


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
    """Every symbol of a run in one table, signals first, and those that were not finished."""
    ordered = sorted(report.analyses, key=lambda item: (not item.signal, -item.confidence))
    rows = [
        [
            plain(symbol_title(gate.symbol)),
            gate.direction.upper(),
            f"{gate.confidence:.3f}",
            "signal" if gate.signal else f"no: {wrapped(', '.join(gate.refused_by))}",
            plain(gate.alert or ""),
            ", ".join(word for word, text in (("degraded", gate.degraded), ("fallback", gate.fell_back)) if text),
        ]
        for gate in ordered
    ]
    head = ["symbol", "answer", "confidence", "signal", "alert", ""]
    signals = sum(gate.signal for gate in ordered)
    parts = [
        f"# Analysis as of {report.as_of:%Y-%m-%d %H:%M} UTC",
        f"{counted(len(ordered), 'answer')}, {counted(signals, 'signal')}. Each symbol has a page of its own.",
        table(head, rows) if rows else "",
        failures_section(report.failures),
    ]
    return "\n\n".join(part for part in parts if part)


def failures_section(failures: list[Failure]) -> str:
    """Who failed, and who was left to another run."""
    parts = []
    for title, busy in (("Failed", False), ("Left to another run", True)):
        lines = [
            f"- **{plain(failure.symbol)}**: {plain(failure.error)}" for failure in failures if failure.busy is busy
        ]
        parts += [section(title, "\n".join(lines))] if lines else []
    return "\n\n".join(parts)
