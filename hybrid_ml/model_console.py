"""What a person sees of the registry; light, so that `hybrid-ml models list` answers at once."""

import json
import shlex
from datetime import datetime

from rich.markup import escape
from rich.table import Table

from hybrid_ml.model_reports import Export, Import, ModelDetails, ModelLine, ModelListing, Rollback
from hybrid_ml.terminal import CROSS, TICK, out

EVENTS_SHOWN = 20
BESIDE_THE_VERSION = 70
"""Characters that the other columns of a listing need at least."""
LONG_VALUES = {"feature_names", "parameters", "metrics", "library_versions"}


def show_listing(listing: ModelListing) -> None:
    """A table a symbol, newest first, the version that serves now marked."""
    if not listing.models:
        out.print("no models in the registry yet; train one with `hybrid-ml train`")
    for symbol, serving in listing.serving.items():
        says = f"{escape(serving)} serves now" if serving else "nothing serves now"
        out.print(f"\n[bold]{escape(symbol)}[/bold]  {says}")
        lines = [line for line in listing.models if line.symbol == symbol]
        table = Table(box=None, padding=(0, 1))
        table.add_column("")
        table.add_column("version, and why", overflow="fold")
        for title in ("kind", "age", "rows", "accuracy\n/majority", "log loss\n/prior", "status"):
            table.add_column(title, no_wrap=True)
        for line in lines:
            table.add_row("▶" if line.serves else "", *_cells(line, listing.now))
        # Versions are there to be copied: a long one makes its line longer, and is never cut.
        out.print(table, width=max(out.width, BESIDE_THE_VERSION + max(len(line.version) for line in lines)))


def _cells(line: ModelLine, now: datetime) -> list[str]:
    return [
        escape(f"{line.version}\n{line.reason}" if line.reason else line.version),
        line.kind,
        age(line.as_of, now),
        f"{line.rows:,}",
        _beside(line.accuracy, line.majority_accuracy, 3),
        _beside(line.log_loss, line.prior_log_loss, 4),
        line.status if line.bytes_kept else f"{line.status}\nbytes pruned",
    ]


def _beside(value: float | None, guessing: float | None, digits: int) -> str:
    if value is None:
        return ""
    return f"{value:.{digits}f}" + ("" if guessing is None else f"/{guessing:.{digits}f}")


def age(moment: datetime, now: datetime) -> str:
    """Time since `moment` in its greatest unit; of a model: since the moment it was made for."""
    minutes = max(int((now - moment).total_seconds() // 60), 0)
    days, hours = minutes // 1440, minutes // 60
    return f"{days} d" if days else f"{hours} h" if hours else f"{minutes} min"


def show_details(details: ModelDetails) -> None:
    """Everything about one version, a line a value."""
    out.print(f"[bold]{escape(details.version)}[/bold]{'  serves now' if details.serves else ''}")
    for name, value in details.record.items():
        if name != "version" and value is not None and name not in LONG_VALUES:
            said = f"{value:%Y-%m-%d %H:%M:%S} UTC" if isinstance(value, datetime) else value
            out.print(f"  {name:<18}{escape(str(said))}")
    for name in sorted(LONG_VALUES & set(details.record)):
        value = details.record[name]
        for key, item in value.items() if isinstance(value, dict) else []:
            out.print(f"  {name:<18}{escape(f'{key}: {json.dumps(item)}')}")
    out.print(f"  {'bytes':<18}{_bytes(details)}")
    out.print(f"  {'predictions':<18}{details.predictions:,} refer to it")
    out.print(f"  {'adapters':<18}{details.adapters:,} in the registry")
    for event in details.events[:EVENTS_SHOWN]:
        previous = f" (before: {event.previous})" if event.previous else ""
        out.print(f"  {event.at:%Y-%m-%d %H:%M:%S} UTC  {event.event}{escape(f'{previous}: {event.reason}')}")
    if len(details.events) > EVENTS_SHOWN:
        out.print(f"  … and {len(details.events) - EVENTS_SHOWN} earlier events (--json has all)")


def _bytes(details: ModelDetails) -> str:
    if not details.bytes_kept:
        return "pruned"
    return (
        f"{CROSS} {escape(details.bytes_problem)}" if details.bytes_problem else f"{TICK} length and sha256 are right"
    )


def show_rollback(done: Rollback) -> None:
    """Who serves from now on, and who did."""
    before = f" in place of {done.previous}" if done.previous else ""
    out.print(escape(f"{done.version} is the champion of {done.symbol}{before}; it takes effect at the next analysis"))
    if done.serving != done.version:
        out.print(escape(f"  its newest adapter answers until then: {done.serving}"))
    out.print(f"  model file: {escape(str(done.path))}")


def show_export(done: Export) -> None:
    """Where the model is now."""
    out.print(escape(f"{done.version} is in {done.path}: {done.length:,} bytes, sha256 {done.sha256}"))
    out.print("  bring it in elsewhere with `hybrid-ml models import --path FILE`")


def show_import(done: Import) -> None:
    """What is new, and how to make it serve."""
    if done.changed:
        out.print(escape(f"{done.version} is in the registry"))
    else:
        out.print(escape(f"{done.version} was in the registry already; nothing changed"))
    if done.serving == done.version:
        out.print(escape(f"  it serves {done.symbol}"))
    elif done.champion:
        out.print(escape(f"  its base is the champion; a newer trial decides what serves: {done.serving}"))
    else:
        serving = f"{done.serving} serves {done.symbol}; " if done.serving else ""
        command = f"hybrid-ml models rollback --to {shlex.quote(done.base)}"
        out.print(escape(f"  {serving}`{command}` makes this one serve"))
