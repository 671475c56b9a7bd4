"""Free space on the disks that the service writes to."""

import shutil
from pathlib import Path

from pydantic import BaseModel, computed_field

from hybrid_ml.config.settings import Settings

MEGABYTE = 1_000_000


class FreeDisk(BaseModel):
    """One disk: a folder of ours on it, its free and its wanted free space, in megabytes (1,000,000 bytes)."""

    folder: Path
    free_mb: int
    wanted_mb: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def is_low(self) -> bool:
        """Whether less than HYBRID_ML_MIN_FREE_MB is free."""
        return self.free_mb < self.wanted_mb

    @computed_field  # type: ignore[prop-decorator]
    @property
    def is_nearly_full(self) -> bool:
        """Whether less than a quarter of that is free: databases stop writing soon."""
        return 4 * self.free_mb < self.wanted_mb

    def __str__(self) -> str:
        """`12,345 MB free at /srv/hybrid-ml`, with the bound and the remedy where it is too little."""
        words = f"{self.free_mb:,} MB free at {self.folder}"
        if not self.is_low:
            return words
        return f"{words}, less than {self.wanted_mb:,} MB (HYBRID_ML_MIN_FREE_MB); free some, or move the folder"


def free_disks(settings: Settings) -> list[FreeDisk]:
    """The disks of data folder and models folder, one entry for each. Raises OSError when a disk does not answer."""
    disks: dict[int, FreeDisk] = {}
    for folder in (settings.data_dir, settings.models_dir):
        present = next(path for path in (folder, *folder.resolve().parents) if path.is_dir())
        free_mb = shutil.disk_usage(present).free // MEGABYTE
        disk = FreeDisk(folder=folder, free_mb=free_mb, wanted_mb=settings.hybrid_ml_min_free_mb)
        disks.setdefault(present.stat().st_dev, disk)
    return list(disks.values())
