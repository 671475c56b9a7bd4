"""What a person sees in a terminal: tables, plain words, progress bars."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from hybrid_ml.console.terminal import CROSS, TICK, err, out
from hybrid_ml.diagnostics.checks import Finding
from hybrid_ml.market.labels import CLASSES
from hybrid_ml.reporting.wording import format_fine_tuning, format_recent_accuracy, symbol_title
from hybrid_ml.schemas.reports import (
    Analysis,
    AnalysisReport,
    BackfillReport,
    Failure,
    ScalingReport,
    Training,
    TrainingReport,
)
from hybrid_ml.text.counts import counted


class Rate(ProgressColumn):
    """How many a second, once that can be told."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f}/s" if task.speed else "", style="progress.data.speed")


@contextmanager
def progress(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on a terminal's standard error, nothing elsewhere; yields what moves it forward."""
    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    ]
    with Progress(*columns, console=err, disable=not err.is_terminal) as bar:
        task = bar.add_task(description, total=total)
        yield lambda amount: bar.advance(task, amount)


def show_training(report: TrainingReport, *, full: bool) -> None:
    """Each training, its metrics beside guessing, and where the model lies."""
    for training in report.trainings:
        _show_training(training)
        if full:
            _show_validation(training)
    show_failures(report.failures)


def _show_training(training: Training) -> None:
    metrics = training.metrics
    out.print(
        f"\n[bold]{symbol_title(training.symbol)}[/bold]  trained on {training.rows:,} rows "
        f"(week {training.week}, limit {training.row_limit:,}) until {training.trained_until:%Y-%m-%d %H:%M} UTC "
        f"in {training.seconds:.1f} s"
    )
    if training.rows < training.row_limit:
        out.print(f"  there were only {training.rows:,} rows to train on, fewer than the limit")
    table = Table("on the hold-out", "model", "guessing", "", box=None, padding=(0, 2))
    table.add_row("rows it has not seen", f"{metrics['rows']:,}", "", "")
    table.add_row(
        "accuracy",
        f"{metrics['accuracy']:.3f}",
        f"{metrics['majority_accuracy']:.3f}",
        "always the most frequent class",
    )
    table.add_row(
        "log loss in nats",
        f"{metrics['log_loss']:.4f}",
        f"{metrics['prior_log_loss']:.4f}",
        "class prior",
    )
    table.add_row("calibration error", f"{metrics['calibration_error']:.3f}", "", "")
    out.print(table)
    verdict = "serves from now on" if training.promoted else "does not replace the champion"
    out.print(f"  {training.version} {verdict}: {training.reason}")
    if training.path:
        out.print(f"  model file: {training.path}")


def _show_validation(training: Training) -> None:
    confusion = training.metrics["confusion"]
    table = Table("hold-out, truth in rows", *CLASSES, "recall", box=None, padding=(0, 2))
    for name, row, index in zip(CLASSES, confusion, range(len(CLASSES)), strict=True):
        table.add_row(name, *map(str, row), _share(row[index], sum(row)))
    columns = list(zip(*confusion, strict=True))
    precision = [_share(column[index], sum(column)) for index, column in enumerate(columns)]
    table.add_row("precision", *precision, "")
    out.print(table)


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.3f}" if whole else "-"


def show_analysis(report: AnalysisReport) -> None:
    """Each answer, each gate's verdict, what became of it."""
    out.print(f"\nAs of {report.as_of:%Y-%m-%d %H:%M} UTC")
    if report.asleep:
        out.print(f"Asleep: quiet hours {report.quiet_hours}, nothing was asked (--disable_sleep_window asks anyway)")
    for analysis in report.analyses:
        _show_analysis(analysis)
    show_failures(report.failures)


