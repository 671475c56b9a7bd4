"""Which bounds would have given signals of a wanted precision?

Hundreds of settings are tried on the same answers, and the best of many is partly luck. Therefore:
- a setting is chosen on the first half of the time and tested on the second, which was not used for it;
- in the first half the lower limit of its interval (Wilson, one-sided) must reach the precision,
  with an error of 5 % divided by the number of different sets of signals among the settings
  (Bonferroni);
- signals whose ten minutes overlap are decided by the same minutes, so the number of separate
  ten minutes with a signal counts, and there must be at least twenty of those;
- of the settings that reach it, the one with the most signals is advised.
Only the bounds of confidence, margin and entropy are varied. An answer refused by another gate (its direction,
freshness) stays refused. The penalty after poor recent signals and the
limit on the signals of one run are not replayed again.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from itertools import product
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hybrid_ml.evaluation.outcome_metrics import ResolvedAnswers
from hybrid_ml.evaluation.signal_returns import returns_bps
from hybrid_ml.learning.intervals import wilson
from hybrid_ml.market.labels import FLAT, HORIZON_MINUTES
from hybrid_ml.signals.presets import PRESETS, Bounds
from hybrid_ml.text.counts import counted

CONFIDENCES = (0.40, 0.45, 0.48, 0.50, 0.52, 0.55, 0.58, 0.60, 0.65, 0.70, 0.75, 0.80)
MARGINS = (0.0, 0.05, 0.10, 0.15, 0.20, 0.25, 0.30, 0.40)
ENTROPIES = (0.70, 0.80, 0.85, 0.90, 0.95, 1.00, 1.05, 1.10)
VARIED = {"confidence", "margin", "entropy", "max_signals"}
FEWEST_SIGNALS = 20
"""With fewer separate ten minutes than this nothing can be concluded about a precision."""
ERROR = 0.05
MOST_UNBEATEN = 12
HORIZON = pd.Timedelta(minutes=HORIZON_MINUTES)


@dataclass(frozen=True)
class Half:
    """The result of a setting in one half of the time; `separate`: ten-minute slots with a signal.

    `interval` is Wilson's, 90 %, over separate slots; returns in basis points: from close to close before and after the
    fee, and from the entry after it, which is what a person could have had. Numbers are None where there was none.
    """

    count: int
    separate: int
    coverage: float
    precision: float | None = None
    interval: tuple[float, float] | None = None
    mean_return_bps: float | None = None
    mean_return_after_fee_bps: float | None = None
    mean_entry_return_after_fee_bps: float | None = None


@dataclass(frozen=True)
class Setting:
    """Three bounds and their results; `surely`: the corrected lower limit of precision in the first half.

    `name` is that of a preset, "as requested", or empty.
    """

    min_confidence: float
    min_prob_margin: float
    max_entropy: float
    name: str
    found: Half
    shown: Half
    surely: float | None


@dataclass(frozen=True)
class Advice:
    """The setting that reaches `wanted_precision`, if any, among `tried` settings with `different` sets of signals.

    `answers`: in the two halves; `eligible`: those of them with DOWN or UP that only these bounds could refuse.
    `nearest`: where none reaches it, the setting with the highest `surely`. `settings`: all of them.
    """

    wanted_precision: float
    split_at: datetime
    answers: int
    eligible: int
    tried: int
    different: int
    advised: Setting | None
    nearest: Setting | None
    verdict: str
    settings: list[Setting]

    def shortened(self) -> "Advice":
        """With few settings: the named, the advised or nearest, and some that no other dominates in the first half."""
        unbeaten = _unbeaten(self.settings)
        some = {round(place) for place in np.linspace(0, len(unbeaten) - 1, MOST_UNBEATEN)} if unbeaten else set()
        shown = [unbeaten[place] for place in sorted(some)] + [item for item in (self.advised, self.nearest) if item]
        others = sorted((setting for setting in shown if not setting.name), key=lambda item: -item.found.count)
        named = [setting for setting in self.settings if setting.name]
        return replace(self, settings=[*named, *dict.fromkeys(others)])


@dataclass(frozen=True)
class _Answers:
    """One half: the number of answers, and of those that could be a signal, (m,), in order of time:

    `gained`: basis points before the fee, from close to close, and `from_entry`, NaN where there is no entry;
    `slot`: the ten minutes of the bar.
    """

    answers: int
    confidence: NDArray[np.float64]
    margin: NDArray[np.float64]
    entropy: NDArray[np.float64]
    right: NDArray[np.bool_]
    gained: NDArray[np.float64]
    from_entry: NDArray[np.float64]
    slot: NDArray[np.int64]


def advise(answers: pd.DataFrame, bounds: Bounds, *, wanted_precision: float, fee_bps: float) -> Advice | None:
    """Try a grid of bounds around the presets, and `bounds` as requested, on `answers` in the form of `Service.cycle`.

    None where fewer than two answers have an outcome.
    """
    known = answers[answers["outcome"].notna()].sort_values("bar_time", kind="stable")
    if len(known) < 2:
        return None
    first, last = known["bar_time"].iloc[0], known["bar_time"].iloc[-1]
    split_at = (first + (last - first) / 2).ceil("min")
    # An answer just before the split shares minutes with one after it, so it is in neither half.
    halves = known[known["bar_time"] < split_at - HORIZON], known[known["bar_time"] >= split_at]
    early, late = (_candidates(half) for half in halves)
    tried = _grid(bounds)
    passed = [_passing(early, setting) for setting in tried]
    separate = [_separate(early, mask) for mask in passed]
    enough = [item.tobytes() for item, slots in zip(passed, separate, strict=True) if slots >= FEWEST_SIGNALS]
    different = len(set(enough))
    caution = NormalDist().inv_cdf(1 - ERROR / max(1, different))
    settings = [
        _setting(name, item, early, late, fee_bps, caution) for item, name in zip(tried, tried.values(), strict=True)
    ]
    sure = [setting for setting in settings if setting.surely is not None]
    reach = [setting for setting in sure if (setting.surely or 0.0) >= wanted_precision]
    advised = max(reach, key=lambda item: (item.found.count, item.surely), default=None)
    nearest = None if advised else max(sure, key=lambda item: item.surely or 0.0, default=None)
    return Advice(
        wanted_precision=wanted_precision,
        split_at=split_at.to_pydatetime(),
        answers=early.answers + late.answers,
        eligible=len(early.right) + len(late.right),
        tried=len(settings),
        different=different,
        advised=advised,
        nearest=nearest,
        verdict=_verdict(advised, nearest, wanted_precision),
        settings=settings,
    )


def _grid(bounds: Bounds) -> dict[tuple[float, float, float], str]:
    """Every setting tried, and its name where it has one."""
    tried = dict.fromkeys(product(CONFIDENCES, MARGINS, ENTROPIES), "")
    for name, preset in PRESETS.items():
        tried[_triple(preset)] = name
    request = _triple(bounds)
    return {**tried, request: tried.get(request) or "as requested"}


def _triple(bounds: Bounds) -> tuple[float, float, float]:
    return bounds.min_confidence, bounds.min_prob_margin, bounds.max_entropy


def _candidates(half: pd.DataFrame) -> _Answers:
    """The answers that could be a signal under some bounds: with a direction, refused by the varied bounds only."""
    known = ResolvedAnswers.of(half)
    probabilities = known.probabilities()
    top = probabilities.argmax(axis=1)
    refused = half["refused_by"].fillna("").str.split(",")
    free = np.fromiter((set(names) <= VARIED | {""} for names in refused), dtype=bool, count=len(half)) & (top != FLAT)
    ordered = np.sort(probabilities, axis=1)
    entropy = -np.sum(
        np.where(probabilities > 0, probabilities * np.log(np.maximum(probabilities, 1e-300)), 0.0), axis=1
    )
    gained, from_entry = (
        returns_bps(known.frame[name].to_numpy(dtype=np.float64), top) for name in ("forward_return", "entry_return")
    )
    slot = known.frame["bar_time"].dt.floor(HORIZON).astype("datetime64[s, UTC]").astype(np.int64).to_numpy()
    columns: Any = (ordered[:, 2], ordered[:, 2] - ordered[:, 1], entropy, top == known.truth, gained, from_entry, slot)
    return _Answers(len(half), *(column[free] for column in columns))


def _passing(half: _Answers, bounds: tuple[float, float, float]) -> NDArray[np.bool_]:
    confidence, margin, entropy = bounds
    return (half.confidence >= confidence) & (half.margin >= margin) & (half.entropy <= entropy)


def _separate(half: _Answers, passed: NDArray[np.bool_]) -> int:
    """The number of ten-minute slots with one of `passed` (m,); answers are in order of time."""
    slots = half.slot[passed]
    return int(1 + np.count_nonzero(np.diff(slots))) if len(slots) else 0


def _setting(
    name: str, bounds: tuple[float, float, float], early: _Answers, late: _Answers, fee_bps: float, caution: float
) -> Setting:
    found, shown = (_half(half, _passing(half, bounds), fee_bps) for half in (early, late))
    surely = None
    if found.precision is not None and found.separate >= FEWEST_SIGNALS:
        surely = wilson(found.precision * found.separate, found.separate, caution)[0]
    return Setting(*bounds, name=name, found=found, shown=shown, surely=surely)


def _half(half: _Answers, passed: NDArray[np.bool_], fee_bps: float) -> Half:
    count, separate = int(passed.sum()), _separate(half, passed)
    if not count:
        return Half(0, 0, 0.0)
    precision, gained = float(half.right[passed].mean()), float(half.gained[passed].mean())
    traded = half.from_entry[passed & np.isfinite(half.from_entry)]
    return Half(
        count=count,
        separate=separate,
        coverage=count / half.answers,
        precision=precision,
        interval=_pair(wilson(precision * separate, separate)),
        mean_return_bps=gained,
        mean_return_after_fee_bps=gained - fee_bps,
        mean_entry_return_after_fee_bps=float(traded.mean() - fee_bps) if len(traded) else None,
    )


def _pair(edges: list[float]) -> tuple[float, float]:
    low, high = edges
    return low, high


def _unbeaten(settings: list[Setting]) -> list[Setting]:
    """From most signals to fewest, those more precise than every one with as many; without those of too few signals."""
    best, kept = -1.0, []
    enough = [setting for setting in settings if setting.surely is not None]
    for item in sorted(enough, key=lambda one: (-one.found.count, -(one.found.precision or 0.0))):
        if item.found.precision is not None and item.found.precision > best:
            best = item.found.precision
            kept.append(item)
    return kept


def _verdict(advised: Setting | None, nearest: Setting | None, wanted: float) -> str:
    if advised is None:
        if nearest is None:
            return f"No setting had {FEWEST_SIGNALS} separate signals in the first half: no conclusion is possible."
        return (
            f"No setting reaches a precision of {wanted:.2f} with its lower limit in the first half. The nearest, "
            f"{format_setting(nearest)}, has a lower limit of {nearest.surely:.2f}; it had "
            f"{nearest.found.precision:.2f} there and {format_half(nearest.shown)}."
        )
    begin = (
        f"{format_setting(advised)} reached {wanted:.2f} in the first half "
        f"({advised.found.precision:.2f}, lower limit {advised.surely:.2f})"
    )
    if advised.shown.interval is None or advised.shown.precision is None:
        return f"{begin}; it gave no signal in the second: not confirmed."
    if advised.shown.interval[0] >= wanted:
        return f"{begin} and {format_half(advised.shown)}: confirmed."
    if advised.shown.precision >= wanted:
        return f"{begin} and {format_half(advised.shown)}: not contradicted, but too few signals to confirm it."
    return f"{begin} but {format_half(advised.shown)}: not confirmed. Do not rely on it."


def format_setting(setting: Setting) -> str:
    """The three flags of a setting."""
    return (
        f"--min_confidence {setting.min_confidence:g} --min_prob_margin {setting.min_prob_margin:g} "
        f"--max_entropy {setting.max_entropy:g}"
    )


def format_half(half: Half) -> str:
    """The result in the second half, as text."""
    if half.precision is None or half.interval is None:
        return "no signal in the second"
    low, high = half.interval
    return f"{half.precision:.2f} in the second ({low:.2f} to {high:.2f}, {counted(half.count, 'signal')})"
