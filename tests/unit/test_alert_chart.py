"""The picture of an alert: right side up, open where there were no bars, and drawn whatever the symbol."""

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
"""Columns of the ten minutes to come, right of the last close's dot."""


def bars(closes: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"time": pd.date_range(START, periods=len(closes), freq="min"), "close": closes})


def wave(count: int = 120, level: float = 7_500.0) -> pd.DataFrame:
    return bars([level * (1 + 1e-3 * math.sin(place / 9)) for place in range(count)])


def chart(frame: pd.DataFrame, **changes: Any) -> bytes:
    requested = {"symbol": "BTCUSD", "direction": "up", "confidence": 0.75, "threshold": 4.2e-4, "zone": "Asia/Kolkata"}
    return call_chart(frame, **(requested | changes))  # type: ignore[arg-type]


def pixels(png: bytes) -> NDArray[np.float64]:
    """Red, green and blue, 0 to 1, (height, width, 3)."""
    return np.asarray(imread(BytesIO(png))[..., :3], dtype=np.float64)


def where(png: bytes, colour: str, columns: slice = slice(0, WIDTH)) -> NDArray[np.bool_]:
    """Which pixels of the axes have `colour`, (height, columns)."""
    inside = pixels(png)[60:435, columns]
    found: NDArray[np.bool_] = np.abs(inside - to_rgb(colour)).max(axis=2) < 0.02
    return found


def test_a_picture_is_the_same_png_each_time_and_of_the_size_of_a_phone() -> None:
    png = chart(wave())
    assert png.startswith(b"\x89PNG")
    assert pixels(png).shape == (HEIGHT, WIDTH, 3)
    assert png == chart(wave())


@pytest.mark.parametrize(("direction", "slope"), [("up", -1), ("down", 1), ("flat", 0)])
def test_the_arrow_points_where_the_call_says_in_its_colour(direction: str, slope: int) -> None:
    png = chart(bars([100.0, 101.0] * 60), direction=direction)
    rows, columns = np.nonzero(where(png, COLOURS[direction], RIGHT_OF_NOW))
    assert len(rows) > 50
    tip, tail = rows[columns > 25].mean(), rows[columns < 8].mean()
    assert np.sign(round((tip - tail) / 10)) == slope
    others = [COLOURS[name] for name in COLOURS if name != direction]
    assert not any(where(png, colour, RIGHT_OF_NOW).any() for colour in others)


def test_the_band_grows_with_the_threshold_and_lies_in_the_minutes_to_come() -> None:
    def height(threshold: float) -> int:
        png = chart(bars([100.0, 101.0] * 60 + [100.5]), threshold=threshold, direction="flat")
        return int(np.ptp(np.flatnonzero((pixels(png)[60:435, 650] < 0.88).all(axis=1))))

    assert 1.8 < height(2e-3) / height(1e-3) < 2.2


def test_a_long_time_without_bars_is_left_open_and_a_short_one_is_as_the_grid_has_it() -> None:
    whole = chart(to_grid(simulated_bars(400)))
    holed = bars_with_holes(400, {320: 50, 390: 5})
    open_ = chart(to_grid(holed, MAX_GAP_MINUTES))
    # Two hours are 509 of the 552 columns from 108 on; bars 320 to 369 are the minutes 39 to 88 of them.
    gap, carried = slice(108 + 42 * 42 // 10, 108 + 42 * 86 // 10), slice(573, 588)
    assert where(whole, BLUE, gap).any()
    assert not where(open_, BLUE, gap).any()
    assert where(open_, BLUE, carried).any(axis=0).all()
    assert not where(chart(holed), BLUE, carried).any(axis=0).all()


def test_only_the_last_two_hours_are_shown() -> None:
    longer = pd.concat([wave(60, 3.0).assign(time=lambda f: f["time"] - pd.Timedelta(hours=1)), wave()])
    assert chart(longer.reset_index(drop=True)) == chart(wave())


def test_the_time_is_that_of_the_readers_zone() -> None:
    pictures = {zone: chart(wave(), zone=zone) for zone in ("UTC", "Asia/Kolkata", "America/New_York")}
    axis = [pixels(png)[440:].tobytes() for png in pictures.values()]
    assert len(set(axis)) == 3
    assert len({pixels(png)[:430].tobytes() for png in pictures.values()}) == 1


def test_simulated_data_are_named_in_the_picture() -> None:
    assert chart(wave(), simulated=True) != chart(wave())


def test_a_symbol_that_the_font_cannot_write_is_left_out() -> None:
    nameless = chart(wave(), symbol="")
    for symbol in ("🚀", "BTC\u202eUSD", "A\nB"):
        assert chart(wave(), symbol=symbol) == nameless
    assert chart(wave(), symbol="$x_1$ \\frac") != nameless


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
def test_any_symbol_and_any_prices_make_a_picture_without_a_warning(
    symbol: str, level: float, swing: float, threshold: float, count: int, direction: str
) -> None:
    frame = bars([level * (1 + swing * math.sin(place)) for place in range(count)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        png = chart(frame, symbol=symbol, threshold=threshold, direction=direction)
    assert png.startswith(b"\x89PNG")
