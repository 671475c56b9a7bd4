"""Pictures for pages: small files, since Prefect keeps every version of a page in its database."""

from io import BytesIO

import pandas as pd

from hybrid_ml.reporting import charts
from hybrid_ml.schemas.data_report import DataReport
from hybrid_ml.schemas.reports import ScalingReport

COLOURS = 64
"""Enough for a few flat colours and their edges, in a quarter of the bytes of all colours."""
MOST_FEATURES = 15
MOST_SYMBOLS = 50
"""Rows of a heat map that a person can still read."""


def in_few_colours(png: bytes) -> bytes:
    """The same picture with a palette of COLOURS."""
    from PIL import Image

    smaller = BytesIO()
    # For flat colours an octree is as good as a median cut, in a tenth of the time.
    drawing = Image.open(BytesIO(png)).convert("RGB")
    drawing.quantize(COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(smaller, "png", optimize=True)
    return smaller.getvalue()


def completeness_picture(report: DataReport) -> bytes | None:
    """The heat map of a report, of the MOST_SYMBOLS with the fewest bars; None for one without symbols."""
    if not report.symbols:
        return None
    fewest = sorted(report.symbols, key=lambda data: 1.0 if data.share is None else data.share)[:MOST_SYMBOLS]
    shown = [data for data in report.symbols if data in fewest]
    rows = {data.symbol: {day.day: day.share for day in data.days} for data in shown}
    return in_few_colours(charts.completeness_chart(pd.DataFrame.from_dict(rows, orient="index", dtype=float)))


def scaling_picture(scaling: ScalingReport) -> bytes:
    """Row limits of the weeks, and the training rows of the newest base of each."""
    weeks = pd.DataFrame(
        {
            "week": [str(step.week) for step in scaling.steps],
            "row_limit": [step.row_limit for step in scaling.steps],
            "rows": [step.rows[-1] if step.rows else 0 for step in scaling.steps],
        }
    )
    return in_few_colours(charts.scaling_chart(weeks, min(scaling.week, scaling.steps[-1].week)))


def importance_picture(importance: dict[str, float]) -> bytes:
    """The MOST_FEATURES features with the largest share of the gain."""
    return in_few_colours(charts.importance_chart(dict(list(importance.items())[:MOST_FEATURES])))


def reliability_picture(bins: list[dict[str, float]]) -> bytes:
    """Stated probabilities against the share that came true, as in a review."""
    return in_few_colours(charts.reliability_chart(pd.DataFrame(bins)))
