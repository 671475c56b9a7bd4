"""The words of an alert."""

from datetime import datetime, timedelta

from hybrid_ml.market.bars import BAR_LENGTH
from hybrid_ml.market.labels import HORIZON_MINUTES
from hybrid_ml.signals.gates import Answer, Verdict

ARROWS = {"down": "▼", "flat": "■", "up": "▲"}


def alert_message(
    *,
    symbol: str,
    simulated: bool,
    close: float,
    bar_time: datetime,
    answer: Answer,
    verdicts: list[Verdict],
    model_version: str,
    trained_until: datetime,
    threshold: float,
) -> str:
    """A short plain text: what, how sure, why it passed, until when, by which model."""
    decided = bar_time + BAR_LENGTH
    valid_until = decided + timedelta(minutes=HORIZON_MINUTES)
    passed = ", ".join(
        f"{verdict.gate.replace('_', ' ')} {verdict.value:.2f}"
        for verdict in verdicts
        if verdict.value is not None and verdict.gate in ("confidence", "margin", "entropy")
    )
    return "\n".join(
        [
            f"{ARROWS[answer.direction]} {symbol} {answer.direction.upper()}{' (SIMULATED DATA)' if simulated else ''}",
            f"price {close:,.8g}, next {HORIZON_MINUTES} minutes, threshold {threshold * 1e4:.1f} bps",
            f"down {answer.down:.1%}   flat {answer.flat:.1%}   up {answer.up:.1%}",
            f"passed: {passed}",
            f"valid {decided:%Y-%m-%d %H:%M} to {valid_until:%H:%M} UTC",
            f"model {model_version}, trained until {trained_until:%Y-%m-%d %H:%M} UTC",
        ]
    )
