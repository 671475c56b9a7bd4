"""How many processes a replay uses where nobody states it."""

from datetime import timedelta
from pathlib import Path

import psutil

from hybrid_ml.learning.scaling import WEEK
from hybrid_ml.replay.lookahead import BATCH_CYCLES
from hybrid_ml.text.counts import counted

MEBIBYTE = 2**20
WORKER_BYTES = 512 * MEBIBYTE
"""What one process may take: a training of 80,000 rows peaked at 330 MiB, and leaders add columns to them."""
CGROUP = Path("/sys/fs/cgroup")


def choose_workers(cores: int, weeks: int, cycle_minutes: int, free_bytes: int | None) -> tuple[int, str]:
    """The number of processes, at least one, and what bounds it, in words.

    A week's cycles are divided into batches, and the weekly trainings are independent of each other, so there is no
    more to do at a time than the larger number of the two. `free_bytes`: None where it is not known.
    """
    cycles = WEEK // timedelta(minutes=cycle_minutes)
    pieces = max(weeks, -(-cycles // BATCH_CYCLES))
    bounds = [(cores, counted(cores, "core")), (pieces, f"{counted(pieces, 'piece')} of work at a time")]
    if free_bytes is not None:
        bounds.append((free_bytes // WORKER_BYTES, f"{free_bytes / 2**30:.1f} GiB of free memory"))
    number, reason = min(bounds)
    return max(1, number), reason


def free_memory() -> int | None:
    """Bytes that this process and its children may still take, also by its control group; None where not known."""
    try:
        free = int(psutil.virtual_memory().available)
    except (OSError, RuntimeError):
        return None
    try:
        limit, used = ((CGROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
        return free if limit == "max" else min(free, int(limit) - int(used))
    except (OSError, ValueError):
        return free
