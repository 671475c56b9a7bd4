"""`hybrid-ml status` on a terminal."""

from datetime import UTC, datetime

from rich.markup import escape
from rich.table import Table

from deployments.status.collect import DeploymentStatus, InstallationStatus, format_next_runs
from hybrid_ml.config.settings import DEFAULT
from hybrid_ml.console.terminal import CROSS, TICK, out
from hybrid_ml.diagnostics.settings_table import SettingRow
from hybrid_ml.diagnostics.sizes import Sizes
from hybrid_ml.health.problems import problem_text
from hybrid_ml.market.bars import age_minutes, future_problem
from hybrid_ml.reporting.wording import format_closed
from hybrid_ml.schemas.bot_status import LastAnswer, SymbolStatus
from hybrid_ml.text.counts import counted


def show_status(status: InstallationStatus) -> None:
    """What runs, when next, how it ended, the models in use, and what is to be done."""
    _line(status.server, "server", status.server or "none")
    _line(status.workers, "worker", ", ".join(status.workers) or "none online")
    _line(status.database, "database", status.database or ("not reached" if status.settings else "not checked"))
    if status.deployments:
        out.print(_deployments(status.deployments))
    if status.symbols:
        out.print(_symbols(status.symbols, status.as_of))
    if status.deliveries:
        out.print("alerts of the last day: " + ", ".join(f"{n} {state}" for state, n in status.deliveries.items()))
    if status.sizes:
        out.print(_sizes(status.sizes))
    if status.settings:
        _show_settings(status.settings)
    for message in status.open_problems:
        out.print(f"{CROSS} {escape(problem_text(message))}")
    for problem in status.problems:
        out.print(f"[yellow]![/yellow] {escape(problem)}")


def _line(fine: object, part: str, message: str) -> None:
    out.print(f"{TICK if fine else CROSS} {part:<9} {escape(message)}")


def _deployments(rows: list[DeploymentStatus]) -> Table:
    table = Table("deployment", "next", "last run (UTC)", "ended as", "took", box=None, padding=(0, 2))
    for row in rows:
        running = f", {row.running} at work" if row.running else ""
        last = row.last
        began = f"{last.began.astimezone(UTC):%m-%d %H:%M}" if last and last.began else "never began" if last else "-"
        lines = [began, last.state, f"{last.seconds:g} s"] if last else [began, "", ""]
        table.add_row(row.name.split("/")[1], format_next_runs(row) + running, *map(escape, lines))
    return table


def _symbols(rows: list[SymbolStatus], now: datetime) -> Table:
    head = ("symbol", "newest bar (UTC)", "serves", "trained until", "recent accuracy", "last answer")
    table = Table(*head, box=None, padding=(0, 2))
    for row in rows:
        table.add_row(
            escape(row.symbol),
            _newest_bar(row, now),
            escape((row.model_version or "no model yet").split("@")[-1]),
            _moment(row.model_trained_until, now),
            _accuracy(row.last),
            _answer(row.last),
        )
    return table


def _sizes(sizes: Sizes) -> Table:
    """Free disk is yellow below HYBRID_ML_MIN_FREE_MB, and red below a quarter of it."""
    table = Table("disk usage", "MB", box=None, padding=(0, 2))
    table.add_row("the project's database", f"{sizes.database_mb:,.1f}")
    if sizes.prefect_database_mb is not None:
        table.add_row("Prefect's database", f"{sizes.prefect_database_mb:,.1f}")
    table.add_row("data folder, embedded databases in it", f"{sizes.data_folder_mb:,.1f}")
    table.add_row("logs in it", f"{sizes.logs_mb:,.1f}")
    table.add_row("models folder", f"{sizes.models_folder_mb:,.1f}")
    for disk in sizes.disks:
        colour = "red" if disk.is_nearly_full else "yellow" if disk.is_low else "green"
        table.add_row(escape(f"free at {disk.folder}"), f"[{colour}]{disk.free_mb:,}[/{colour}]")
    return table


def _show_settings(rows: list[SettingRow]) -> None:
    """Those that somebody set: the others, and there are forty, only hide them."""
    stated = [row for row in rows if row.origin != DEFAULT]
    table = Table("setting", "value", "from", box=None, padding=(0, 2))
    for row in stated:
        table.add_row(row.name, escape(row.shown), escape(row.origin))
    if stated:
        out.print(table)
    out.print(f"{counted(len(rows) - len(stated), 'setting')} at the default; --json shows every one")


def _answer(last: LastAnswer | None) -> str:
    if last is None:
        return "none yet"
    verdict = "signal" if last.signal else f"refused by {len(last.refused_by)}"
    return f"{last.bar_time.astimezone(UTC):%H:%M} {last.direction} {last.confidence:.2f}, {verdict}"


def _accuracy(last: LastAnswer | None) -> str:
    """Of the model behind the last answer, on rows that it had not seen."""
    if last is None or last.recent_accuracy is None:
        return ""
    return f"{last.recent_accuracy:.3f} on {last.recent_rows} rows"


def _newest_bar(row: SymbolStatus, now: datetime) -> str:
    if row.newest_bar is not None and future_problem(row.newest_bar, now):
        return f"[red]{_moment(row.newest_bar, now)}, in the future[/red]"
    closed = f", {format_closed(row.closed_until)}" if row.closed_until else ""
    return f"{_moment(row.newest_bar, now)}{closed}"


def _moment(moment: datetime | None, now: datetime) -> str:
    if moment is None:
        return ""
    minutes = age_minutes(moment.astimezone(UTC), now)
    age = (
        f"{minutes:z.0f} min"
        if minutes < 120
        else f"{minutes / 60:.0f} h"
        if minutes < 2880
        else f"{minutes / 1440:.0f} d"
    )
    return f"{moment.astimezone(UTC):%m-%d %H:%M} ({age})"
