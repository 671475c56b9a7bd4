"""How much is free on the disks that the service writes to."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from hybrid_ml.settings import Settings

MEGABYTE = 1_000_000


@dataclass(frozen=True)
class FreeDisk:
    """One disk: a folder of ours on it, what is free and what is wanted free, in megabytes (1,000,000 bytes)."""

    folder: Path
    free_mb: int
    wanted_mb: int

    @property
    def is_low(self) -> bool:
        """Whether less is free than HYBRID_ML_MIN_FREE_MB asks for."""
        return self.free_mb < self.wanted_mb

    def __str__(self) -> str:
        """`12,345 MB free at /srv/hybrid-ml`, with the bound and the remedy where it is too little."""
        words = f"{self.free_mb:,} MB free at {self.folder}"
        if not self.is_low:
            return words
        return f"{words}, less than {self.wanted_mb:,} MB (HYBRID_ML_MIN_FREE_MB); free some, or move the folder"


def free_disks(settings: Settings) -> list[FreeDisk]:
    """The disks of data folder and models folder, one entry a disk. Raises OSError when a disk does not answer."""
    disks: dict[int, FreeDisk] = {}
    for folder in (settings.data_dir, settings.models_dir):
        present = next(path for path in (folder, *folder.resolve().parents) if path.is_dir())
        free_mb = shutil.disk_usage(present).free // MEGABYTE
        disks.setdefault(present.stat().st_dev, FreeDisk(folder, free_mb, settings.hybrid_ml_min_free_mb))
    return list(disks.values())
