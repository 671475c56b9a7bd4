"""Backup: written, restored for a trial, compared; older ones removed."""

from datetime import datetime
from pathlib import Path

from hybrid_ml.settings import load_settings
from hybrid_ml.store.backup import BackupReport, make_nightly_backup
from tasks.stage import database, log, stage


@stage("write backup", timeout_seconds=6 * 3_600, outside=True)
def write_backup(folder: Path, keep: int, now: datetime) -> BackupReport:
    """The newest `keep` stay in `folder`."""
    report = make_nightly_backup(database(), load_settings().data_dir, folder, keep, now)
    log().info("%s: %s bytes, %s rows, restored for a trial", report.path, report.bytes, sum(report.rows.values()))
    if report.damaged_models:
        log().warning("bytes that are not those of their checksum: %s", ", ".join(report.damaged_models))
    return report
