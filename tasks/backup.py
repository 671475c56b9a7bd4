"""Backup: written, restored into a scratch database, compared; older ones removed."""

from datetime import datetime
from pathlib import Path

from hybrid_ml.config.settings import load_settings
from hybrid_ml.store.backup import BackupReport, make_nightly_backup
from hybrid_ml.text.counts import counted
from tasks.pipeline_task import database, log, pipeline_task


@pipeline_task("write backup", timeout_seconds=6 * 3_600, uses_io=True)
def write_backup(folder: Path, keep: int, now: datetime) -> BackupReport:
    """Write a backup into `folder` and keep the newest `keep` there."""
    report = make_nightly_backup(database(), load_settings().data_dir, folder, keep, now)
    rows = counted(sum(report.rows.values()), "row")
    log().info("%s: %s, %s, restored into a scratch database", report.path, counted(report.bytes, "byte"), rows)
    if report.damaged_models:
        log().warning("bytes that do not match their checksum: %s", ", ".join(report.damaged_models))
    return report
