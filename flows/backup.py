"""Backup: everything of the project's database into a file, every night where a folder for it is configured."""

from datetime import UTC, datetime

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed

from flows.scheduling import skip_if_late
from hybrid_ml.config.settings import load_settings
from hybrid_ml.pipeline.schedule import BACKUP_MINUTES
from hybrid_ml.store.backup import BackupReport
from tasks.backup import write_backup


def _run_name() -> str:
    return f"backup {flow_run.scheduled_start_time or datetime.now(UTC):%Y-%m-%d %H:%M}"


@flow(name="backup", flow_run_name=_run_name)
def backup() -> State | BackupReport:
    """Write a backup into HYBRID_ML_BACKUP_DIR, and keep the newest HYBRID_ML_BACKUPS_KEPT."""
    if late := skip_if_late(BACKUP_MINUTES, None):
        return late
    settings = load_settings()
    if settings.backup_dir is None:
        return Completed(name="Skipped", message="no backups: HYBRID_ML_BACKUP_DIR is not set")
    return write_backup(settings.backup_dir, settings.hybrid_ml_backups_kept, datetime.now(UTC))
