"""Charts: frames in, PNG bytes out.

Drawn with matplotlib's object interface on Agg: without pyplot's global state, which other threads share,
and without a display. The colours are those of Okabe and Ito ("Color universal design", 2008), which
colour-blind people can distinguish.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from io import BytesIO
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"
DOTS_PER_INCH = 100
COLUMNS_OF_SMALL_CHARTS = 4
PALE = "#EEEEEE"
COMPLETENESS = (
    (0.0, ORANGE, "none"),
    (0.5, "#E69F00", "below 50 %"),
    (0.9, "#F0E442", "below 90 %"),
    (0.99, "#BFE3F7", "below 99 %"),
    (1.0, "#56B4E9", "99 % or more"),
    (np.inf, BLUE, "all"),
)
"""Colours of a share of minutes: those of Okabe and Ito from too few to all; each up to its bound, the first only 0."""
MOST_CELLS_WITH_EDGES, LONGEST_LABEL = 62, 24
Draw = Callable[["Axes", Any, bool], None]
"""Draws a frame into axes; False: a small chart among many, without labels."""


def weekly_chart(weeks: pd.DataFrame) -> bytes:
    """Skill and fine-tuning gain week by week with their intervals, nats.

    Columns: week (label), skill, skill_low, skill_high, gain, gain_low, gain_high; a row with NaN is left out.
    """
    figure = new_figure(max(8.0, min(16.0, 2 + 0.5 * len(weeks))), 6.5)
    upper, lower = figure.subplots(2, 1, sharex=True)
    for axes, name, colour, title in (
        (upper, "skill", BLUE, "Skill: nats better than the class prior"),
        (lower, "gain", GREEN, "Gain of fine-tuning: nats better than the base alone"),
    ):
        middle = weeks[name].to_numpy(dtype=float)
        reach = np.abs(np.stack([middle - weeks[f"{name}_low"], weeks[f"{name}_high"] - middle]).astype(float))
        axes.errorbar(np.arange(len(weeks)), middle, yerr=reach, fmt="o", color=colour, capsize=4)
        axes.axhline(0, color=GREY, linewidth=1)
        axes.set_title(f"{title} (90 % interval)", loc="left", fontsize=11)
        axes.set_ylabel("nats")
        axes.grid(axis="y", alpha=0.3)
    step = ceil(len(weeks) / 20)
    lower.set_xticks(np.arange(0, len(weeks), step), weeks["week"].iloc[::step], rotation=30, ha="right")
    lower.set_xlim(-0.5, max(len(weeks), 2) - 0.5)
    lower.set_xlabel("week beginning (UTC)")
    return png_bytes(figure)


def reliability_chart(bins: pd.DataFrame) -> bytes:
    """Stated probability against how often it came true; columns as returned by `evaluation.reliability`."""
    figure = new_figure(7.0, 6.5)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    _reliability(upper, bins, True)
    lower.bar(bins["stated"], bins["rows"], width=0.02, color=GREY)
    lower.set_ylabel("answers")
    lower.set_xlabel("stated probability of the answer")
    return png_bytes(figure)


def coverage_chart(curve: pd.DataFrame, blind: float, signals: tuple[float, float] | None) -> bytes:
    """Precision of the most confident directions against their share of all answers.

    `curve` as returned by `precision_by_coverage`; `blind`: precision of always naming the more
    frequent direction; `signals`: coverage and precision of the signals that were sent, where there were any.
    """
    figure = new_figure(8.0, 5.0)
    axes = figure.subplots()
    _coverage(axes, (curve, blind), True)
    if signals:
        axes.plot(
            *signals, marker="*", markersize=15, color=ORANGE, linestyle="none", label="signals as sent", zorder=5
        )
        axes.set_xlim(min(float(curve["coverage"].iloc[0]), 0.8 * signals[0]), 1)
    figure.legend(loc="outside lower center", ncols=2, fontsize=9)
    return png_bytes(figure)


def reliability_charts(weeks: Mapping[str, pd.DataFrame]) -> bytes:
    """`reliability_chart` of every week, small."""
    return _small_charts(weeks, _reliability)


def coverage_charts(weeks: Mapping[str, tuple[pd.DataFrame, float]]) -> bytes:
    """`coverage_chart` of every week, small; each with its own curve and blind precision."""
    return _small_charts(weeks, _coverage)


def methods_chart(methods: pd.DataFrame) -> bytes:
    """The lead of the replayed answers over other methods on the bars that both answered.

    Columns: method, accuracy_lead, accuracy_low, accuracy_high (points), skill_lead, skill_low, skill_high (nats,
    NaN where the method states no probabilities).
    """
    figure = new_figure(9.0, 1.8 + 0.42 * len(methods))
    left, right = figure.subplots(1, 2, sharey=True)
    place = np.arange(len(methods))[::-1]
    for axes, name, colour, unit in ((left, "accuracy", BLUE, "share of answers"), (right, "skill", GREEN, "nats")):
        middle = methods[f"{name}_lead"].to_numpy(dtype=float)
        reach = np.abs(np.stack([middle - methods[f"{name}_low"], methods[f"{name}_high"] - middle]).astype(float))
        axes.errorbar(middle, place, xerr=reach, fmt="o", color=colour, capsize=4)
        axes.axvline(0, color=GREY, linewidth=1)
        axes.set_xlabel(unit)
        axes.set_title(f"hybrid-ml ahead in {name} (90 %)", loc="left", fontsize=11)
        axes.grid(axis="x", alpha=0.3)
    left.set_yticks(place, methods["method"])
    left.set_ylim(-0.7, len(methods) - 0.3)
    return png_bytes(figure)


def running_accuracy_chart(
    symbols: Mapping[str, pd.DataFrame], window: int, changes: Mapping[str, Sequence[datetime]]
) -> bytes:
    """Accuracy over the last `window` answers of each symbol, with that of the majority; one strip for each symbol.

    Columns: time, accuracy, majority. `changes`: when the accuracy changed, by symbol.
    """
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    figure = new_figure(9.0, 1.0 + 2.2 * len(symbols))
    figure.suptitle("Accuracy over time", x=0.01, ha="left", fontsize=11)
    strips = figure.subplots(len(symbols), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes, (symbol, frame) in zip(strips, symbols.items(), strict=True):
        times = frame["time"].dt.tz_localize(None)
        axes.plot(times, frame["accuracy"], color=BLUE, label=f"accuracy of the last {window} answers")
        axes.plot(times, frame["majority"], color=GREY, linestyle="--", linewidth=1,
                  label="always naming the most frequent outcome until then")  # fmt: skip
        for moment in changes.get(symbol, ()):
            axes.axvline(moment, color=ORANGE, linewidth=1.5, label="the accuracy changed")
        axes.set_title(symbol, loc="left", fontsize=10, parse_math=False)
        axes.set_ylabel("share right")
        axes.grid(alpha=0.3)
    locator = AutoDateLocator(maxticks=10, interval_multiples=False)  # type: ignore[no-untyped-call]
    strips[-1].xaxis.set_major_locator(locator)
    strips[-1].xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    named = {label: line for axes in strips for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=3, fontsize=9)
    strips[-1].set_xlabel("bar (UTC)")
    return png_bytes(figure)


def completeness_chart(shares: pd.DataFrame) -> bytes:
    """A heat map: one row a symbol, one column a day, its colour the share of the expected minutes that have a bar.

    `shares`: symbols as index, days (date) as columns, 0 to 1, NaN where no bar is expected.
    """
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    count, days = shares.shape
    figure = new_figure(11.0, 1.5 + 0.27 * count)
    axes = figure.subplots()
    colours = [colour for _, colour, _ in COMPLETENESS]
    edges: dict[str, Any] = {"edgecolors": "white", "linewidth": 1} if days <= MOST_CELLS_WITH_EDGES else {}
    axes.pcolormesh(_grades(shares), cmap=ListedColormap([PALE, *colours]), vmin=-1, vmax=len(colours) - 1, **edges)
    axes.invert_yaxis()
    names = [name if len(name) <= LONGEST_LABEL else f"{name[: LONGEST_LABEL - 1]}…" for name in shares.index]
    axes.set_yticks(np.arange(count) + 0.5, names)
    for label in axes.get_yticklabels():
        label.set_parse_math(False)
    step = ceil(days / 15)
    axes.set_xticks(np.arange(0, days, step) + 0.5, [f"{day:%m-%d}" for day in shares.columns[::step]])
    axes.tick_params(length=0, labelsize=9)
    axes.spines[:].set_visible(False)
    axes.set_title("Share of the expected minutes that have a bar, by day (UTC)", loc="left", fontsize=11)
    handles = [Patch(color=colour, label=label) for _, colour, label in COMPLETENESS]
    handles.append(Patch(color=PALE, label="none expected"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=9, frameon=False)
    return png_bytes(figure)


def _grades(shares: pd.DataFrame) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The place of each share in COMPLETENESS, -1 for NaN."""
    values = shares.to_numpy(dtype=float)
    bounds = [bound for bound, _, _ in COMPLETENESS]
    grades = np.where(values > 0, np.searchsorted(bounds, values, side="right"), 0)
    return np.where(np.isnan(values), -1, grades)


