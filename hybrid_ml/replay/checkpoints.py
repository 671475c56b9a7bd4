"""The folder of a replay: what its answers depend on, a fingerprint of its bars, and what its models computed.

A finished week is a Parquet file of predictions (see `kept`), the trainings judged in it, and the bases that served.
A replay with the same models finds all of it again, whatever its gates, and an interrupted one continues after the last
week. Trainings are kept as JSON with a checksum, bases as model files with theirs, never as a pickle. Each week
contains a fingerprint of its bars and of all before it, so weeks of two replays, or of other bars, cannot be mixed.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from pyarrow import ArrowException

from hybrid_ml.errors import BadInput, HybridMLError
from hybrid_ml.learning.model import HybridModel
from hybrid_ml.learning.model_bytes import pack_file, unpack_file
from hybrid_ml.learning.scaling import WEEK
from hybrid_ml.replay.kept import KeptWork
from hybrid_ml.replay.kept_files import predictions_frame, read_predictions, read_trainings, trainings_list
from hybrid_ml.replay.replayed_weeks import ReplayedWeek
from hybrid_ml.store.model_export import read_model_file, write_model_file
from hybrid_ml.store.model_files import write_atomically

MANIFEST = "replay.json"
PARTS = ("rivals", "baselines")
"""The kept comparison methods: always the pair of window lengths, the baselines where requested."""


class ReplayFolder:
    """Keeps the finished weeks of a replay."""

    def __init__(self, folder: Path, manifest: dict[str, Any], bars: Sequence[str] = ()) -> None:
        """Create the folder or open it; raises BadInput naming what differs when it belongs to another replay.

        `bars`: the fingerprint of each week's bars and of all before (`fingerprints.week_fingerprints`).
        """
        self.folder, self.bars = folder, bars
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

    def refuse_changed(self, start: datetime) -> None:
        """Raise BadInput naming the first of the finished weeks from `start` on whose bars are others now."""
        for week in range(min(self.finished(), len(self.bars))):
            if self._read_state(week)["bars"] != self.bars[week]:
                raise BadInput(
                    f"--work_path {self.folder}: the bars of week {week}, from {start + week * WEEK:%Y-%m-%d %H:%M} "
                    f"on, have changed since it was replayed; choose another folder, or {_again_from(week)}"
                )

    def is_kept(self, week: int) -> bool:
        """Whether the work of `week` is here, and about the same bars."""
        return self._state(week).exists() and self._read_state(week)["bars"] == self.bars[week]

    def open_week(self, week: int) -> KeptWork:
        """What is kept of `week`, nothing where it is not finished. Raises BadInput where its files are damaged."""
        load_model = partial(self._model, week)
        if not self.is_kept(week):
            return KeptWork(load_model=load_model)
        state = self._read_state(week)
        with self._validated(self._predictions(week), _again_from(week)):
            if state["predictions"] != _sha256(self._predictions(week)):
                raise ValueError("it was modified")
            predictions = read_predictions(pd.read_parquet(self._predictions(week)))
        with self._validated(self._state(week), _again_from(week)):
            return KeptWork(predictions, read_trainings(state["trainings"]), load_model)

    def keep(self, week: int, work: KeptWork) -> None:
        """Keep the work of a finished week; its state is written last and marks the week as complete."""
        for version, model in work.new_models.items():
            path = self._model_path(version)
            path.unlink(missing_ok=True)
            write_model_file(path, pack_file(model))
        write_atomically(self._predictions(week), predictions_frame(work.predictions).to_parquet())
        state = {
            "bars": self.bars[week],
            "predictions": _sha256(self._predictions(week)),
            "trainings": trainings_list(work.trainings),
        }
        write_atomically(self._state(week), json.dumps({**state, "checksum": _checksum(state)}, indent=1).encode())

    def champion(self, week: ReplayedWeek, symbol: str) -> HybridModel | None:
        """The base that served at the end of `week`."""
        if week.champion is None:
            return None
        model = self._model(week.number, week.champion)
        if model.base.symbol != symbol:
            raise BadInput(f"--work_path {self.folder} contains models of {model.base.symbol}, not of {symbol}")
        return model

    def has_rivals(self, week: ReplayedWeek, part: str) -> bool:
        """Whether the comparison methods of `part` ("rivals", "baselines") are kept, for the same answers of `week`."""
        path = self._rivals(week.number, part)
        return path.exists() and self._read_rivals(week.number, part).attrs.get("answers") == week.fingerprint

    def keep_rivals(self, week: ReplayedWeek, part: str, frame: pd.DataFrame) -> None:
        """Keep the answers of comparison methods in `week` (see `replay.baselines`), completely or not at all."""
        frame.attrs = {"answers": week.fingerprint}
        write_atomically(self._rivals(week.number, part), frame.to_parquet())

    def rivals(self, weeks: Sequence[ReplayedWeek]) -> pd.DataFrame:
        """The answers of comparison methods in `weeks`, one row for each bar and method.

        Baselines are those of the weeks that have them: a run without them drops none of an earlier one.
        """
        there = [(part, week) for part in PARTS for week in weeks if self.has_rivals(week, part)]
        frames = [self._read_rivals(week.number, part) for part, week in there]
        for frame in frames:
            frame.attrs = {}
        return pd.concat([frame for frame in frames if len(frame)] or frames, ignore_index=True)

    def _model(self, week: int, version: str) -> HybridModel:
        """The base of `version`, which `week` needs."""
        path = self._model_path(version)
        with self._validated(path, _again_from(week)):
            model = unpack_file(read_model_file(path), None)
            if model.base.version != version:
                raise ValueError(f"it contains {model.base.version}")
        return model

    def _read_rivals(self, week: int, part: str) -> pd.DataFrame:
        path = self._rivals(week, part)
        with self._validated(path, "delete it to compute these answers again"):
            return pd.read_parquet(path)

    def _read_state(self, week: int) -> dict[str, Any]:
        with self._validated(self._state(week), _again_from(week)):
            state = dict(json.loads(self._state(week).read_text()))
            if state.pop("checksum") != _checksum(state):
                raise ValueError("it was modified")
        return state

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

    def _predictions(self, week: int) -> Path:
        return self.folder / f"week_{week:03}.parquet"

    def _state(self, week: int) -> Path:
        return self.folder / f"week_{week:03}.json"

    def _model_path(self, version: str) -> Path:
        return self.folder / f"{version.rpartition('@')[2]}.model"


def _again_from(week: int) -> str:
    return f"delete week_{week:03}.json there to replay from that week on"


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _checksum(state: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def _refuse_another(folder: Path, kept: dict[str, Any], requested: dict[str, Any]) -> None:
    different = [name for name in sorted(kept.keys() | requested.keys()) if kept.get(name) != requested.get(name)]
    if different:
        message = "; ".join(f"{name} was {kept.get(name)}, now {requested.get(name)}" for name in different)
        raise BadInput(
            f"--work_path {folder} contains another replay ({message}); repeat its request, or choose another folder"
        )
