"""The figures of a symbol's past signals, for messages: the same as those of the reports."""

from typing import Any

import pandas as pd

from hybrid_ml.evaluation.signal_returns import measure_followed
from hybrid_ml.schemas.signal_record import SymbolRecord

WAYS = {"down": -1, "flat": 0, "up": 1}


def measure_record(record: SymbolRecord, fee_bps: float) -> dict[str, Any]:
    """As returned by `measure_followed`; the guess is the more frequent direction of all answers of the record."""
    frame = pd.DataFrame([vars(signal) for signal in record.past])
    if frame.empty:
        return {"count": 0, "per_day": 0.0}
    followed = frame.assign(
        bar_time=pd.to_datetime(frame["bar_time"], utc=True),
        entry_time=pd.to_datetime(frame["entry_time"], utc=True),
        right=frame["direction"] == frame["outcome"],
        along=frame["direction"].map(WAYS),
        guess=WAYS[record.guess],
    )
    return measure_followed(followed, max(1, record.days), fee_bps)
