"""Which rule would earn the right to silence alerts: what each would have silenced in replays, and what remained.

Reads the answers of replays (`hybrid-ml replay --predictions_path`); with --csv_path instead, a base trained for each
of some Sundays answers every ten minutes of its week, without fine-tuning, in a small part of the time of a replay; the
gates are those on the answer alone then. Measured, for each rule and series: of the answers that pass every gate those
it would have silenced and those that remain, the share that was right, the mean return from the entry and its t over
days (before any fee), and what silencing adds to both figures, with a 90 % interval that resamples days. How to read
it: a rule earns its place where it adds something beyond chance; else it silences good answers with the bad. Every rule
goes by what was known when the answer was made. Accuracy is that of the model on 200 recent rows, whose ten minutes
overlap. The log loss is that of the last 200 answers with a known outcome, which are ten minutes apart and share none,
compared with that of the class prior stated with each; "beyond doubt" is worse by 1.645 standard errors. Without
either: made-up answers of a model that knows something in the first half of the time and nothing in the second, which
the rules must tell apart.
"""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from common import UNTIL, Report, cross_check, options, show_progress, some_bars
from leaders import LEADER, Variant, cycles, passes, trained
from numpy.typing import NDArray

from hybrid_ml.evaluation.day_blocks import INTERVAL, RESAMPLES, t_over_days
from hybrid_ml.evaluation.outcome_metrics import ResolvedAnswers, followed_signals
from hybrid_ml.evaluation.signal_returns import along_bps, days_of, is_traded
from hybrid_ml.learning.fallback import FEWEST_RECENT_ROWS, MINIMUM_RECENT_ACCURACY, RECENT_ROWS
from hybrid_ml.learning.model import HybridModel
from hybrid_ml.market.bars import BAR_LENGTH, MAX_GAP_MINUTES, to_grid
from hybrid_ml.market.labels import CLASSES, FLAT, FLAT_SHARE, HORIZON_MINUTES
from hybrid_ml.market.leaders import make_leader_bars
from hybrid_ml.replay.history import Past

RECORD, FEWEST_ANSWERS = 200, 100
"""Answers of the record; one of fewer than the second is not judged."""
RECOVERED_ACCURACY = 0.50
DOUBT = 1.645
"""Standard errors: one-sided 95 %."""
REMEMBERED = timedelta(days=1)
"""For how long the state at the last answer counts for the next one."""
ANSWERS_A_DAY, FEW_BPS = 144, 10.0
KNOWN_AFTER, WEEK = (HORIZON_MINUTES + 1) * BAR_LENGTH, timedelta(weeks=1)
Silenced = NDArray[np.bool_]
"""For each answer, (n,), whether its alert would be silenced."""


def under_accuracy(answers: pd.DataFrame, recovered: float = MINIMUM_RECENT_ACCURACY) -> Silenced:
    """Accuracy on 200 recent rows under 45 %, from then on until it reaches `recovered`."""
    silenced, silent, before = [], False, UNTIL
    columns = (answers[name] for name in ("as_of", "recent_rows", "recent_accuracy"))
    for as_of, rows, accuracy in zip(*columns, strict=True):
        bound = recovered if silent and as_of - before < REMEMBERED else MINIMUM_RECENT_ACCURACY
        silent, before = bool(rows >= FEWEST_RECENT_ROWS and accuracy < bound), as_of
        silenced.append(silent)
    return np.array(silenced, dtype=bool)


def worse_than_prior(answers: pd.DataFrame, doubt: float) -> Silenced:
    """Log loss of the last RECORD answers with a known outcome above the prior's by `doubt` standard errors."""
    known = ResolvedAnswers.of(answers)
    record = pd.Series(known.losses() - known.losses("prior")).rolling(RECORD, min_periods=FEWEST_ANSWERS)
    worse = (record.mean() > doubt * record.std() / np.sqrt(record.count())).to_numpy()
    known_at = pd.Index(known.frame["bar_time"] + KNOWN_AFTER)
    count_known = np.asarray(known_at.searchsorted(answers["as_of"], side="right"))
    return np.concatenate([[False], worse])[count_known]


RULES: dict[str, Callable[[pd.DataFrame], Silenced]] = {
    "accuracy under 45 %, until 50 %": lambda answers: under_accuracy(answers, RECOVERED_ACCURACY),
    "accuracy under 45 %": under_accuracy,
    "log loss worse beyond doubt": lambda answers: worse_than_prior(answers, DOUBT),
    "log loss worse": lambda answers: worse_than_prior(answers, 0.0),
}


