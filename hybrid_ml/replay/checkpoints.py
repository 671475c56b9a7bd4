"""The folder of a replay: its request, a fingerprint of its bars, and the finished weeks.

A finished week is a Parquet file of answers and the state after it; an interrupted replay continues
after the last one. State is kept as JSON and as model files with their checksums, never as a pickle. Each
state contains the sha256 of its answers and of the state before it, so weeks of two replays cannot be mixed.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
from pyarrow import ArrowException

from hybrid_ml.errors import BadInput, DataUnavailable, HybridMLError
from hybrid_ml.learning.model import HybridModel
from hybrid_ml.learning.model_bytes import pack_file, unpack_file
from hybrid_ml.learning.scaling import WEEK
from hybrid_ml.replay.engine import ReplayedService
from hybrid_ml.replay.history import Past
from hybrid_ml.replay.memory_store import PacedAnswer
from hybrid_ml.store.model_export import read_model_file, write_model_file
from hybrid_ml.store.model_files import write_atomically

MANIFEST = "replay.json"
MOMENTS = ("champion_as_of", "adapted_at", "scratch_newest")
PARTS = ("rivals", "baselines")
"""The kept comparison methods: always the pair of window lengths, the baselines where requested."""
OUTCOMES_REACH = timedelta(hours=1)
"""A week's last outcomes depend on bars after it."""


