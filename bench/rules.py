"""The rules that keep a model from getting worse: what each bound would have given on real bars.

Measured, week by week on one series, with a base trained each Sunday on the progressive window:
- promotion: which champion would have served under each caution (standard errors that a challenger
  must gain on its hold-out), the log loss of the weeks that followed, and how many of the champions
  that were replaced would have been better in the very next week;
- fine-tuning: a leaf refit an hour, how far to go by what 200 unseen rows say, and the gain over the
  base in the hour that followed, with the worst week;
- flapping: how often the accuracy on 200 recent rows crosses the bar, also if coming back took more than
  falling below it, and how often that trains from scratch (all of it in vain, a new champion every Sunday).
How to read it: nats and counts, no time. The rules in use are marked.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
from common import Report, options, show_progress, some_bars
from numpy.typing import NDArray

from hybrid_ml.learning import fallback, promotion
from hybrid_ml.learning.comparison import Comparison, compare
from hybrid_ml.learning.evaluation import log_losses
from hybrid_ml.learning.fine_tuning import JUDGING_ROWS, MAXIMUM_FINE_TUNE_ROWS, REFIT_L2, choose_step, refit_leaves
from hybrid_ml.learning.model import Base, sum_leaves
from hybrid_ml.learning.rows import EMBARGO_BARS, Rows, make_window
from hybrid_ml.learning.scaling import FULL_ROW_LIMIT, row_limit
from hybrid_ml.learning.training import fit_base
from hybrid_ml.market.bars import MAX_GAP_MINUTES
from hybrid_ml.market.labels import label

SYMBOL = "BENCH"
KNOWN_AFTER = EMBARGO_BARS + 1
"""Rows between now and the newest row whose outcome is known."""
HOUR = 60
MINUTE = timedelta(minutes=1)
CAUTIONS = (-np.inf, 0.0, 0.5, 1.0, 1.645, np.inf)
RECOVERIES = (0.45, 0.47, 0.50, 0.52, 0.55)


@dataclass(frozen=True)
class Weekly:
    """A base of one Sunday, and what it says of every row of the series."""

    sunday: pd.Timestamp
    base: Base
    hold_out_from: pd.Timestamp
    leaves: NDArray[np.intp]
    scores: NDArray[np.float64]

    def losses(self, rows: Rows, where: slice, threshold: float) -> NDArray[np.float64]:
        labels = label(rows.forward_returns[where], threshold)
        return log_losses(self.scores[where] / self.base.temperature, labels)


def train(rows: Rows, start: datetime, weeks: int, most_rows: int, threads: int) -> tuple[Rows, list[Weekly]]:
    """One base a week, and the labelled rows from a little before the first on."""
    first = int(rows.times.searchsorted(pd.Timestamp(start) - pd.Timedelta(days=4)))
    judged, found = rows.take(slice(first, len(rows))), []
    for week in range(weeks):
        sunday = pd.Timestamp(start) + pd.Timedelta(weeks=week)
        show_progress(f"training the base of {sunday:%Y-%m-%d}, {week + 1} of {weeks}")
        end = int(rows.times.searchsorted(sunday - pd.Timedelta(minutes=KNOWN_AFTER)))
        model, hold_out = fit_base(
            rows.take(slice(max(0, end - 90_000), end)),
            symbol=SYMBOL,
            kind="base",
            row_limit=min(most_rows, row_limit(week)),
            week=week,
            as_of=sunday.to_pydatetime(),
            num_threads=threads,
        )
        leaves = model.leaves(judged.features, threads).astype(np.int16)
        scores = sum_leaves(model.base.leaf_values, leaves)
        found.append(Weekly(sunday, model.base, hold_out.times[0], leaves, scores))
    return judged, found


def week_of(rows: Rows, week: Weekly) -> slice:
    end = week.sunday + pd.Timedelta(weeks=1) - pd.Timedelta(minutes=KNOWN_AFTER)
    return slice(int(rows.times.searchsorted(week.sunday)), int(rows.times.searchsorted(end)))


def promotions(rows: Rows, weekly: list[Weekly]) -> list[dict[str, Any]]:
    table = []
    for caution in CAUTIONS:
        champion, total, count, replaced, wrong = weekly[0], 0.0, 0, 0, 0
        for week in weekly:
            threshold, ahead = week.base.label_threshold, week_of(rows, week)
            hold_out = slice(int(rows.times.searchsorted(week.hold_out_from)), ahead.start - KNOWN_AFTER)
            if week is not champion:
                verdict = compare(champion.losses(rows, hold_out, threshold), week.losses(rows, hold_out, threshold))
                if verdict.is_better(caution):
                    later = champion.losses(rows, ahead, threshold).mean() - week.losses(rows, ahead, threshold).mean()
                    champion, replaced, wrong = week, replaced + 1, wrong + int(later < 0)
            losses = champion.losses(rows, ahead, threshold)
            total, count = total + losses.sum(), count + len(losses)
        used = " (in use)" if caution == promotion.CAUTION else ""
        table.append(
            {
                "caution": f"{caution:g}{used}",
                "log loss served": total / count,
                "champions replaced": replaced,
                "for the worse": wrong,
            }
        )
    return table


Chooser = Callable[[Comparison], float]
CHOOSERS: dict[str, Chooser] = {
    "always the whole refit": lambda _: 1.0,
    "always half of it": lambda _: 0.5,
    "whole if better by 1 standard error, else base": lambda refit: float(refit.z > 1),
    "whole if better, else base": lambda refit: float(refit.gain > 0),
    "whole, half or base (in use)": choose_step,
}


def fine_tunings(rows: Rows, weekly: list[Weekly], every_minutes: int) -> list[dict[str, Any]]:
    gains: dict[str, list[float]] = {name: [] for name in CHOOSERS}
    weeks: list[int] = []
    for number, week in enumerate(weekly):
        show_progress(f"fine-tuning in the week of {week.sunday:%Y-%m-%d}")
        labels, ahead = label(rows.forward_returns, week.base.label_threshold), week_of(rows, week)
        for now in range(ahead.start, ahead.stop - HOUR, every_minutes):
            known = now - KNOWN_AFTER
            fitted = slice(known - MAXIMUM_FINE_TUNE_ROWS, known - JUDGING_ROWS - KNOWN_AFTER)
            if fitted.start < 0:
                continue
            values = refit_leaves(
                week.base.leaf_values,
                week.leaves[fitted].astype(np.intp),
                labels[fitted],
                learning_rate=week.base.parameters["learning_rate"],
                lambda_l2=REFIT_L2,
            )

            def losses(where: slice, step: float, week: Weekly = week, values: Any = values) -> NDArray[np.float64]:
                start, end = week.scores[where], sum_leaves(values, week.leaves[where])
                blend = (start + step * (end - start)) / week.base.temperature
                return log_losses(blend, label(rows.forward_returns[where], week.base.label_threshold))

            judging, hour = slice(known - JUDGING_ROWS, known), slice(now, now + HOUR)
            refit = compare(losses(judging, 0.0), losses(judging, 1.0))
            weeks.append(number)
            for name, choose in CHOOSERS.items():
                gains[name].append(float((losses(hour, 0.0) - losses(hour, choose(refit))).mean()))
    return [
        {
            "step": name,
            "gain over the base": float(np.mean(values)),
            "worst week": float(pd.Series(values).groupby(weeks).mean().min()),
            "base kept": float(np.mean(np.asarray(values) == 0.0)),
        }
        for name, values in gains.items()
    ]


def flapping(rows: Rows, weekly: list[Weekly]) -> list[dict[str, Any]]:
    table = []
    for recovery in RECOVERIES:
        changes = below = cycles = trained = hourly = 0
        state, newest, newest_hourly = False, None, -HOUR
        start = weekly[0].sunday.to_pydatetime()
        for week in weekly:
            right = week.scores.argmax(axis=1) == label(rows.forward_returns, week.base.label_threshold)
            ahead, failed_attempts = week_of(rows, week), 0
            for now in range(ahead.start, ahead.stop, 10):
                accuracy = right[now - KNOWN_AFTER - fallback.RECENT_ROWS : now - KNOWN_AFTER].mean()
                before, bar = state, recovery if state else fallback.MINIMUM_RECENT_ACCURACY
                state = bool(accuracy < bar)
                changes, below, cycles = changes + int(state != before), below + int(state), cycles + 1
                again = fallback.next_scratch(None if newest is None else start + newest * MINUTE, failed_attempts)
                if state and (again is None or start + now * MINUTE >= again):
                    trained, failed_attempts, newest = trained + 1, failed_attempts + 1, now
                if state and now - newest_hourly >= HOUR:
                    hourly, newest_hourly = hourly + 1, now
        days = cycles / 144
        used = " (in use)" if recovery == fallback.MINIMUM_RECENT_ACCURACY else ""
        table.append(
            {
                "accuracy to recover": f"{recovery:.2f}{used}",
                "changes in 144 cycles": changes / days,
                "share below": below / cycles,
                "trained from scratch": trained / days,
                "if every hour": hourly / days,
            }
        )
    return table


def main() -> None:
    smallest = {"start": "2024-11-17", "bars": 26_000, "weeks": 2, "most_rows": 2_000, "every_minutes": 2_520}
    parser = options(__doc__, smallest={**smallest, "threads": 1})
    parser.add_argument("--bars", type=int, default=200_000, help="simulated bars")
    parser.add_argument("--most_rows", type=int, default=FULL_ROW_LIMIT, help="rows of a training, at most")
    parser.add_argument("--every_minutes", type=int, default=HOUR, help="minutes from one leaf refit to the next")
    parser.add_argument("--start", default="2024-09-15", help="the first Sunday")
    parser.add_argument("--weeks", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    start = datetime.fromisoformat(chosen.start).replace(tzinfo=UTC)
    bars = some_bars(10**9 if chosen.csv_path else chosen.bars, chosen.csv_path)
    bars = bars[bars["time"] < start + timedelta(weeks=chosen.weeks)]
    needed = (chosen.weeks * 7 + 400) * 1440
    rows = make_window(bars.tail(needed).reset_index(drop=True), MAX_GAP_MINUTES).rows.labelled()
    judged, weekly = train(rows, start, chosen.weeks, chosen.most_rows, chosen.threads)
    report = Report(f"rules: {chosen.weeks} weeks from {start:%Y-%m-%d} on, {len(judged):,} rows judged")
    report.tables["promotion"] = promotions(judged, weekly)
    steps = fine_tunings(judged, weekly, chosen.every_minutes)
    report.add("gain of the step in use over the base", steps[-1]["gain over the base"], "nats")
    report.tables["fine-tuning"] = steps
    report.tables["flapping"] = flapping(judged, weekly)
    report.show(as_json=chosen.json)


if __name__ == "__main__":
    main()
