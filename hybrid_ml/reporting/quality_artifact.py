"""The page about the bars of a symbol."""

from hybrid_ml.market.quality import DataQuality, Revisions
from hybrid_ml.reporting.markdown import plain, section, table
from hybrid_ml.reporting.wording import symbol_title
from hybrid_ml.text.counts import counted


def quality_page(symbol: str, quality: DataQuality, rejected: dict[str, int], revisions: Revisions) -> str:
    """Counts, freshness and warnings. `rejected`: the number of rejected rows, by reason."""
    warnings = [f"- {plain(warning)}" for warning in quality.warnings]
    missing = round(quality.carried_share * quality.bars)
    rows = [
        ["minutes measured", f"{quality.bars:,}", ""],
        ["first", f"{quality.first:%Y-%m-%d %H:%M} UTC", ""],
        ["last", f"{quality.last:%Y-%m-%d %H:%M} UTC", f"{_age(quality.age_minutes)} before this page"],
        ["without a bar", f"{missing:,}", f"{quality.carried_share:.1%}; they repeat the last close"],
        ["without volume", f"{quality.no_volume_share:.1%}", "including those without a bar"],
        ["close unchanged", f"{quality.unchanged_share:.1%}", "from one minute to the next"],
        ["corrected by their source", f"{revisions.count:,}", _newest(revisions)],
        ["sessions", f"{quality.sessions:,}", "periods between longer gaps"],
    ]
    parts = [
        f"# Bars of {plain(symbol_title(symbol))}",
        section("Warnings", "\n".join(warnings)) if warnings else "No warnings.",
        table(["measure", "value", ""], rows),
        section("Rejected rows", _rejected(rejected)),
    ]
    return "\n\n".join(parts)


def _newest(revisions: Revisions) -> str:
    if revisions.newest is None:
        return ""
    return f"the last time {revisions.newest:%Y-%m-%d %H:%M} UTC; old values in table `bar_revisions`"


def _age(minutes: float) -> str:
    return counted(round(minutes), "minute") if minutes < 120 else f"{minutes / 60:,.1f} hours"


def _rejected(reasons: dict[str, int]) -> str:
    if not reasons:
        return "None."
    rows = [[f"{count:,}", plain(reason)] for reason, count in reasons.items()]
    kept = "They are kept unchanged in the table `bars_set_aside`."
    return "\n\n".join([table(["rows", "because"], rows), kept])
