"""The page about the bars of all symbols: how complete they are, day by day."""

from math import floor

from hybrid_ml.reporting.markdown import inline, plain, section, table
from hybrid_ml.schemas.data_report import DataReport, SymbolData

WORST_DAYS = 3
HEAD = ("symbol", "bars from", "with a bar", "no trades", "missing at the source", "not asked", "revisions",
        "rejected rows", "days that lack most")  # fmt: skip
MEANING = (
    "Shares are of the minutes in which there may be a bar; of bars from files that is what their fullest day has. "
    "Minutes without trades need no bar."
)


def data_rows(report: DataReport) -> list[list[str]]:
    """A row of HEAD for each symbol, as plain text."""
    return [_row(data) for data in report.symbols]


def _row(data: SymbolData) -> list[str]:
    expected = data.total("expected")
    stated = [format_share(data.total(name), expected) for name in ("no_trades", "source_gap", "not_asked")]
    worst = ", ".join(f"{day.day:%Y-%m-%d} {percent(day.share or 0.0)}" for day in data.worst_days(WORST_DAYS))
    return [
        data.symbol,
        data.feed or "files",
        format_share(data.total("bars"), expected),
        *(stated if data.feed else ["–"] * len(stated)),
        f"{data.revisions:,}",
        f"{data.rejected_rows:,}",
        worst,
    ]


def format_share(minutes: int, expected: int) -> str:
    """A part of the expected minutes in percent; a dash where none is expected."""
    return percent(min(minutes / expected, 1.0)) if expected else "–"


def percent(share: float) -> str:
    """With one digit, rounded down, so that only a complete part is 100 %; and above 0 where it is not nothing."""
    if 0 < share < 0.001:
        return "< 0.1 %"
    return "100 %" if share == 1 else f"{floor(1_000 * share) / 10:.1f} %"


def incomplete(report: DataReport) -> list[str]:
    """The symbols that lack bars."""
    return [data.symbol for data in report.symbols if data.share is not None and data.share < 1]


def data_page(report: DataReport, picture: bytes | None) -> str:
    """The heat map, and a table with the same figures as `hybrid-ml data`."""
    period = f"{report.since:%Y-%m-%d} to {report.until:%Y-%m-%d %H:%M} UTC"
    rows = [[plain(cell) for cell in row] for row in data_rows(report)]
    parts = ["# Bars", f"{period}. {MEANING}", table(HEAD, rows)]
    if picture is not None:
        parts.insert(2, f"![share of minutes with a bar, by symbol and day]({inline(picture)})")
    if report.ended:
        ended = ", ".join(f"{plain(symbol)} (last bar {bar:%Y-%m-%d})" for symbol, bar in report.ended.items())
        parts.append(section("Ended", ended))
    return "\n\n".join(parts)
