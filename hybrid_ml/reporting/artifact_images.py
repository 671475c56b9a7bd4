"""Pictures of pages: small ones, since Prefect keeps every version of a page in its database."""

from io import BytesIO

import pandas as pd

from hybrid_ml.reporting import charts
from hybrid_ml.schemas.reports import ScalingReport

COLOURS = 64
"""Enough for a few flat colours and their soft edges, in a quarter of the bytes that all colours take."""
MOST_FEATURES = 15


def in_few_colours(png: bytes) -> bytes:
    """The same picture with a palette of COLOURS."""
    from PIL import Image

    smaller = BytesIO()
    # An octree is as good as a median cut for flat colours, in a tenth of the time.
    drawing = Image.open(BytesIO(png)).convert("RGB")
    drawing.quantize(COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(smaller, "png", optimize=True)
    return smaller.getvalue()


def scaling_picture(scaling: ScalingReport) -> bytes:
    """Row limits of the weeks, and the rows the newest base of each learnt from."""
    weeks = pd.DataFrame(
        {
            "week": [str(step.week) for step in scaling.steps],
            "row_limit": [step.row_limit for step in scaling.steps],
            "rows": [step.rows[-1] if step.rows else 0 for step in scaling.steps],
        }
    )
    return in_few_colours(charts.scaling_chart(weeks, min(scaling.week, scaling.steps[-1].week)))


def importance_picture(importance: dict[str, float]) -> bytes:
    """The MOST_FEATURES features that brought most of the gain."""
    return in_few_colours(charts.importance_chart(dict(list(importance.items())[:MOST_FEATURES])))


def reliability_picture(bins: list[dict[str, float]]) -> bytes:
    """Stated against found, as a review has it."""
    return in_few_colours(charts.reliability_chart(pd.DataFrame(bins)))
