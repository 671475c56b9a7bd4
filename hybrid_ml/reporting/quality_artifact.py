"""The page about the bars of a symbol."""

from hybrid_ml.market.quality import DataQuality
from hybrid_ml.reporting.markdown import plain, section, table
from hybrid_ml.reporting.wording import symbol_title
from hybrid_ml.text.counts import counted


def quality_page(symbol: str, quality: DataQuality, set_aside: dict[str, int]) -> str:
    """Counts, freshness and warnings. `set_aside`: how many rows of files could not be used, by reason."""
    warnings = [f"- {plain(warning)}" for warning in quality.warnings]
    missing = round(quality.carried_share * quality.bars)
    rows = [
        ["minutes looked at", f"{quality.bars:,}", ""],
        ["first", f"{quality.first:%Y-%m-%d %H:%M} UTC", ""],
        ["last", f"{quality.last:%Y-%m-%d %H:%M} UTC", f"{_age(quality.age_minutes)} before this look"],
        ["without a bar", f"{missing:,}", f"{quality.carried_share:.1%}; they carry the last close"],
        ["without volume", f"{quality.no_volume_share:.1%}", "those without a bar among them"],
        ["close unchanged", f"{quality.unchanged_share:.1%}", "from one minute to the next"],
        ["sessions", f"{quality.sessions:,}", "stretches between longer gaps"],
    ]
    parts = [
        f"# Bars of {plain(symbol_title(symbol))}",
        section("Warnings", "\n".join(warnings)) if warnings else "No warnings.",
        table(["measure", "value", ""], rows),
        section("Rows of files set aside", _set_aside(set_aside)),
    ]
    return "\n\n".join(parts)


def _age(minutes: float) -> str:
    return counted(round(minutes), "minute") if minutes < 120 else f"{minutes / 60:,.1f} hours"


def _set_aside(reasons: dict[str, int]) -> str:
    if not reasons:
        return "None."
    rows = [[f"{count:,}", plain(reason)] for reason, count in reasons.items()]
    kept = "They are kept as they were, in the table `bars_set_aside`."
    return "\n\n".join([table(["rows", "because"], rows), kept])
