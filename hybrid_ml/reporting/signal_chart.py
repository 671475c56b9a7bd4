"""The picture of an alert: two hours of closes, the band of the next ten minutes, and the call.

Made for a phone (800 x 500 pixels, large print), and for fast alerts: everything is placed by
hand, since matplotlib's own layout and date axis take longer than the rest of the picture. Smaller, and
with the probabilities, it is also the picture of an answer's page.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hybrid_ml.market.bars import BAR_LENGTH
from hybrid_ml.market.labels import HORIZON_MINUTES
from hybrid_ml.reporting.charts import BLUE, DOTS_PER_INCH, GREEN, GREY, ORANGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN_MINUTES = 120
TICK_MINUTES = 30
GAP_WORTH_A_WORD_MINUTES = 15
INCHES = (8.0, 5.0)
PLACE = (0.135, 0.13, 0.69, 0.75)
"""The axes in the picture: left, bottom, width, height, as shares of it."""
PLACE_BELOW_PROBABILITIES = (0.135, 0.13, 0.69, 0.66)
PLACE_OF_PROBABILITIES = (0.135, 0.82, 0.69, 0.055)
DOTS_PER_INCH_OF_A_PAGE = 80
NARROWEST_LABELLED = 0.12
"""A smaller probability is drawn without its number, which would not fit."""
TITLE_SIZE, TEXT_SIZE = 20, 13
LONGEST_SYMBOL_SHOWN = 18
PRICE_TICKS, MOST_DECIMALS = 5, 9
FIT_LEFT, FIT_RIGHT = 9, 11
"""Letters of TEXT_SIZE that fit beside the axes."""
COLOURS = {"down": ORANGE, "flat": GREY, "up": GREEN}
ARROWS = {"down": "▼", "flat": "■", "up": "▲"}
SLOPES = {"down": -1, "flat": 0, "up": 1}


@dataclass(frozen=True)
class _View:
    """The data drawn. `minutes`: when each close was known, counted back from the newest, 0; `closes`, both (n,)."""

    minutes: NDArray[np.int64]
    closes: NDArray[np.float64]
    close: float
    below: float
    above: float
    reach: float
    """The height of the arrow, up or down."""


def call_chart(
    bars: pd.DataFrame,
    *,
    symbol: str,
    direction: str,
    confidence: float,
    threshold: float,
    zone: str,
    simulated: bool = False,
    probabilities: Mapping[str, float] | None = None,
) -> bytes:
    """PNG of the last two hours of `bars` and the answer for the next ten minutes.

    `bars`: at least one, oldest first, with `close` and `time` (open of the minute, UTC), which may be the
    index, as in the grid of a window; missing minutes are left open. `threshold`: |log return| beyond which
    the outcome is UP or DOWN. `zone`: IANA name of the reader's time zone. A symbol that the font cannot
    write is left out. `probabilities`: probabilities of down, flat and up, drawn as a strip in a picture of 640 x 400.
    """
    times = pd.DatetimeIndex(bars["time"] if "time" in bars.columns else bars.index)
    view = _view(times, bars["close"].to_numpy(dtype=np.float64), threshold)
    figure = _figure(DOTS_PER_INCH if probabilities is None else DOTS_PER_INCH_OF_A_PAGE)
    axes = figure.add_axes(PLACE if probabilities is None else PLACE_BELOW_PROBABILITIES)
    if probabilities is not None:
        _draw_probabilities(figure.add_axes(PLACE_OF_PROBABILITIES), probabilities)
    _draw_past(axes, view)
    _draw_call(axes, view, direction)
    _draw_times(axes, times[-1] + BAR_LENGTH, zone)
    call = f"{ARROWS[direction]} {direction.upper()}, {min(99, round(100 * confidence))} % sure"
    title = f"{_shown(symbol)}  {call}".strip()
    figure.text(PLACE[0], 0.915, title, fontsize=TITLE_SIZE, weight="bold", color=COLOURS[direction], parse_math=False)
    if simulated:
        axes.text(0.5, 0.97, "SIMULATED DATA", transform=axes.transAxes, fontsize=TITLE_SIZE, weight="bold",
                  color=GREY, alpha=0.7, ha="center", va="top")  # fmt: skip
    buffer = BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})  # the same figures give the same bytes
    return buffer.getvalue()


def _view(times: pd.DatetimeIndex, closes: NDArray[np.float64], threshold: float) -> _View:
    minutes = np.asarray((times - times[-1]) // BAR_LENGTH, dtype=np.int64)
    shown = minutes > -SHOWN_MINUTES
    minutes, closes = minutes[shown], closes[shown]
    close = float(closes[-1])
    below, above = close * math.exp(-threshold), close * math.exp(threshold)
    height = max(float(np.max(closes) - np.min(closes)), above - below, 1e-4 * close)
    return _View(minutes, closes, close, below, above, max(2 * (above - close), 0.12 * height))


def _draw_probabilities(axes: Axes, probabilities: Mapping[str, float]) -> None:
    """One strip of three segments."""
    left = 0.0
    for name, probability in probabilities.items():
        axes.barh(0, probability, left=left, color=COLOURS[name], height=1)
        if probability >= NARROWEST_LABELLED:
            message = f"{name} {100 * probability:.0f} %"
            axes.text(
                left + probability / 2, 0, message, ha="center", va="center_baseline", color="white", fontsize=TEXT_SIZE
            )
        left += probability
    axes.set_xlim(0, left)
    axes.set_ylim(-0.5, 0.5)
    axes.set_axis_off()


def _draw_past(axes: Axes, view: _View) -> None:
    """The closes, interrupted where a minute is missing; long gaps are labelled."""
    breaks = np.flatnonzero(np.diff(view.minutes) > 1) + 1
    for minutes, closes in zip(np.split(view.minutes, breaks), np.split(view.closes, breaks), strict=True):
        marker = "o" if len(minutes) == 1 else ""  # a line of one point is invisible
        axes.plot(minutes, closes, color=BLUE, linewidth=2.2, solid_joinstyle="round", marker=marker, markersize=3)
    edges = np.concatenate([[-SHOWN_MINUTES], view.minutes])
    for place in np.flatnonzero(np.diff(edges) > GAP_WORTH_A_WORD_MINUTES):
        axes.axvspan(edges[place], edges[place + 1], color=GREY, alpha=0.10, linewidth=0)
        middle = (edges[place] + edges[place + 1]) / 2
        axes.text(middle, 0.05, "no bars", transform=axes.get_xaxis_transform(), ha="center",
                  fontsize=TEXT_SIZE - 1, color=GREY)  # fmt: skip


def _draw_call(axes: Axes, view: _View, direction: str) -> None:
    """The band of the next ten minutes with its prices, the arrow, and the space for them."""
    low = min(float(np.min(view.closes)), view.close - view.reach, view.below)
    high = max(float(np.max(view.closes)), view.close + view.reach, view.above)
    margin = 0.06 * (high - low)
    axes.set_ylim(low - margin, high + margin)
    axes.set_xlim(-SHOWN_MINUTES, HORIZON_MINUTES)
    axes.fill_between([0, HORIZON_MINUTES], view.below, view.above, color=GREY, alpha=0.35, linewidth=0)
    axes.plot([0], [view.close], marker="o", markersize=8, color=BLUE, zorder=4)
    tip = (HORIZON_MINUTES - 0.5, view.close + SLOPES[direction] * view.reach)
    arrow = {"arrowstyle": "-|>", "color": COLOURS[direction], "linewidth": 3.5, "mutation_scale": 24,
             "shrinkA": 0, "shrinkB": 0}  # fmt: skip
    axes.annotate("", xy=tip, xytext=(0, view.close), arrowprops=arrow, zorder=5)
    finest = (view.above - view.below) / 10 or (high - low) / 100
    for price, name, side in ((view.above, "up", "bottom"), (view.below, "down", "top")):
        text = _price(price, finest)
        axes.text(
            HORIZON_MINUTES + 2, price, f"{name}\n{text}", color=COLOURS[name], fontsize=_size(text, FIT_RIGHT), va=side
        )
    _draw_prices(axes, low, high)


def _draw_prices(axes: Axes, low: float, high: float) -> None:
    from matplotlib.ticker import MaxNLocator

    step = (high - low) / PRICE_TICKS
    axes.yaxis.set_major_locator(MaxNLocator(PRICE_TICKS, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(lambda price, _: _price(price, step))
    axes.tick_params(labelsize=TEXT_SIZE)
    axes.tick_params(axis="y", labelsize=_size(_price(high, step), FIT_LEFT))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_times(axes: Axes, newest: pd.Timestamp, zone: str) -> None:
    """Ticks where the local time of `zone` is a half or a full hour; 0 is `newest`."""
    minutes = np.arange(-SHOWN_MINUTES, HORIZON_MINUTES + 1)
    clock = (newest + pd.to_timedelta(minutes, unit="min")).tz_convert(ZoneInfo(zone))
    ticks = np.flatnonzero(np.asarray(clock.minute) % TICK_MINUTES == 0)
    axes.set_xticks(minutes[ticks], [f"{moment:%H:%M}" for moment in clock[ticks]])
    local = newest.tz_convert(ZoneInfo(zone))
    axes.set_xlabel(f"{local:%Y-%m-%d %H:%M}  {zone}", fontsize=TEXT_SIZE)


def _price(price: float, finest: float) -> str:
    """`price` with the decimals that a difference of `finest` needs; with an exponent where they are too many."""
    decimals = max(0, -math.floor(math.log10(finest)))
    return f"{price:,.{decimals}f}" if decimals <= MOST_DECIMALS and price < 1e12 else f"{price:.6g}"


def _size(message: str, letters: int) -> float:
    """The font size at which `message` takes no more width than `letters`."""
    return TEXT_SIZE * min(1.0, letters / len(message))


def _shown(symbol: str) -> str:
    """`symbol` shortened, or empty where the font cannot write it."""
    from matplotlib.font_manager import findfont, get_font

    font = get_font(findfont("DejaVu Sans"))
    drawn = all(
        font.get_char_index(ord(character)) and unicodedata.category(character)[0] != "C" for character in symbol
    )
    if not drawn:
        return ""
    return symbol if len(symbol) <= LONGEST_SYMBOL_SHOWN else symbol[: LONGEST_SYMBOL_SHOWN - 1] + "…"


def _figure(dots_per_inch: int) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=INCHES, dpi=dots_per_inch)
    FigureCanvasAgg(figure)
    return figure
