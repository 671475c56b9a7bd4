"""The results of runs on a terminal: tables and text."""

from rich.markup import escape
from rich.table import Table

from hybrid_ml.console.session_tables import show_closed
from hybrid_ml.console.terminal import CROSS, TICK, err, out
from hybrid_ml.diagnostics.finding import Finding
from hybrid_ml.market.labels import CLASSES
from hybrid_ml.reporting.wording import format_absent_leaders, format_fine_tuning, format_recent_accuracy, symbol_title
from hybrid_ml.schemas.reports import (
    AddedReport,
    Analysis,
    AnalysisReport,
    BackfillReport,
    Failure,
    History,
    HistoryReport,
    ScalingReport,
    Training,
    TrainingReport,
)
from hybrid_ml.signals.reasons import format_reason
from hybrid_ml.text.counts import counted


def show_training(report: TrainingReport, *, full: bool) -> None:
    """Each training, its metrics compared with guessing, and the path of the model."""
    for training in report.trainings:
        _show_training(training)
        if full:
            _show_validation(training)
    show_late(report.late)
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
    verdict = "is in use from now on" if training.promoted else "does not replace the champion"
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
    """Each answer, each gate's verdict, and the state of its alert."""
    out.print(f"\nAs of {report.as_of:%Y-%m-%d %H:%M} UTC")
    if report.asleep:
        out.print(f"Asleep: quiet hours {report.quiet_hours}, no answers (--disable_sleep_window ignores them)")
    for analysis in report.analyses:
        _show_analysis(analysis)
    show_closed(report.closed)
    show_late(report.late)
    show_failures(report.failures)


def show_late(late: dict[str, str]) -> None:
    """Why the newest bars are missing, by symbol."""
    for symbol, problem in late.items():
        out.print(f"late bars {symbol}: {problem}", markup=False)


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
    if analysis.absent_leaders:
        out.print(f"  {format_absent_leaders(analysis.absent_leaders)}", markup=False)
    table = Table("", "gate", "value", "bound", "meaning", box=None, padding=(0, 2))
    for gate in analysis.gates:
        value, bound = ("" if number is None else f"{number:z.3f}" for number in (gate.value, gate.bound))
        table.add_row(TICK if gate.passed else CROSS, gate.gate, value, bound, gate.meaning)
    out.print(table)
    _show_reasons(analysis)
    if analysis.signal:
        out.print(f"  [bold]signal[/bold]; alert: {analysis.alert or 'sent before'}")
    else:
        out.print(f"  no signal: refused by {', '.join(analysis.refused_by)}")


def _show_reasons(analysis: Analysis) -> None:
    if not analysis.reasons:
        out.print(f"  what moved it is not known: {analysis.reasons_problem}", markup=False)
    for place, reason in enumerate(analysis.reasons):
        name = "" if place else "what moved it"
        words = format_reason(reason, analysis.direction)
        out.print(f"  {name:<13}  {reason.towards_nats:+z.2f} nats  {words}", markup=False)


def show_backfill(report: BackfillReport) -> None:
    """The rows that are new, changed, unchanged, and rejected; a doubt about them is in the log of the run."""
    out.print(
        f"\n[bold]{symbol_title(report.symbol)}[/bold]  {counted(report.rows_read, 'row')} read from {report.source}: "
        f"{report.rows_new:,} new, {report.rows_changed:,} changed, {report.rows_unchanged:,} there already, "
        f"{report.rows_set_aside:,} rejected, in {report.seconds:.1f} s"
    )
    if report.taken_for:
        out.print(f"  taken for: {report.taken_for}")
    out.print(f"  {report.first:%Y-%m-%d %H:%M} to {report.last:%Y-%m-%d %H:%M} UTC")
    for reason, count in report.reasons.items():
        out.print(f"  {count:,} rejected: {reason}")
    if report.rows_set_aside:
        out.print("  they are kept, with their reasons, in table bars_set_aside")


def show_history(report: HistoryReport) -> None:
    """For each symbol: which minutes are there now, and what the exchange said of those that are not."""
    for history in report.histories:
        _show_history(history)
    show_failures(report.failures)


def show_added(report: AddedReport) -> None:
    """For each symbol that was added its history, its training and its first answer."""
    for history in report.histories:
        _show_history(history)
    for training in report.trainings:
        _show_training(training)
    for answer in report.analyses:
        _show_analysis(answer)
    show_closed(report.closed)
    show_failures(report.failures)


def _show_history(history: History) -> None:
    listed = f"; listed {history.listed_at:%Y-%m-%d %H:%M}" if history.listed_at else ""
    listed += f", not traded since {history.delisted_at:%Y-%m-%d %H:%M}" if history.delisted_at else ""
    out.print(
        f"\n[bold]{symbol_title(history.symbol)}[/bold]  {history.first:%Y-%m-%d %H:%M} to "
        f"{history.end:%Y-%m-%d %H:%M} UTC from {history.feed}: {counted(history.bars, 'bar')} "
        f"({history.bars_written:,} new or changed), in {history.seconds:.1f} s{listed}"
    )
    for minutes, meaning in (
        (history.known, "answered before, not asked again"),
        (history.closed_minutes, "outside of the sessions of its calendar, not asked"),
        (history.no_trades, "without trades: no bar"),
        (history.source_gaps, "missing at the exchange: no bar, asked once more a day later"),
        (history.late, "not there yet: asked again next time"),
    ):
        if minutes:
            out.print(f"  {counted(minutes, 'minute')} {meaning}")
    if history.note:
        out.print(f"  {history.note}")
    if history.rows_set_aside:
        out.print(f"  {counted(history.rows_set_aside, 'row')} rejected, kept with reasons in table bars_set_aside")


def show_scaling(report: ScalingReport) -> None:
    """The timeline of progressive scaling, with a mark at the present week."""
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
    """One line of the checks."""
    mark = {"fine": TICK, "warning": "[yellow]![/yellow]", "failed": CROSS}[finding.state]
    out.print(f"{mark} {finding.part:<10} {escape(finding.text)}")


def show_demo_begin(database: str, *, production: bool) -> None:
    """What the demo will do, and on which database."""
    out.print(
        "[bold]hybrid-ml demo[/bold]: the main job once. The bars are SIMULATED; no figure below is about a market."
    )
    out.print(f"  database: {database}")
    if production:
        out.print("  NEON_CONN_STR is set; the demo does not use that database and works in a folder of its own")


def show_demo_end() -> None:
    """The next steps."""
    out.print("\nNext:")
    for command, meaning in (
        ("hybrid-ml backfill --source csv --csv_path FILE --symbol NAME", "load real one-minute bars"),
        ("python train_model.py --progressive --validate", "train on them"),
        ("python analyze.py --source db --preset balanced", "compute answers for the next ten minutes"),
        ("python check_progressive_scaling.py", "show how the training window grows"),
        ("python test_hybrid_ml.py", "check this installation"),
    ):
        out.print(f"  {command:<64}{meaning}")
    out.print("(first: . .venv/bin/activate)")


def show_failures(failures: list[Failure]) -> None:
    """Symbols that failed or were busy, on standard error."""
    for failure in failures:
        state = "[yellow]busy[/yellow]" if failure.busy else "[red]failed[/red]"
        err.print(f"{state} {failure.symbol}: {escape(failure.error)}", soft_wrap=True)
