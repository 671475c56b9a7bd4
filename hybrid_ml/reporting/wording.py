"""Words that the terminal, the pages and the reports share."""

from hybrid_ml.market.simulation import SIMULATED_SYMBOL
from hybrid_ml.schemas.reports import Analysis
from hybrid_ml.text.counts import counted


def format_recent_accuracy(analysis: Analysis) -> str:
    """How the model did on the newest rows it has not seen."""
    if analysis.recent_accuracy is None:
        return "no recent rows to judge the model on yet"
    return (
        f"accuracy {analysis.recent_accuracy:.3f} on {counted(analysis.recent_rows, 'recent row')} "
        f"(most frequent class: {analysis.recent_majority_accuracy:.3f})"
    )


def format_fine_tuning(analysis: Analysis) -> str:
    """What fine-tuning came to."""
    if analysis.fine_tune_step is None:
        return "asked as it is"
    return f"fine-tuned, step {analysis.fine_tune_step:g}" if analysis.fine_tune_step else "fine-tuning kept the base"


def symbol_title(symbol: str) -> str:
    """The symbol, with a word of warning where its bars are not real."""
    return f"{symbol} (simulated data)" if symbol == SIMULATED_SYMBOL else symbol
