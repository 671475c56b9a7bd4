"""Disk usage of the service: databases, folders, logs, in megabytes (1,000,000 bytes)."""

import os
from pathlib import Path

from pydantic import BaseModel
from sqlalchemy import Connection, text

from hybrid_ml.config.settings import Settings
from hybrid_ml.health.disk import MEGABYTE, FreeDisk, free_disks

PREFECT_DATABASE = "prefect"
"""Its name in `hybrid-ml up` and compose.yaml; it is on the same server as the project's own."""


class Sizes(BaseModel):
    """Sizes in megabytes. `prefect_database_mb` is None where that database is on another server."""

    database_mb: float
    prefect_database_mb: float | None
    data_folder_mb: float
    logs_mb: float
    models_folder_mb: float
    disks: list[FreeDisk]

    def __str__(self) -> str:
        """In one line, for a person."""
        prefect = "" if self.prefect_database_mb is None else f", Prefect's {self.prefect_database_mb:,.1f} MB"
        return (
            f"database {self.database_mb:,.1f} MB{prefect}, data folder {self.data_folder_mb:,.1f} MB with both where "
            f"they are embedded ({self.logs_mb:,.1f} MB of logs), models {self.models_folder_mb:,.1f} MB"
        )


def measure_sizes(connection: Connection, settings: Settings) -> Sizes:
    """Sizes now. `connection`: to the project's database."""
    own = connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one()
    prefect = connection.execute(
        text("SELECT pg_database_size(oid) FROM pg_database WHERE datname = :name"), {"name": PREFECT_DATABASE}
    ).scalar_one_or_none()
    data = settings.data_dir
    logs = [path for pattern in ("log", "log/*", "*.log") for path in (data / "postgres").glob(pattern)]
    return Sizes(
        database_mb=own / MEGABYTE,
        prefect_database_mb=None if prefect is None else prefect / MEGABYTE,
        data_folder_mb=folder_bytes(data) / MEGABYTE,
        logs_mb=sum(file_bytes(path) for path in logs) / MEGABYTE,
        models_folder_mb=folder_bytes(settings.models_dir) / MEGABYTE,
        disks=free_disks(settings),
    )


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below `folder`; 0 where there is none. Files that cannot be read are left out."""
    return sum(file_bytes(Path(parent) / name) for parent, _, names in os.walk(folder) for name in names)


def file_bytes(path: Path) -> int:
    """Bytes that the file takes on its disk; 0 where it is no file or has been deleted."""
    try:
        return path.lstat().st_blocks * 512 if path.is_file() and not path.is_symlink() else 0
    except OSError:
        return 0
