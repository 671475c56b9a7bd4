"""The text of an alert and of its outcome: HTML for Telegram, in lines short enough for a phone."""

import math
import textwrap
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from hybrid_ml.alerts.html import CAPTION_LIMIT, escaped, length
from hybrid_ml.alerts.record import record_lines
from hybrid_ml.learning.model import Kind
from hybrid_ml.market.bars import BAR_LENGTH
from hybrid_ml.market.labels import CLASSES, HORIZON_MINUTES
from hybrid_ml.schemas.signal_record import SymbolRecord
from hybrid_ml.signals.gates import Answer, Verdict
from hybrid_ml.signals.reasons import Reason, format_reason
from hybrid_ml.text.counts import counted

ARROWS = {"down": "▼", "flat": "■", "up": "▲"}
SIGNS = {"down": -1, "flat": 1, "up": 1}
KINDS: dict[Kind, str] = {"base": "weekly model", "scratch": "model from scratch"}
SHOWN_GATES = {"confidence": "≥", "margin": "≥", "entropy": "≤"}
LINE_LENGTH = 44
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
PLAIN_PRICES = (1e-9, 1e13)
"""Prices outside of this range are written with an exponent."""


def alert_message(
    *,
    symbol: str,
    simulated: bool,
    close: float,
    bar_time: datetime,
    answer: Answer,
    threshold: float,
    verdicts: list[Verdict],
    recent: SymbolRecord,
    model_version: str,
    base_kind: Kind,
    base_trained_until: datetime,
    fine_tuned_until: datetime | None,
    now: datetime,
    zone: str,
    reasons: Sequence[Reason] = (),
) -> str:
    """The call, its confidence, the price band, what moved it, the gates' values, recent signals, model, validity.

    `threshold`: |log return| beyond which the outcome is UP or DOWN. `recent`: the symbol's resolved
    signals. `fine_tuned_until`: when the adapter's last label was known, None where the base is used alone.
    `zone`: IANA name of the reader's time zone. The weakest reasons are left out where
    they would exceed Telegram's limit for a caption.
    """
    call = f"{ARROWS[answer.direction]} {escaped(symbol)} {answer.direction.upper()}"
    sure = f"{min(99, round(100 * answer.confidence))} % sure"
    fine_tuned = [] if fine_tuned_until is None else [f"fine-tuned on bars until {age(now - fine_tuned_until)} ago"]
    before = [
        f"<b>{call}, {sure}{' (SIMULATED DATA)' if simulated else ''}</b>",
        *_band(close, threshold),
        "",
        *_probabilities(answer),
        "",
    ]
    after = [
        *_why(verdicts),
        "",
        *record_lines(recent),
        "",
        f"{KINDS[base_kind]}, {age(now - base_trained_until)} old",
        *fine_tuned,
        f"<code>{escaped(model_version)}</code>",
        "",
        *_times(bar_time + BAR_LENGTH, zone),
    ]
    texts = (
        "\n".join([*before, *_what_moved_it(reasons[:count], answer.direction), *after])
        for count in range(len(reasons), 0, -1)
    )
    return next((text for text in texts if length(text) <= CAPTION_LIMIT), "\n".join([*before, *after]))


def outcome_message(
    *,
    symbol: str,
    simulated: bool,
    direction: str,
    close: float,
    close_then: float | None,
    forward_return: float | None,
    outcome: str | None,
    void_reason: str | None,
    recent: SymbolRecord,
    corrected: bool = False,
    entry_return: float | None = None,
    tradable: bool | None = None,
) -> str:
    """The outcome of a call: right or wrong, the price's movement, and the recent signals.

    `close` is the one that counts; `corrected`: it is not the one that the alert stated; `forward_return`:
    the log return to `close_then`. `outcome` None: there can be none, for `void_reason`. `entry_return`: the log return
    from the next traded open; `tradable`: False where there was none in time, None where it is not known.
    """
    called = f"{escaped(symbol)} {direction.upper()}{' (SIMULATED DATA)' if simulated else ''}"
    if outcome is None or close_then is None or forward_return is None:
        why = _wrapped(void_reason or "the bars do not show it")
        return "\n".join([f"<b>○ No outcome: {called}</b>", *why, "It counts neither as right nor as wrong."])
    verdict = "✓ Right" if outcome == direction else "✗ Wrong"
    along = SIGNS[direction] * forward_return * 1e4
    before, after = _prices(close, close_then)
    lines = [
        f"<b>{verdict}: {called}</b>",
        *([] if outcome == direction else [f"It was {outcome.upper()}."]),
        f"{before} → {after} in {HORIZON_MINUTES} minutes",
        f"{along:+z,.1f} bps {'of movement' if direction == 'flat' else 'along the call'}",
        *_from_entry(direction, entry_return, tradable),
        *(["The bar was corrected since the call;", "the corrected price counts."] if corrected else []),
        *record_lines(recent),
    ]
    return "\n".join(lines)


