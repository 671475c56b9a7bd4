"""What leaders and the share of FLAT are worth: bases with and without them, walk-forward on one series.

Measured: for each Sunday a base is trained on the newest `--rows` labelled rows known then, and answers every ten
minutes of the week that follows; without fine-tuning, and with the gates on the answer alone (direction,
confidence, margin, entropy of the preset balanced). How to read it: skill in nats under the shares that came true,
and its part in direction; signals a day, the share that moved their way, their mean return from close to close and
from the next traded minute's open, and its t over days; "absent": the base with the leader, asked without its bars.
The series that are simulated only show that it runs: give real ones with --csv_path and --leader_path.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from common import Report, options, show_progress, some_bars
from numpy.typing import NDArray

from hybrid_ml.evaluation.day_blocks import t_over_days
from hybrid_ml.learning.model import CLASS_COUNT, HybridModel
from hybrid_ml.learning.reliability import calibration_error
from hybrid_ml.learning.rows import Rows
from hybrid_ml.learning.training import fit_base
from hybrid_ml.market.bars import MAX_GAP_MINUTES, to_grid
from hybrid_ml.market.labels import FLAT, UP
from hybrid_ml.market.leaders import make_leader_bars
from hybrid_ml.replay.history import Past
from hybrid_ml.signals.presets import PRESETS

BALANCED = PRESETS["balanced"]
LEADER = "the leader"
CYCLES_OF_A_WEEK, MORE_ROWS = 1_008, 8_000
Answers = pd.DataFrame
"""bar_time, p_down, p_flat, p_up, truth, forward_return, entry_return, one row a cycle."""


@dataclass(frozen=True)
class Variant:
    """A base with or without the leader, and what it is asked: `flat_share` of the rows count as FLAT."""

    flat_share: float
    leaders: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"FLAT {self.flat_share:.2f}, {'own bars and a leader' if self.leaders else 'own bars'}"


def cycles(past: Past, sunday: pd.Timestamp) -> tuple[Rows, pd.DataFrame]:
    """The newest row of every ten minutes of the week from `sunday`, and its entry; only where the outcome is known."""
    moments = [sunday + pd.Timedelta(minutes=10 * number) for number in range(CYCLES_OF_A_WEEK)]
    views = [past.view_at(moment.to_pydatetime(), 1) for moment in moments]
    bar_times = pd.DatetimeIndex(sorted({view.bar_time for view in views if view and view.bar_time >= sunday}))
    places = past.rows.times.get_indexer(bar_times)
    rows = past.rows.take(places[np.isfinite(past.rows.forward_returns[places])])
    return rows, past.with_entries(pd.DataFrame({"bar_time": rows.times}))


def trained(past: Past, variant: Variant, sunday: pd.Timestamp, rows: int, threads: int) -> HybridModel | None:
    known = past.labelled_rows(sunday.to_pydatetime(), rows + MORE_ROWS)
    if len(known) < rows // 2:
        return None
    base, _ = fit_base(
        known,
        symbol="X",
        kind="base",
        row_limit=rows,
        week=0,
        as_of=sunday.to_pydatetime(),
        num_threads=threads,
        leaders=variant.leaders,
        flat_share=variant.flat_share,
    )
    return base


def answered(model: HybridModel, rows: Rows, entries: pd.DataFrame) -> Answers:
    chances = model.base_probabilities_of(rows)
    frame = pd.DataFrame(chances, columns=["p_down", "p_flat", "p_up"])
    return frame.assign(
        bar_time=rows.times,
        truth=rows.labels(model.base.label_threshold),
        forward_return=rows.forward_returns,
        entry_return=entries["entry_return"].to_numpy(dtype=np.float64),
    )


def weeks(
    past: Past, variant: Variant, sundays: list[pd.Timestamp], rows: int, threads: int
) -> Iterator[list[Answers]]:
    """For each Sunday the answers with the leader's bars, and without."""
    for number, sunday in enumerate(sundays, start=1):
        show_progress(f"{variant}: week {number} of {len(sundays)}")
        model = trained(past, variant, sunday, rows, threads)
        asked, entries = cycles(past, sunday)
        if model is not None and len(asked):
            alone = replace(asked, leader_features={})
            yield [answered(model, seen, entries) for seen in (asked, alone)]