class ReplayFolder:
    """Keeps the finished weeks of a replay."""

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        """Create the folder or open it; raises BadInput naming what differs when it belongs to another replay."""
        self.folder = folder
        path = folder / MANIFEST
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if path.exists():
                with self._validated(path, "choose another folder"):
                    kept = dict(json.loads(path.read_text()))
                _refuse_another(folder, kept, manifest)
            elif any(folder.glob("week_*")):
                raise BadInput(
                    f"--work_path {folder} contains weeks, but no {MANIFEST} of their replay; choose another folder"
                )
            else:
                write_atomically(path, json.dumps(manifest, indent=2).encode())
        except OSError as error:
            raise BadInput(f"--work_path {folder} cannot be written ({error.strerror}); choose another") from None

    @contextmanager
    def reserved(self) -> Iterator[None]:
        """Keep other replays out of the folder for the block; raises BadInput where one uses it.

        The lock is the operating system's, on the folder itself: it leaves no file and ends with the process.
        """
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise BadInput(
                f"--work_path {self.folder}: another replay uses it; run this one after it has ended, to continue "
                "from there, or choose another folder"
            ) from None
        finally:
            os.close(descriptor)

    def finished(self) -> int:
        """The number of finished weeks, from the first on."""
        week = 0
        while self._state(week).exists():
            week += 1
        return week

    def answers(self, weeks: int) -> pd.DataFrame:
        """The answers of the first `weeks` weeks, one row for each bar, as in the ledger.

        A bar is answered twice where the first answer was no signal and a later one was: the later one counts.
        Raises DataUnavailable when there is no answer at all.
        """
        parts = [self.week_answers(week) for week in range(weeks)]
        whole = pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)
        if whole.empty:
            raise DataUnavailable(
                "no moment of this replay had an answer: each was in the quiet hours or had no fresh bar; choose "
                "another --start or --cycle_minutes, or --disable_sleep_window"
            )
        return whole.drop_duplicates("bar_time", keep="last", ignore_index=True)

    def champions(self, weeks: int) -> list[dict[str, int]]:
        """How often a champion was `replaced`, or `kept` against a challenger, in each of the first `weeks` weeks."""
        counts = [self._read_state(week)["registry"] for week in range(weeks)]
        before = [{"replaced": 0, "kept": 0}, *counts]
        return [
            {name: now[name] - then[name] for name in ("replaced", "kept")}
            for then, now in zip(before, counts, strict=False)
        ]

    def week_answers(self, week: int) -> pd.DataFrame:
        """The answers of one finished week; no column when there are none."""
        with self._validated(self._answers(week), _again_from(week)):
            return pd.read_parquet(self._answers(week))

    def keep(self, week: int, rows: list[dict[str, Any]], service: ReplayedService, bars: str) -> None:
        """Keep a finished week; its state is written last and marks the week as complete.

        `bars`: the fingerprint of its bars.
        """
        # Weeks after an earlier replay of this week do not continue this one.
        for later in range(week, week + self._weeks_from(week)):
            for path in (self._state(later), *(self._rivals(later, part) for part in PARTS)):
                path.unlink(missing_ok=True)
        write_atomically(self._answers(week), pd.DataFrame(rows).to_parquet())
        registry, ledger = service.registry, service.ledger
        model = None
        if registry.champion is not None:
            model = f"week_{week:03}.model"
            (self.folder / model).unlink(missing_ok=True)
            write_model_file(self.folder / model, pack_file(registry.champion))
        state = {
            "bars": bars,
            "answers": _sha256(self._answers(week)),
            "after": self._seal(week - 1),
            "model": model,
            "registry": {
                **{name: _text(getattr(registry, name)) for name in MOMENTS},
                "scratch_rejected": [_text(moment) for moment in registry.scratch_rejected],
                "replaced": registry.replaced,
                "kept": registry.kept,
            },
            "ledger": {**asdict(ledger), "bar_time": _text(ledger.bar_time), "signals": [], "paced": []},
            "signals": [[_text(moment), *rest] for moment, *rest in ledger.signals],
            "paced": [[_text(moment), *rest] for moment, *rest in ledger.paced],
        }
        write_atomically(self._state(week), json.dumps(state).encode())

    def restore(self, week: int, service: ReplayedService) -> None:
        """Set `service` to the state after `week`."""
        state = self._read_state(week)
        registry, ledger = service.registry, service.ledger
        registry.champion = self.champion(week, service.symbol)
        for name in MOMENTS:
            setattr(registry, name, _moment(state["registry"][name]))
        registry.scratch_rejected = [datetime.fromisoformat(item) for item in state["registry"]["scratch_rejected"]]
        registry.replaced, registry.kept = state["registry"]["replaced"], state["registry"]["kept"]
        ledger.bar_time = _moment(state["ledger"]["bar_time"])
        ledger.signal = state["ledger"]["signal"]
        ledger.signals = [
            (datetime.fromisoformat(moment), direction, confidence, outcome)
            for moment, direction, confidence, outcome in state["signals"]
        ]
        ledger.paced = [PacedAnswer(datetime.fromisoformat(moment), *rest) for moment, *rest in state["paced"]]

    def champion(self, week: int, symbol: str) -> HybridModel | None:
        """The champion at the end of `week`."""
        name = self._read_state(week)["model"]
        if name is None:
            return None
        with self._validated(self.folder / name, _again_from(week)):
            return unpack_file(read_model_file(self.folder / name), symbol)

    def refuse_changed(self, past: Past, start: datetime, weeks: int) -> None:
        """Raise BadInput naming the first of the finished weeks, at most `weeks`, that has changed:
        its bars are others now, its answers were modified, or the week before it was replaced.
        """
        for week in range(min(self.finished(), weeks)):
            begins, state = start + week * WEEK, self._read_state(week)
            with self._validated(self._answers(week), _again_from(week)):
                if state["answers"] != _sha256(self._answers(week)):
                    raise ValueError("it was modified")
            with self._validated(self._state(week), _again_from(week)):
                if state["after"] != self._seal(week - 1):
                    raise ValueError("the week before it was replaced")
            if state["bars"] != week_fingerprint(past, begins):
                raise BadInput(
                    f"--work_path {self.folder}: the bars of week {week}, from {begins:%Y-%m-%d %H:%M} on, have "
                    f"changed since it was replayed; choose another folder, or {_again_from(week)}"
                )

    def has_rivals(self, week: int, part: str) -> bool:
        """Whether the comparison methods of `part` ("rivals", "baselines") of `week` are kept."""
        return self._rivals(week, part).exists()

    def keep_rivals(self, week: int, part: str, frame: pd.DataFrame) -> None:
        """Keep the answers of comparison methods in `week` (see `replay.baselines`), completely or not at all."""
        write_atomically(self._rivals(week, part), frame.to_parquet())

    def rivals(self, weeks: int) -> pd.DataFrame:
        """The answers of comparison methods in the first `weeks` weeks, one row for each cycle and method.

        Baselines are included when every one of the weeks has them.
        """
        parts = [part for part in PARTS if all(self.has_rivals(week, part) for week in range(weeks))]
        frames = [self._read_rivals(week, part) for part in parts for week in range(weeks)]
        return pd.concat([frame for frame in frames if len(frame)] or frames, ignore_index=True)

    def _read_rivals(self, week: int, part: str) -> pd.DataFrame:
        path = self._rivals(week, part)
        with self._validated(path, "delete it to compute these answers again"):
            return pd.read_parquet(path)

    def _read_state(self, week: int) -> dict[str, Any]:
        with self._validated(self._state(week), _again_from(week)):
            return dict(json.loads(self._state(week).read_text()))

    def _seal(self, week: int) -> str:
        """The sha256 of the state of `week`, which the next week contains; of the manifest before the first week."""
        return _sha256(self.folder / MANIFEST if week < 0 else self._state(week))

    def _weeks_from(self, week: int) -> int:
        """The number of weeks from `week` on that may have left files."""
        numbers = [int(path.name[5:8]) for path in self.folder.glob("week_[0-9][0-9][0-9].*")]
        return max([0, *(number - week + 1 for number in numbers)])

    @contextmanager
    def _validated(self, path: Path, remedy: str) -> Iterator[None]:
        """Translate errors of a kept file into BadInput with its name and the remedy."""
        try:
            yield
        except (OSError, ValueError, KeyError, TypeError, AttributeError, ArrowException, HybridMLError) as error:
            text = error.strerror if isinstance(error, OSError) else str(error).splitlines()[0]
            raise BadInput(f"--work_path {self.folder}: {path.name} is damaged ({text}); {remedy}") from None

    def _rivals(self, week: int, part: str) -> Path:
        return self.folder / f"week_{week:03}.{part}.parquet"

    def _answers(self, week: int) -> Path:
        return self.folder / f"week_{week:03}.parquet"

    def _state(self, week: int) -> Path:
        return self.folder / f"week_{week:03}.json"


