"""The equity line of signals: frames in, PNG bytes out."""

import numpy as np
import pandas as pd

from hybrid_ml.reporting.charts import BLUE, GREY, ORANGE, new_figure, png_bytes


def equity_chart(line: pd.DataFrame, fee_bps: float, drawdown_bps: float) -> bytes:
    """The sum of one unit a signal after the fee, beside that of a guess, and below it the fall from its highest value.

    `line`: as returned by `signal_returns.equity`, at least one row.
    """
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    figure = new_figure(8.0, 5.0)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    first, last = (
        line["time"].iloc[0].floor("D"),
        line["time"].iloc[-1].ceil("D"),
    )  # whole days: one signal is a line, too
    times = pd.DatetimeIndex([first, *line["time"], last]).tz_localize(None)
    totals = (line[name].to_numpy() for name in ("total_bps", "guess_total_bps"))
    total, guess = (np.concatenate([[0.0], values, values[-1:]]) for values in totals)
    upper.step(times, total, where="post", color=BLUE, label="following the signals")
    upper.step(times, guess, where="post", color=GREY, linestyle="--", linewidth=1, label="a guess on the same signals")
    upper.axhline(0, color=GREY, linewidth=1)
    upper.set_ylabel("sum, bps")
    upper.set_title(
        f"One unit a signal, from the entry, after a fee of {fee_bps:g} bps (deepest fall {drawdown_bps:,.0f} bps)",
        loc="left", fontsize=11,
    )  # fmt: skip
    lower.fill_between(
        times, total - np.maximum.accumulate(total), 0, step="post", color=ORANGE, alpha=0.5, linewidth=0
    )
    lower.set_ylabel("fall, bps")
    for axes in (upper, lower):
        axes.grid(alpha=0.3)
    locator = AutoDateLocator()  # type: ignore[no-untyped-call]
    lower.xaxis.set_major_locator(locator)
    lower.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    lower.set_xlabel("entry (UTC)")
    figure.legend(loc="outside lower center", ncols=2, fontsize=9)
    return png_bytes(figure)