def measure(name: str, found: Answers) -> dict[str, Any]:
    chances, truth = found[["p_down", "p_flat", "p_up"]].to_numpy(), found["truth"].to_numpy()
    shares = np.bincount(truth, minlength=CLASS_COUNT) / len(truth)
    each = np.arange(len(truth))
    skill = np.log(chances[each, truth] / shares[truth])
    along, before = chances[each, truth] / (1 - chances[:, FLAT]), shares[truth] / (1 - shares[FLAT])
    direction = np.where(truth == FLAT, 0.0, np.log(along / before))
    followed = found[passes(chances)]
    way = np.where(followed["p_up"] > followed["p_down"], 1, -1)
    returns, entered = (way * followed[column].to_numpy() * 1e4 for column in ("forward_return", "entry_return"))
    days = pd.DatetimeIndex(found["bar_time"]).floor("D")
    traded = np.isfinite(entered)
    signal_days = pd.DatetimeIndex(followed["bar_time"]).floor("D").asi8
    count = days.nunique()
    return {
        "base": name,
        "skill": skill.mean(),
        "direction": direction.mean(),
        "calibration": calibration_error(chances, truth),
        "signals a day": len(followed) / count,
        "right": np.mean(returns > 0) if len(followed) else np.nan,
        "mean, bps": returns.mean() if len(followed) else np.nan,
        "from entry, bps": entered[traded].mean() if traded.any() else np.nan,
        "t over days": t_over_days(entered[traded], signal_days[traded], count) or np.nan,
    }


def passes(chances: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether the gates on the answer alone let it pass, (n,)."""
    ordered = np.sort(chances, axis=1)
    entropy = -(chances * np.log(chances)).sum(axis=1)
    sure = (ordered[:, UP] >= BALANCED.min_confidence) & (entropy <= BALANCED.max_entropy)
    apart: NDArray[np.bool_] = ordered[:, UP] - ordered[:, FLAT] >= BALANCED.min_prob_margin
    return sure & apart & (chances.argmax(axis=1) != FLAT)


def main() -> None:
    parser = options(__doc__, smallest={"start": "2024-11-17", "bars": 24_000, "rows": 2_000, "threads": 1})
    parser.add_argument("--leader_path", type=Path, help="bars of the leader; with --csv_path")
    parser.add_argument("--bars", type=int, default=150_000, help="simulated bars")
    parser.add_argument("--start", default="2024-09-01", help="first Sunday, e.g. 2019-03-03")
    parser.add_argument("--sundays", type=int, default=1)
    parser.add_argument("--every", type=int, default=4, help="weeks from one Sunday to the next")
    parser.add_argument("--rows", type=int, default=80_000)
    parser.add_argument("--flat_shares", default="0.1", help="comma separated")
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    count = 2_000_000 if chosen.csv_path else chosen.bars
    own = some_bars(count, chosen.csv_path)
    # Without one, a leader that is the series itself two minutes earlier: it tells what it should not know.
    lead = (
        some_bars(count, chosen.leader_path)
        if chosen.leader_path
        else own.assign(time=own["time"] - pd.Timedelta("2min"))
    )
    past = Past(own, MAX_GAP_MINUTES, leaders={LEADER: make_leader_bars(to_grid(lead, MAX_GAP_MINUTES))})
    sundays = [
        pd.Timestamp(chosen.start, tz="UTC") + pd.Timedelta(weeks=number * chosen.every)
        for number in range(chosen.sundays)
    ]
    report = Report(f"leaders: {len(sundays)} weeks, {chosen.rows:,} rows each")
    table = []
    for share in map(float, chosen.flat_shares.split(",")):
        for variant in (Variant(share), Variant(share, (LEADER,))):
            found = list(weeks(past, variant, sundays, chosen.rows, chosen.threads))
            known, absent = (pd.concat(part, ignore_index=True) for part in zip(*found, strict=True))
            table.append(measure(str(variant), known))
            if variant.leaders:
                table.append(measure(f"{variant}, absent", absent))
    report.add("skill in direction, own bars", table[0]["direction"], "nats")
    report.add("skill in direction, with a leader", table[1]["direction"], "nats")
    report.tables["answers and signals"] = table
    report.show(as_json=chosen.json)


if __name__ == "__main__":
    main()