def figures(followed: pd.DataFrame, day_count: int) -> dict[str, Any]:
    """Count, share right, mean return from the entry in basis points, its t over `day_count` days."""
    traded = followed[is_traded(followed)]
    gained = along_bps(traded, "entry_return")
    return {
        "answers": len(followed),
        "right": followed["right"].mean(),
        "mean, bps": gained.mean() if len(gained) else float("nan"),
        "t over days": t_over_days(gained, days_of(traded), day_count),
    }


def gain(values: NDArray[np.float64], days: NDArray[Any], remains: Silenced) -> list[float]:
    """The mean of the `values` (n,) that remain minus that of all, and its 90 % interval, resampling `days` (n,)."""
    _, place = np.unique(days, return_inverse=True)
    weights = (values, np.ones(len(values)), values * remains, remains)
    sums = np.array([np.bincount(place, weights=weight) for weight in weights])
    drawn = np.random.default_rng(0).integers(0, sums.shape[1], (RESAMPLES, sums.shape[1]))
    with np.errstate(invalid="ignore"):
        total, count, kept, kept_count = np.concatenate([sums.sum(axis=1)[:, None], sums[:, drawn].sum(axis=2)], axis=1)
        gains = kept / kept_count - total / count
    return [float(gains[0]), *(float(edge) for edge in np.nanquantile(gains[1:], INTERVAL))]


def measure(name: str, series: list[pd.DataFrame], report: Report) -> None:
    """Add the rows of each rule to the tables of `report`; each of `series` has a record of its own."""
    answers = pd.concat(series, ignore_index=True)
    known = ResolvedAnswers.of(answers)
    followed, day_count = followed_signals(known), len(np.unique(known.days))
    traded, days = is_traded(followed), days_of(followed)
    report.add(f"{name}: answers with an outcome", len(known), "")
    report.add(f"{name}: days", day_count, "")
    report.add(f"{name}: pass every gate", len(followed), "")
    report.tables["parts"].append({"replay": name, "rule": "none", "part": "all", **figures(followed, day_count)})
    for rule, silences in RULES.items():
        state = pd.Series(np.concatenate([silences(part) for part in series]), index=answers["bar_time"])
        silenced = state.reindex(followed["bar_time"]).to_numpy(dtype=bool)
        for part, chosen in (("silenced", silenced), ("remaining", ~silenced)):
            row = {"replay": name, "rule": rule, "part": part, **figures(followed[chosen], day_count)}
            report.tables["parts"].append(row)
        row = {"replay": name, "rule": rule, "time silent": float(state.mean())}
        bps = along_bps(followed[traded], "entry_return")
        for what, edges in (
            ("bps", gain(bps, days[traded], ~silenced[traded])),
            ("right", gain(followed["right"].to_numpy(dtype=np.float64), days, ~silenced)),
        ):
            row |= {what: edges[0], f"{what}, from": edges[1], f"{what}, to": edges[2]}
        report.tables["what silencing adds"].append(row)


def of_bases(past: Past, variant: Variant, sundays: list[pd.Timestamp], rows: int, threads: int) -> list[pd.DataFrame]:
    """For each Sunday the answers of its base, as of a replay; those to its hold-out, before it, are no signals."""
    found = []
    for number, sunday in enumerate(sundays, start=1):
        show_progress(f"{variant}: week {number} of {len(sundays)}")
        if (model := trained(past, variant, sunday, rows, threads)) is not None:
            found.append(of_base(past, model, sunday))
    return found


def of_base(past: Past, model: HybridModel, sunday: pd.Timestamp) -> pd.DataFrame:
    entered = pd.concat([cycles(past, begins)[1] for begins in (sunday - WEEK, sunday)], ignore_index=True)
    entered = entered[entered["bar_time"] >= model.trained_until]
    rows = past.rows.take(past.rows.times.get_indexer(pd.DatetimeIndex(entered["bar_time"])))
    chances, threshold = model.base_probabilities_of(rows), model.base.label_threshold
    as_of = (entered["bar_time"] + BAR_LENGTH).dt.ceil("10min")
    recent_rows, recent_accuracy = recent(past, model, pd.DatetimeIndex(as_of), sunday + WEEK)
    return entered.assign(
        as_of=as_of,
        **{f"p_{name}": chances[:, place] for place, name in enumerate(CLASSES)},
        **{f"prior_{name}": share for name, share in zip(CLASSES, model.base.class_prior, strict=True)},
        outcome=np.array(CLASSES)[rows.labels(threshold)],
        forward_return=rows.forward_returns,
        signal=passes(chances) & (entered["bar_time"] >= sunday).to_numpy(),
        recent_rows=recent_rows,
        recent_accuracy=recent_accuracy,
    )


