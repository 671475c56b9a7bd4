"""The open problems in a small file, so that a restarted monitor repeats no report; written where possible."""

import fcntl
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO

from hybrid_ml.health.problems import OpenProblem

FOLDER, FILE, LOCK = "health", "open.json", "lock"
WRITTEN_AGAIN = timedelta(minutes=1)
STALE = timedelta(minutes=5)
"""A monitor writes once a minute: without a write for this long it does not run, or cannot write."""


@dataclass(frozen=True)
class State:
    """The state of a monitor at `as_of`. `last_slot`: the end of the newest slot reported to the heartbeat URL."""

    as_of: datetime
    opened: list[OpenProblem] = field(default_factory=list)
    last_slot: datetime | None = None


def read_state(data_dir: Path) -> State | None:
    """What the monitor of this installation wrote last; None where nothing can be read."""
    try:
        content = json.loads((data_dir / FOLDER / FILE).read_text(encoding="utf-8"))
        opened = [
            OpenProblem(**{**problem, "since": datetime.fromisoformat(problem["since"])})
            for problem in content["opened"]
        ]
        last_slot = datetime.fromisoformat(content["last_slot"]) if content["last_slot"] else None
        return State(datetime.fromisoformat(content["as_of"]), opened, last_slot)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def monitored(data_dir: Path, now: datetime) -> tuple[list[OpenProblem], str]:
    """The open problems that the monitor wrote last, and a line where it has not written lately."""
    state = read_state(data_dir)
    if state is None:
        return [], ""
    if now - state.as_of < STALE:
        return state.opened, ""
    silent = f"the monitor wrote {data_dir / FOLDER / FILE} at {state.as_of:%Y-%m-%d %H:%M} UTC and not since"
    return state.opened, f"{silent}; start it with `hybrid-ml up` or `hybrid-ml monitor`, or free disk space"


def write_state(data_dir: Path, state: State) -> bool:
    """Replace the file in one step; False, with the old one unchanged, where that fails."""
    text = json.dumps(asdict(state), default=datetime.isoformat, ensure_ascii=False)
    folder = data_dir / FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile("w", dir=folder, prefix=".", delete=False, encoding="utf-8") as file:
            beside = Path(file.name)
            try:
                file.write(text)
                file.flush()
                beside.replace(folder / FILE)
            except OSError:
                with suppress(OSError):
                    beside.unlink()
                raise
    except OSError:
        return False
    return True


@contextmanager
def only_one(data_dir: Path) -> Iterator[bool]:
    """Whether this is the only monitor of the installation, for the block; also True where no lock can be taken."""
    lock: IO[str] | None = None
    try:
        (data_dir / FOLDER).mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (data_dir / FOLDER / LOCK).open("a")
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    except OSError:
        yield True
    else:
        yield True
    finally:
        if lock is not None:
            lock.close()
