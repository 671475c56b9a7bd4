"""Symbols and their bars on a terminal; few imports, so that `hybrid-ml symbols list` is fast."""

from datetime import UTC, datetime

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from hybrid_ml.console.terminal import TICK, out
from hybrid_ml.pipeline.run import format_ended
from hybrid_ml.reporting.data_artifact import HEAD, MEANING, data_rows
from hybrid_ml.schemas.data_report import DataReport
from hybrid_ml.schemas.symbol_reports import BarsRemoval, Holdings, Removal, RemovalReport, Rename, SymbolListing
from hybrid_ml.text.counts import counted


def show_symbols(listing: SymbolListing) -> None:
    """A row for each symbol."""
    if not listing.symbols:
        out.print("no symbols yet; `hybrid-ml symbols add` loads those of an exchange, `hybrid-ml backfill` a file")
        return
    head = ("symbol", "bars from", "calendar", "first bar", "last bar (UTC)", "bars", "listed", "champion", "")
    table = Table(*head, box=None, padding=(0, 1))
    for line in listing.symbols:
        name = f" {line.feed_symbol}" if line.feed_symbol not in (None, line.symbol) else ""
        listed = "" if line.listed_at is None else _day(line.listed_at)
        if line.delisted_at is not None:
            listed += f" to {_day(line.delisted_at)}"
        table.add_row(
            Text(line.symbol),
            Text(f"{line.feed or 'files'}{name}"),
            Text(line.calendar or ""),
            "none" if line.first is None else _day(line.first),
            "" if line.last is None else _minute(line.last),
            "–" if line.bars is None else f"{line.bars:,}",
            listed,
            TICK if line.champion else "",
            "ended" if line.ended else "",
        )
    out.print(table)
    if any(line.bars is None for line in listing.symbols):
        out.print("–: only bars of a feed are counted; to count others would read them all")


def show_removals(report: RemovalReport) -> None:
    """What goes and what stays, for each symbol."""
    for removal in report.removals:
        _show_removal(removal)
    if not report.done:
        out.print("nothing was removed; --yes does it")


def _show_removal(removal: Removal) -> None:
    held, verb = removal.holdings, "removed" if removal.done else "would go"
    out.print(f"\n[bold]{escape(removal.symbol)}[/bold]  {verb}: {_bars(held)}")
    out.print(f"  {_beside(held)}, {counted(len(removal.files), 'model file')} in the models folder")
    out.print(f"  these stay: {_answers(held)}")
    _show_named_in(removal.named_in, removal.symbol, "remove it there, or runs go on asking for it")


def show_rename(rename: Rename) -> None:
    """What gets the new name."""
    held, verb = rename.holdings, "is now" if rename.done else "would become"
    out.print(f"[bold]{escape(rename.symbol)}[/bold] {verb} [bold]{escape(rename.to)}[/bold]: {_bars(held)}")
    feed = f"; {held.feed} goes on under the new name" if held.feed else ""
    out.print(f"  {_beside(held)}{feed}")
    new_names = "; models state their symbol, so their versions get new names" if held.models else ""
    out.print(f"  {_answers(held)}{new_names}")
    if rename.champion:
        out.print(escape(f"  champion: {rename.champion}"))
    if rename.path:
        out.print(escape(f"  model file: {rename.path}"))
    _show_named_in(rename.named_in, rename.symbol, f"write {rename.to} there")
    if not rename.done:
        out.print("nothing was renamed; --yes does it")


def show_bars_removal(removal: BarsRemoval) -> None:
    """The bars that go, and whether they come back."""
    verb = "removed" if removal.done else "would go"
    out.print(
        f"[bold]{escape(removal.symbol)}[/bold]  {verb}: {counted(removal.bars, 'bar')}, "
        f"{_minute(removal.first)} to {_minute(removal.last)} UTC, {counted(removal.revisions, 'revision')}"
    )
    if removal.predictions:
        out.print(f"  {counted(removal.predictions, 'prediction')} after them: these stay, with their outcomes")
    if removal.asked_again:
        out.print(f"  the next repair asks {removal.feed} for them again; --for_good prevents that")
    elif removal.for_good and removal.feed:
        out.print(f"  {removal.feed} is not asked for them again")
    elif removal.feed:
        out.print(f"  {removal.feed} is not asked for them again, since repairs ask for nothing before the oldest bar")
    if not removal.done:
        out.print("nothing was removed; --yes does it")


def show_data(report: DataReport) -> None:
    """A row for each symbol, and the path of the picture."""
    if not report.symbols:
        out.print("no symbols yet; `hybrid-ml symbols add` loads those of an exchange, `hybrid-ml backfill` a file")
        return
    out.print(f"bars from {report.since:%Y-%m-%d} to {report.until:%Y-%m-%d %H:%M} UTC")
    table = Table(*HEAD, box=None, padding=(0, 1))
    for row in data_rows(report):
        table.add_row(*map(Text, row[:-1]), Text(row[-1].replace(", ", "\n")))
    out.print(table)
    out.print(MEANING)
    if report.ended:
        out.print(escape(f"ended, left out: {format_ended(report.ended)}"))
    if report.picture:
        out.print(escape(f"picture: {report.picture}"))


def _bars(held: Holdings) -> str:
    if held.first is None or held.last is None:
        return "no bars"
    return f"{counted(held.bars, 'bar')}, {_minute(held.first)} to {_minute(held.last)} UTC"


def _beside(held: Holdings) -> str:
    covered = f"bar coverage of {counted(held.covered_minutes, 'minute')} from {held.feed}, " if held.feed else ""
    return f"{covered}{counted(held.revisions, 'revision')}, {counted(held.rejected_rows, 'rejected row')}"


def _answers(held: Holdings) -> str:
    models, predictions = counted(held.models, "model"), counted(held.predictions, "prediction")
    return f"{models} in the registry, {predictions}, {counted(held.alerts, 'alert')}"


def _show_named_in(settings: list[str], symbol: str, remedy: str) -> None:
    if settings:
        verb = "names" if len(settings) == 1 else "name"
        out.print(escape(f"  {' and '.join(settings)} {verb} {symbol}: {remedy}"))


def _day(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d}"


def _minute(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}"