def recent(
    past: Past, model: HybridModel, as_of: pd.DatetimeIndex, end: pd.Timestamp
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Number and accuracy of the RECENT_ROWS newest rows unseen by `model` whose outcome was known at each `as_of`."""
    unseen = past.rows.labelled().newer_than(model.trained_until)
    unseen = unseen.take(slice(0, int(unseen.times.searchsorted(end))))
    right = model.base_probabilities_of(unseen).argmax(axis=1) == unseen.labels(model.base.label_threshold)
    total = np.append(0, right.cumsum())
    stop = np.asarray((unseen.times + KNOWN_AFTER).searchsorted(as_of, side="right"))
    start = np.maximum(0, stop - RECENT_ROWS)
    return stop - start, (total[stop] - total[start]) / np.maximum(1, stop - start)


def made_up(day_count: int) -> pd.DataFrame:
    """Answers as of a replay; from the middle of `day_count` days on what is stated has nothing to do with outcomes."""
    random, count = np.random.default_rng(0), day_count * ANSWERS_A_DAY
    scores = random.standard_normal((count, 3)) * 0.5
    stated = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    chances = np.where(np.arange(count)[:, None] < count // 2, stated, 1 / 3)
    truth = (random.random((count, 1)) > chances.cumsum(axis=1)).sum(axis=1).clip(0, 2)
    right, top = stated.argmax(axis=1) == truth, stated.argmax(axis=1)
    times = pd.date_range(end=UNTIL, periods=count, freq="10min")
    returns = (truth - FLAT) * FEW_BPS / 1e4
    return pd.DataFrame(
        {
            "as_of": times + BAR_LENGTH,
            "bar_time": times,
            **{f"p_{name}": stated[:, place] for place, name in enumerate(CLASSES)},
            **{f"prior_{name}": 1 / 3 for name in CLASSES},
            "outcome": np.array(CLASSES)[truth],
            "forward_return": returns,
            "entry_time": times + BAR_LENGTH,
            "entry_return": returns,
            "tradable": True,
            "signal": (top != FLAT) & (stated.max(axis=1) > 0.6),
            "recent_rows": 200,
            # 200 rows hold twenty outcomes of ten minutes; known is that of the answer before.
            "recent_accuracy": pd.Series(right).rolling(20).mean().shift(1).fillna(1.0),
        }
    )


def check_made_up(answers: pd.DataFrame, report: Report) -> None:
    """How much of each half a rule silences, and that the one beyond doubt tells them apart."""
    half = len(answers) // 2
    for rule, silences in RULES.items():
        silenced = silences(answers)
        halves = float(silenced[:half].mean()), float(silenced[half + RECORD :].mean())
        for words, share in zip(("knows something", "knows nothing"), halves, strict=True):
            report.add(f"{rule}: time silent, {words}", share, "share")
        if "doubt" in rule:
            cross_check(halves[0] < 0.05 and halves[1] > 0.5, f"{rule}: silent {halves[0]:.2f} and {halves[1]:.2f}")


def main() -> None:
    parser = options(__doc__, smallest={"days": 28})
    parser.add_argument("--predictions_path", type=Path, nargs="+", default=[], help="answers of replays, Parquet")
    parser.add_argument("--leader_path", type=Path, help="bars of the leader; with --csv_path")
    parser.add_argument("--start", default="2019-03-03", help="first Sunday; with --csv_path, as those that follow")
    parser.add_argument("--sundays", type=int, default=9)
    parser.add_argument("--every", type=int, default=4, help="weeks from one Sunday to the next")
    parser.add_argument("--rows", type=int, default=80_000, help="of a training")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--days", type=int, default=56, help="of made-up answers")
    chosen = parser.parse_args()
    report = Report("silence: rules that would silence alerts", tables={"parts": [], "what silencing adds": []})
    if chosen.csv_path:
        leaders = {}
        if chosen.leader_path:
            leaders[LEADER] = make_leader_bars(to_grid(some_bars(10**9, chosen.leader_path), MAX_GAP_MINUTES))
        first = pd.Timestamp(chosen.start, tz="UTC")
        sundays = [first + number * chosen.every * WEEK for number in range(chosen.sundays)]
        past = Past(some_bars(10**9, chosen.csv_path), MAX_GAP_MINUTES, leaders=leaders)
        variant = Variant(FLAT_SHARE, tuple(leaders))
        measure(chosen.csv_path.stem, of_bases(past, variant, sundays, chosen.rows, chosen.threads), report)
    elif not chosen.predictions_path:
        answers = made_up(chosen.days)
        measure("made up", [answers], report)
        check_made_up(answers, report)
    for path in chosen.predictions_path:
        show_progress(f"measuring {path}")
        measure(path.stem, [pd.read_parquet(path)], report)
    report.show(as_json=chosen.json)


if __name__ == "__main__":
    main()