def _again_from(week: int) -> str:
    return f"delete week_{week:03}.json there to replay from that week on"


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def fingerprint(bars: pd.DataFrame) -> str:
    """A short hash of exactly these bars."""
    return hashlib.sha256(pd.util.hash_pandas_object(bars, index=False).to_numpy().tobytes()).hexdigest()[:16]


def week_fingerprint(past: Past, begins: datetime) -> str:
    """A short hash of exactly the bars and sessions that the answers and outcomes of the week from `begins` need."""
    ends = begins + WEEK + OUTCOMES_REACH
    bars = fingerprint(past.bars_between(begins, ends))
    return bars if past.sessions.is_always_open else f"{bars} {sessions_fingerprint(past, begins, ends)}"


def sessions_fingerprint(past: Past, begins: datetime, ends: datetime) -> str:
    """A short hash of when the market is open from `begins` until `ends`, or until the end of its calendar."""
    ranges = past.sessions.open_ranges(begins, min(ends, past.sessions.known_until or ends))
    return fingerprint(pd.DataFrame({"open": [f"{since} {until}" for since, until in ranges]}))


def leaders_fingerprint(past: Past, until: datetime) -> dict[str, str]:
    """A short hash for each symbol that may lead, of its bars that open before `until`."""
    end = int(pd.Timestamp(until).as_unit("us").value)
    return {
        leader: hashlib.sha256(bars.returns[: int(bars.times.searchsorted(end))].tobytes()).hexdigest()[:16]
        for leader, bars in past.leaders.items()
    }


def _refuse_another(folder: Path, kept: dict[str, Any], requested: dict[str, Any]) -> None:
    different = [name for name in sorted(kept.keys() | requested.keys()) if kept.get(name) != requested.get(name)]
    if different:
        message = "; ".join(f"{name} was {kept.get(name)}, now {requested.get(name)}" for name in different)
        raise BadInput(
            f"--work_path {folder} contains another replay ({message}); repeat its request, or choose another folder"
        )


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
