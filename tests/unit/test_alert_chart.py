"""The chart of an alert: direction, gaps without bars, and any symbol."""

import math
import warnings
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from matplotlib.image import imread
from numpy.typing import NDArray

from hybrid_ml.market.bars import MAX_GAP_MINUTES, to_grid
from hybrid_ml.reporting.charts import BLUE
from hybrid_ml.reporting.signal_chart import COLOURS, call_chart
from tests.simulated import bars_with_holes, simulated_bars

START = datetime(2024, 3, 5, 9, tzinfo=UTC)
HEIGHT, WIDTH = 500, 800
RIGHT_OF_NOW = slice(628, 660)
"""Columns of the next ten minutes, right of the dot of the last close."""


def bars(closes: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"time": pd.date_range(START, periods=len(closes), freq="min"), "close": closes})


def wave(count: int = 120, level: float = 7_500.0) -> pd.DataFrame:
    return bars([level * (1 + 1e-3 * math.sin(position / 9)) for position in range(count)])


def chart(frame: pd.DataFrame, **changes: Any) -> bytes:
    options = {"symbol": "BTCUSD", "direction": "up", "confidence": 0.75, "threshold": 4.2e-4, "zone": "Asia/Kolkata"}
    return call_chart(frame, **(options | changes))  # type: ignore[arg-type]


def pixels(png: bytes) -> NDArray[np.float64]:
    """Red, green and blue, 0 to 1, (height, width, 3)."""
    return np.asarray(imread(BytesIO(png))[..., :3], dtype=np.float64)


def pixels_of(png: bytes, colour: str, columns: slice = slice(0, WIDTH)) -> NDArray[np.bool_]:
    """Which pixels of the axes have `colour`, (height, columns)."""
    inside = pixels(png)[60:435, columns]
    matches: NDArray[np.bool_] = np.abs(inside - to_rgb(colour)).max(axis=2) < 0.02
    return matches


def test_chart_is_a_reproducible_png_of_fixed_size() -> None:
    png = chart(wave())
    assert png.startswith(b"\x89PNG")
    assert pixels(png).shape == (HEIGHT, WIDTH, 3)
    assert png == chart(wave())


@pytest.mark.parametrize(("direction", "slope"), [("up", -1), ("down", 1), ("flat", 0)])
def test_arrow_has_direction_and_colour_of_the_signal(direction: str, slope: int) -> None:
    png = chart(bars([100.0, 101.0] * 60), direction=direction)
    rows, columns = np.nonzero(pixels_of(png, COLOURS[direction], RIGHT_OF_NOW))
    assert len(rows) > 50
    tip, tail = rows[columns > 25].mean(), rows[columns < 8].mean()
    assert np.sign(round((tip - tail) / 10)) == slope
    others = [COLOURS[name] for name in COLOURS if name != direction]
    assert not any(pixels_of(png, colour, RIGHT_OF_NOW).any() for colour in others)


def test_band_height_is_proportional_to_the_threshold() -> None:
    def height(threshold: float) -> int:
        png = chart(bars([100.0, 101.0] * 60 + [100.5]), threshold=threshold, direction="flat")
        return int(np.ptp(np.flatnonzero((pixels(png)[60:435, 650] < 0.88).all(axis=1))))

    assert 1.8 < height(2e-3) / height(1e-3) < 2.2


def test_long_gap_is_left_open_and_short_gap_filled() -> None:
    complete = chart(to_grid(simulated_bars(400)))
    with_gaps = bars_with_holes(400, {320: 50, 390: 5})
    chart_with_gaps = chart(to_grid(with_gaps, MAX_GAP_MINUTES))
    # Two hours are 509 of the 552 columns from 108 on; bars 320 to 369 are the minutes 39 to 88 of them.
    gap, carried = slice(108 + 42 * 42 // 10, 108 + 42 * 86 // 10), slice(573, 588)
    assert pixels_of(complete, BLUE, gap).any()
    assert not pixels_of(chart_with_gaps, BLUE, gap).any()
    assert pixels_of(chart_with_gaps, BLUE, carried).any(axis=0).all()
    assert not pixels_of(chart(with_gaps), BLUE, carried).any(axis=0).all()


def test_only_the_last_two_hours_are_shown() -> None:
    longer = pd.concat([wave(60, 3.0).assign(time=lambda f: f["time"] - pd.Timedelta(hours=1)), wave()])
    assert chart(longer.reset_index(drop=True)) == chart(wave())


def test_time_axis_uses_the_configured_zone() -> None:
    pictures = {zone: chart(wave(), zone=zone) for zone in ("UTC", "Asia/Kolkata", "America/New_York")}
    axis = [pixels(png)[440:].tobytes() for png in pictures.values()]
    assert len(set(axis)) == 3
    assert len({pixels(png)[:430].tobytes() for png in pictures.values()}) == 1


def test_chart_of_simulated_data_is_marked() -> None:
    assert chart(wave(), simulated=True) != chart(wave())


def test_symbol_that_the_font_lacks_is_left_out() -> None:
    without_symbol = chart(wave(), symbol="")
    for symbol in ("🚀", "BTC\u202eUSD", "A\nB"):
        assert chart(wave(), symbol=symbol) == without_symbol
    assert chart(wave(), symbol="$x_1$ \\frac") != without_symbol


@given(
    symbol=st.text(max_size=64),
    level=st.floats(1e-12, 1e15),
    swing=st.sampled_from([0.0, 1e-9, 1e-3, 0.5]),
    threshold=st.sampled_from([0.0, 1e-6, 4e-4, 0.2]),
    count=st.integers(1, 130),
    direction=st.sampled_from(list(COLOURS)),
)
@settings(max_examples=20)
@example("$\\frac{1$", 1e15, 0.0, 0.0, 1, "up")
@example("नमस्ते", 1e-12, 1e-9, 0.0, 2, "down")
def test_chart_is_drawn_without_warning_for_any_symbol_and_prices(
    symbol: str, level: float, swing: float, threshold: float, count: int, direction: str
) -> None:
    frame = bars([level * (1 + swing * math.sin(position)) for position in range(count)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        png = chart(frame, symbol=symbol, threshold=threshold, direction=direction)
    assert png.startswith(b"\x89PNG")