def _from_entry(direction: str, entry_return: float | None, tradable: bool | None) -> list[str]:
    """What a person could have had of it, before the fee."""
    if entry_return is not None:
        return [f"{SIGNS[direction] * entry_return * 1e4:+z,.1f} bps from the next traded open"]
    return ["No minute was traded in time: not tradable."] if tradable is False else []


def age(span: timedelta) -> str:
    """`3 days 4 h`, `5 h` or `25 min`; a negative span, from a wrong clock, counts as none."""
    span = max(span, timedelta(0))
    if span < HOUR:
        return f"{span // timedelta(minutes=1)} min"
    if span < DAY:
        return f"{span // HOUR} h"
    return f"{counted(span // DAY, 'day')} {span % DAY // HOUR} h"


def _band(close: float, threshold: float) -> list[str]:
    """The price, and the prices beyond which it is UP or DOWN."""
    now, below, above = _prices(close, close * math.exp(-threshold), close * math.exp(threshold))
    return [
        f"price {now}, the next {HORIZON_MINUTES} minutes:",
        f"up above {above} (+{threshold * 1e4:.1f} bps)",
        f"down below {below} (-{threshold * 1e4:.1f} bps)",
    ]


def _prices(close: float, *others: float) -> list[str]:
    """`close` with at most eight digits, the others with as many decimals, or as many as needed to differ from it."""
    spread = max(abs(other - close) for other in others)
    if not all(PLAIN_PRICES[0] <= price <= PLAIN_PRICES[1] for price in (close, *others)):
        return [f"{price:.8g}" for price in (close, *others)]
    exponent = Decimal(f"{close:.8g}").normalize().as_tuple().exponent
    decimals = max(0, -int(exponent))
    if spread > 0:
        decimals = max(decimals, min(16, 1 - math.floor(math.log10(spread))))
    return [f"{price:,.{decimals}f}" for price in (close, *others)]


def _probabilities(answer: Answer) -> list[str]:
    """The probability of each class, the largest first."""
    by_probability = sorted(zip(CLASSES, answer.probabilities, strict=True), key=lambda item: -item[1])
    return [f"{name} {100 * probability:.1f} %" for name, probability in by_probability]


def _what_moved_it(reasons: Sequence[Reason], direction: str) -> list[str]:
    """A line or more for each reason; nothing where none is known."""
    if not reasons:
        return []
    lines = (line for reason in reasons for line in _hanging(format_reason(reason, direction)))
    return ["<b>What moved it</b>", *lines, ""]


def _hanging(text: str) -> list[str]:
    """Text as lines of a message, all but the first indented."""
    first, *others = _wrapped(text)
    return [first, *(f"  {line}" for line in others)]


def _why(verdicts: list[Verdict]) -> list[str]:
    lines = (line for verdict in verdicts if verdict.gate in SHOWN_GATES for line in _passed(verdict))
    return ["<b>Why it passed</b>", *lines]


def _passed(verdict: Verdict) -> list[str]:
    line = f"{verdict.gate} {verdict.value:z.2f} {SHOWN_GATES[verdict.gate]} {verdict.bound:.2f}"
    if verdict.asked is None:
        return [line]
    raised = verdict.meaning.partition(" (")[2].removesuffix(")")
    return [line, *(f"  {part}" for part in _wrapped(raised))]


def _times(decided: datetime, zone: str) -> list[str]:
    """The begin and end of the call's validity, in the reader's zone and in UTC.

    Where the clock changes between the two, the abbreviation of the zone is added: 02:50 may come before 02:00.
    """
    ends = decided + timedelta(minutes=HORIZON_MINUTES)
    place = zone.rpartition("/")[2].replace("_", " ")
    clocks = {place: ZoneInfo(zone)} | {"UTC": ZoneInfo("UTC")}
    written = {name: (decided.astimezone(clock), ends.astimezone(clock)) for name, clock in clocks.items()}
    by = {name: " %Z" * (first.utcoffset() != last.utcoffset()) for name, (first, last) in written.items()}
    until = ", ".join(f"{last:%H:%M}{last.strftime(by[name])} {name}" for name, (_, last) in written.items())
    return [
        *(f"{first:%Y-%m-%d %H:%M}{first.strftime(by[name])} {name}" for name, (first, _) in written.items()),
        f"<b>valid until {until}</b>",
    ]


def _wrapped(text: str) -> list[str]:
    """Text from elsewhere as lines of a message."""
    lines = textwrap.wrap(text, LINE_LENGTH - 2, break_long_words=False, break_on_hyphens=False)
    return [escaped(line) for line in lines]