def _show_analysis(analysis: Analysis) -> None:
    chances = analysis.probabilities
    out.print(
        f"\n[bold]{symbol_title(analysis.symbol)}[/bold]  next ten minutes after {analysis.bar_time:%H:%M}, "
        f"price {analysis.close:,.8g}: [bold]{analysis.direction.upper()}[/bold]  "
        f"(down {chances['down']:.3f}, flat {chances['flat']:.3f}, up {chances['up']:.3f})"
    )
    out.print(f"  model {analysis.model.version}, trained until {analysis.model.trained_until:%Y-%m-%d %H:%M} UTC")
    if analysis.fallback:
        out.print(f"  fallback: {analysis.fallback}")
    out.print(f"  {format_recent_accuracy(analysis)}; {format_fine_tuning(analysis)}")
    table = Table("", "gate", "value", "bound", "meaning", box=None, padding=(0, 2))
    for gate in analysis.gates:
        value, bound = ("" if number is None else f"{number:z.3f}" for number in (gate.value, gate.bound))
        table.add_row(TICK if gate.passed else CROSS, gate.gate, value, bound, gate.meaning)
    out.print(table)
    if analysis.signal:
        out.print(f"  [bold]signal[/bold]; alert: {analysis.alert or 'settled before'}")
    else:
        out.print(f"  no signal: refused by {', '.join(analysis.refused_by)}")


def show_backfill(report: BackfillReport) -> None:
    """What came in, what was there already, what could not be used."""
    out.print(
        f"\n[bold]{symbol_title(report.symbol)}[/bold]  {counted(report.rows_read, 'row')} read from {report.source}: "
        f"{report.rows_written:,} new or changed, {report.rows_unchanged:,} there already, "
        f"{report.rows_set_aside:,} set aside, in {report.seconds:.1f} s"
    )
    out.print(f"  {report.first:%Y-%m-%d %H:%M} to {report.last:%Y-%m-%d %H:%M} UTC")
    for reason, count in report.reasons.items():
        out.print(f"  {count:,} set aside: {reason}")
    if report.rows_set_aside:
        out.print("  they are kept, with their reasons, in table bars_set_aside")


def show_scaling(report: ScalingReport) -> None:
    """The timeline of progressive scaling, the present week marked."""
    out.print(f"\n[bold]{symbol_title(report.symbol)}[/bold]  {counted(report.bars, 'bar')} in the database")
    if report.first_base_at is None:
        out.print("  no base model yet: the first one begins week 0")
    table = Table("", "week", "from (UTC)", "row limit", "trained", box=None, padding=(0, 2))
    for step in report.steps:
        here = "▶" if step.week == min(report.week, report.steps[-1].week) else ""
        begins = f"{step.begins:%Y-%m-%d %H:%M}" if step.begins else ""
        last = step.week == report.steps[-1].week
        table.add_row(here, f"{step.week}{'+' if last else ''}", begins, f"{step.row_limit:,}", "\n".join(step.trained))
    out.print(table)
    out.print(f"  week {report.week}: the next training takes the most recent {report.row_limit:,} rows")


def show_finding(finding: Finding) -> None:
    """One line of the check-up."""
    mark = {"fine": TICK, "look": "[yellow]![/yellow]", "failed": CROSS}[finding.state]
    out.print(f"{mark} {finding.part:<10} {escape(finding.text)}")


def show_demo_begin(database: str, *, production: bool) -> None:
    """What is about to happen, and to what."""
    out.print(
        "[bold]hybrid-ml demo[/bold]: the main job once. The bars are SIMULATED; no figure below is about a market."
    )
    out.print(f"  database: {database}")
    if production:
        out.print("  NEON_CONN_STR is set; the demo leaves that database alone and works in a folder of its own")


def show_demo_end() -> None:
    """What to do with it."""
    out.print("\nNext:")
    for command, meaning in (
        ("hybrid-ml backfill --source csv --csv_path FILE --symbol NAME", "load real one-minute bars"),
        ("python train_model.py --progressive --validate", "train on them"),
        ("python analyze.py --source db --preset balanced", "ask about the next ten minutes"),
        ("python check_progressive_scaling.py", "see how the training window grows"),
        ("python test_hybrid_ml.py", "check this installation"),
    ):
        out.print(f"  {command:<64}{meaning}")
    out.print("(first: . .venv/bin/activate)")


def show_failures(failures: list[Failure]) -> None:
    """Symbols that could not be finished, on standard error."""
    for failure in failures:
        state = "[yellow]busy[/yellow]" if failure.busy else "[red]failed[/red]"
        err.print(f"{state} {failure.symbol}: {escape(failure.error)}", soft_wrap=True)
