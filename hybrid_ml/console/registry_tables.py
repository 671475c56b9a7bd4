"""The registry on a terminal; few imports, so that `hybrid-ml models list` is fast."""

import json
import shlex
from datetime import datetime

from rich.cells import cell_len
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from hybrid_ml.console.terminal import CROSS, TICK, out
from hybrid_ml.schemas.registry_reports import Export, Import, ModelDetails, ModelLine, ModelListing, Rollback
from hybrid_ml.text.counts import counted

EVENTS_SHOWN = 20
IMPORTANCE = "importance"
FEATURES_SHOWN = 15
PADDING = 1
VERSION = "version, and why"
LEFT_OUT_FIRST = ("kind", "log loss\n/prior", "rows", "accuracy\n/majority", "age", "status")
"""The order in which columns are left out; the kind is also part of the version."""
LONG_VALUES = {"feature_names", "parameters", "metrics", "library_versions"}


def show_listing(listing: ModelListing) -> None:
    """A table for each symbol, newest first, with a mark at the version in use."""
    if not listing.models:
        out.print("no models in the registry yet; train one with `hybrid-ml train`")
    for symbol, serving in listing.serving.items():
        says = f"{escape(serving)} is in use" if serving else "no model is in use"
        gap = "  " if len(f"{symbol}  {serving} is in use") <= out.width else "\n"
        out.print(f"\n[bold]{escape(symbol)}[/bold]{gap}{says}")
        _show_lines([line for line in listing.models if line.symbol == symbol], listing.now)


def _show_lines(lines: list[ModelLine], now: datetime) -> None:
    """As many columns as fit on the terminal. Versions are never broken or cut, so that they can be copied."""
    rows = [_cells(line, now) for line in lines]
    columns, left_out = list(rows[0]), list[str]()
    while out.is_terminal and _width(columns, rows) > out.width and len(left_out) < len(LEFT_OUT_FIRST):
        left_out.append(LEFT_OUT_FIRST[len(left_out)])
        columns.remove(left_out[-1])
    table = Table(box=None, padding=(0, PADDING))
    for name in columns:
        table.add_column(name, no_wrap=name != VERSION)
    for row in rows:
        table.add_row(*(Text(row[name]) for name in columns))
    if (width := _width(columns, rows)) > out.width:
        table.width = width
    out.print(table)
    if left_out:
        names = ", ".join(name.replace("\n", "") for name in left_out)
        out.print(f"left out in a narrow terminal: {names} (--json has all)", soft_wrap=False)


def _width(columns: list[str], rows: list[dict[str, str]]) -> int:
    """The width in characters of a table of `columns` in which only the reason of a version is wrapped."""
    width = 0
    for name in columns:
        cells = [row[name].partition("\n")[0] if name == VERSION else row[name] for row in rows]
        width += max(cell_len(line) for cell in [name, *cells] for line in cell.split("\n")) + 2 * PADDING
    return width


def _cells(line: ModelLine, now: datetime) -> dict[str, str]:
    return {
        "": "▶" if line.serves else "",
        VERSION: f"{line.version}\n{line.reason}" if line.reason else line.version,
        "kind": line.kind,
        "age": age(line.as_of, now),
        "rows": f"{line.rows:,}",
        "accuracy\n/majority": _beside(line.accuracy, line.majority_accuracy, 3),
        "log loss\n/prior": _beside(line.log_loss, line.prior_log_loss, 4),
        "status": line.status if line.bytes_kept else f"{line.status}\nbytes pruned",
    }


def _beside(value: float | None, guessing: float | None, digits: int) -> str:
    if value is None:
        return ""
    return f"{value:.{digits}f}" + ("" if guessing is None else f"/{guessing:.{digits}f}")


