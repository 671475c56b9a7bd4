"""The commands `hybrid-ml backup` and `hybrid-ml restore`. They use only the database and need no Prefect."""

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from deployments.service.instance_lock import running
from hybrid_ml.cli.settings import DATABASE, settings_for
from hybrid_ml.console.progress import progress
from hybrid_ml.console.terminal import err, out
from hybrid_ml.errors import BadInput
from hybrid_ml.store.backup import BackupReport, make_backup, read_manifest, restore_backup, rows_to_copy
from hybrid_ml.store.engine import open_engine
from hybrid_ml.text.counts import counted

STEPS_OF_BACKUP, STEPS_OF_RESTORE = 3, 4
"""How many times each row is processed."""


def backup(path: Path, *, json_output: bool) -> None:
    """`hybrid-ml backup`."""
    settings = settings_for(DATABASE)
    engine = open_engine(settings)
    with progress("rows written, restored, compared", STEPS_OF_BACKUP * rows_to_copy(engine)) as advance:
        report = make_backup(engine, settings.data_dir, path, datetime.now(UTC), advance)
    _show(report, json_output, lambda: _show_backup(report))


def restore(path: Path, *, replace: bool, json_output: bool) -> None:
    """`hybrid-ml restore`."""
    running_up = running()
    if running_up:
        raise BadInput(f"`hybrid-ml up` is running (process {running_up['pid']}); stop it with Ctrl-C, then restore")
    settings = settings_for(DATABASE)
    rows = sum(table.rows for table in read_manifest(path).tables.values())
    engine = open_engine(settings)
    with progress("rows tried, compared, restored, compared", STEPS_OF_RESTORE * rows) as advance:
        report = restore_backup(engine, settings.data_dir, path, advance, replace=replace)
    _show(report, json_output, lambda: _show_restore(report))


def _show(report: BackupReport, json_output: bool, show: Callable[[], None]) -> None:
    if json_output:
        sys.stdout.write(report.model_dump_json(indent=2) + "\n")
    else:
        show()
    if report.damaged_models:
        err.print(f"damaged bytes of models in the database that was backed up: {report.damaged_models}")


def _show_backup(report: BackupReport) -> None:
    out.print(
        f"{report.path}  {report.bytes:,} bytes, {counted(sum(report.rows.values()), 'row')} of {report.database} in "
        f"{report.seconds:.1f} s; restored into a scratch database, every row is the same"
    )
    _show_rows(report)


def _show_restore(report: BackupReport) -> None:
    out.print(
        f"{report.database} now holds {counted(sum(report.rows.values()), 'row')} of {report.path}, as of "
        f"{report.created_at:%Y-%m-%d %H:%M} UTC, in {report.seconds:.1f} s; every row is the same"
    )
    _show_rows(report)


def _show_rows(report: BackupReport) -> None:
    out.print("  " + ", ".join(f"{table} {rows:,}" for table, rows in report.rows.items()))
