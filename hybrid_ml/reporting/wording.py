"""Texts shared by the terminal, the pages and the reports."""

from collections.abc import Sequence
from datetime import UTC, datetime

from hybrid_ml.market.simulation import SIMULATED_SYMBOL
from hybrid_ml.schemas.reports import Analysis
from hybrid_ml.text.counts import counted


def format_recent_accuracy(analysis: Analysis) -> str:
    """The model's accuracy on the newest rows that it has not seen."""
    if analysis.recent_accuracy is None:
        return "no recent rows to evaluate the model on yet"
    return (
        f"accuracy {analysis.recent_accuracy:.3f} on {counted(analysis.recent_rows, 'recent row')} "
        f"(most frequent class: {analysis.recent_majority_accuracy:.3f})"
    )


def format_fine_tuning(analysis: Analysis) -> str:
    """The result of fine-tuning."""
    if analysis.fine_tune_step is None:
        return "not fine-tuned"
    return f"fine-tuned, step {analysis.fine_tune_step:g}" if analysis.fine_tune_step else "fine-tuning kept the base"


def symbol_title(symbol: str) -> str:
    """The symbol, with a warning where its bars are simulated."""
    return f"{symbol} (simulated data)" if symbol == SIMULATED_SYMBOL else symbol


def format_absent_leaders(leaders: Sequence[str]) -> str:
    """That an answer was made without these leaders; empty where none is absent."""
    subject = "its leader" if len(leaders) == 1 else "its leaders"
    return f"{subject} {' and '.join(leaders)} had no bar in time; the answer was made without" if leaders else ""


def format_closed(opens_at: datetime) -> str:
    """Until when a market is closed."""
    return f"closed until {opens_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