def scaling_chart(weeks: pd.DataFrame, week: int) -> bytes:
    """Row limit of each week, and the training rows of its base. Columns: week (label), row_limit, rows.

    `week`: index of the present one.
    """
    figure = new_figure(6.4, 2.8)
    axes = figure.subplots()
    axes.bar(weeks["week"], weeks["row_limit"], color="white", edgecolor=GREY, label="row limit")
    axes.bar(weeks["week"], weeks["rows"], color=BLUE, width=0.6, label="rows of its newest training")
    axes.get_xticklabels()[week].set_fontweight("bold")
    axes.yaxis.set_major_formatter(lambda rows, _: f"{rows:,.0f}")
    axes.set_xlabel("week of progressive scaling (bold: now)")
    axes.grid(axis="y", alpha=0.3)
    figure.legend(loc="outside upper left", ncols=2, fontsize=9)
    return png_bytes(figure)


def importance_chart(shares: Mapping[str, float]) -> bytes:
    """Share of the gain of each feature, by name, the greatest first."""
    figure = new_figure(6.4, 0.6 + 0.24 * len(shares))
    axes = figure.subplots()
    axes.barh(list(shares)[::-1], list(shares.values())[::-1], color=BLUE, height=0.7)
    axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    axes.tick_params(labelsize=9)
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel("share of the gain")
    return png_bytes(figure)