def age(moment: datetime, now: datetime) -> str:
    """Time since `moment` in its largest unit; for a model since its `as_of`."""
    minutes = max(int((now - moment).total_seconds() // 60), 0)
    days, hours = minutes // 1440, minutes // 60
    return f"{days} d" if days else f"{hours} h" if hours else f"{minutes} min"


def show_details(details: ModelDetails) -> None:
    """Everything about one version, one value on each line."""
    out.print(f"[bold]{escape(details.version)}[/bold]{'  in use' if details.serves else ''}")
    for name, value in details.record.items():
        if name != "version" and value is not None and name not in LONG_VALUES:
            text = f"{value:%Y-%m-%d %H:%M:%S} UTC" if isinstance(value, datetime) else value
            out.print(f"  {name:<18}{escape(str(text))}")
    importance: dict[str, float] = {}
    for name in sorted(LONG_VALUES & set(details.record)):
        value = details.record[name]
        for key, item in value.items() if isinstance(value, dict) else []:
            if key == IMPORTANCE and _are_shares(item):
                importance = item
            else:
                out.print(f"  {name:<18}{escape(f'{key}: {json.dumps(item)}')}")
    _show_importance(importance)
    out.print(f"  {'bytes':<18}{_bytes(details)}")
    out.print(f"  {'predictions':<18}{details.predictions:,} made with it")
    out.print(f"  {'adapters':<18}{details.adapters:,} in the registry")
    for event in details.events[:EVENTS_SHOWN]:
        previous = f" (before: {event.previous})" if event.previous else ""
        out.print(f"  {event.at:%Y-%m-%d %H:%M:%S} UTC  {event.event}{escape(f'{previous}: {event.reason}')}")
    if len(details.events) > EVENTS_SHOWN:
        out.print(f"  … and {counted(len(details.events) - EVENTS_SHOWN, 'earlier event')} (--json has all)")


def _are_shares(item: object) -> bool:
    """Whether the values are shares, as a training writes them; an imported model may contain anything."""
    return isinstance(item, dict) and all(isinstance(share, int | float) for share in item.values())


def _show_importance(shares: dict[str, float]) -> None:
    """The most important features, as shares of the total gain."""
    if not shares:
        return
    ordered = sorted(shares.items(), key=lambda share: -share[1])
    table = Table("", "feature", "share of the gain", box=None, padding=(0, 1))
    for place, (name, share) in enumerate(ordered[:FEATURES_SHOWN], start=1):
        table.add_row(str(place), escape(name), f"{share:.1%}")
    out.print(table)
    if rest := ordered[FEATURES_SHOWN:]:
        left_out = f"{counted(len(rest), 'feature')} with {sum(share for _, share in rest):.1%} together"
        out.print(f"  … and {left_out} (--json has all)")


def _bytes(details: ModelDetails) -> str:
    if not details.bytes_kept:
        return "pruned"
    return (
        f"{CROSS} {escape(details.bytes_problem)}" if details.bytes_problem else f"{TICK} length and sha256 are right"
    )


def show_rollback(done: Rollback) -> None:
    """The champion after the rollback, and the one before."""
    before = f" in place of {done.previous}" if done.previous else ""
    out.print(escape(f"{done.version} is the champion of {done.symbol}{before}; it takes effect at the next analysis"))
    if done.serving != done.version:
        out.print(escape(f"  its newest adapter is used until then: {done.serving}"))
    out.print(f"  model file: {escape(str(done.path))}")


def show_export(done: Export) -> None:
    """The file of the exported model."""
    out.print(escape(f"{done.version} is in {done.path}: {done.length:,} bytes, sha256 {done.sha256}"))
    out.print("  import it elsewhere with `hybrid-ml models import --path FILE`")


def show_import(done: Import) -> None:
    """What the import changed, and how to use the model."""
    if done.changed:
        out.print(escape(f"{done.version} is in the registry"))
    else:
        out.print(escape(f"{done.version} was in the registry already; nothing changed"))
    if done.serving == done.version:
        out.print(escape(f"  it is in use for {done.symbol}"))
    elif done.champion:
        out.print(escape(f"  its base is the champion; a newer trial decides which version is in use: {done.serving}"))
    else:
        serving = f"{done.serving} is in use for {done.symbol}; " if done.serving else ""
        command = f"hybrid-ml models rollback --to {shlex.quote(done.base)}"
        out.print(escape(f"  {serving}`{command}` switches to this one"))