def _reliability(axes: Axes, bins: pd.DataFrame, whole: bool) -> None:
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="perfect")
    reach = np.stack([bins["came_true"] - bins["low"], bins["high"] - bins["came_true"]])
    axes.errorbar(
        bins["stated"], bins["came_true"], yerr=np.maximum(reach, 0), fmt="o-" if whole else "o", color=BLUE,
        capsize=4 if whole else 2, markersize=6 if whole else 4, label="answers (90 % interval)",
    )  # fmt: skip
    axes.set_xlim(0.3, max(0.7, min(1.0, float(bins["stated"].max()) + 0.05)))  # the top of three is at least a third
    axes.set_ylim(0, 1)
    axes.grid(alpha=0.3)
    if whole:
        axes.set_ylabel("share that came true")
        axes.set_title("Reliability: does a stated probability come true as often as stated?", loc="left", fontsize=11)
        axes.legend(loc="upper left", fontsize=9)


def _coverage(axes: Axes, message: tuple[pd.DataFrame, float], whole: bool) -> None:
    curve, blind = message
    axes.fill_between(curve["coverage"], curve["low"], curve["high"], color=BLUE, alpha=0.15, linewidth=0)
    axes.plot(curve["coverage"], curve["precision"], color=BLUE, label="the most confident directions (band: 90 %)")
    axes.plot(curve["coverage"], curve["coin"], color=GREEN, linestyle=":", label="coin toss on the same rows")
    axes.axhline(blind, color=GREY, linestyle="--", linewidth=1, label="blind guess: the more frequent direction")
    axes.set_xscale("log")
    axes.set_xlim(min(0.5, float(curve["coverage"].iloc[0])), 1)
    axes.set_ylim(0, 1)
    axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    axes.xaxis.set_minor_formatter(lambda *_: "")
    axes.grid(alpha=0.3)
    if whole:
        axes.set_xlabel("coverage: share of all answers, the most confident first (logarithmic)")
        axes.set_ylabel("precision of the direction")
        axes.set_title("Precision against coverage", loc="left", fontsize=11)


def _small_charts(frames: Mapping[str, Any], draw: Draw) -> bytes:
    columns = min(COLUMNS_OF_SMALL_CHARTS, len(frames))
    rows = ceil(len(frames) / columns)
    figure = new_figure(2.7 * columns + 0.6, 2.4 * rows + 0.4)
    every = np.atleast_1d(figure.subplots(rows, columns, squeeze=False).ravel())
    for axes, (title, frame) in zip(every, frames.items(), strict=False):
        draw(axes, frame, False)
        axes.set_title(title, fontsize=9)
        axes.tick_params(labelsize=8)
    for axes in every[len(frames) :]:
        axes.set_axis_off()
    return png_bytes(figure)


def new_figure(width_inches: float, height_inches: float) -> Figure:
    """An empty figure on Agg."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_inches, height_inches), dpi=DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def png_bytes(figure: Figure) -> bytes:
    """The figure as PNG; the same figure gives the same bytes."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
