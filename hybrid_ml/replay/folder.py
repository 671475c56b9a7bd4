"""The folder of a replay: what was asked of which bars, and the weeks that are finished.

A finished week is a Parquet file of answers and the state after it; an interrupted replay goes on
after the last one. State is kept as JSON and as model files with their seals, never as a pickle.
"""

import hashlib
import json
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from hybrid_ml.errors import BadInput, DataUnavailable
from hybrid_ml.learning.model import HybridModel
from hybrid_ml.learning.model_bytes import pack_file, unpack_file
from hybrid_ml.replay.engine import Service
from hybrid_ml.replay.past import Past
from hybrid_ml.store.model_exchange import read_model_file, write_model_file
from hybrid_ml.store.model_files import write_atomically

MANIFEST = "replay.json"
MOMENTS = ("champion_as_of", "adapted_at", "scratch_newest")
PARTS = ("rivals", "baselines")
"""What is kept of rivals: the pair of window lengths always, the baselines where they were asked for."""
WEEK = timedelta(weeks=1)
OUTCOMES_REACH = timedelta(hours=1)
"""A week's last outcomes rest on bars after it."""


class ReplayFolder:
    """Where a replay keeps its finished weeks."""

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        """Begin, or go on; raises BadInput naming what differs when the folder is of another replay."""
        self.folder = folder
        path = folder / MANIFEST
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if path.exists():
                _refuse_another(folder, json.loads(path.read_text()), manifest)
            else:
                write_atomically(path, json.dumps(manifest, indent=2).encode())
        except OSError as error:
            raise BadInput(f"--work_path {folder} cannot be written ({error.strerror}); choose another") from None

    def finished(self) -> int:
        """How many weeks, from the first on, are finished."""
        week = 0
        while self._state(week).exists():
            week += 1
        return week

    def answers(self, weeks: int) -> pd.DataFrame:
        """The answers of the first `weeks` weeks, a row a bar, as the ledger holds them.

        A bar is answered twice where the first answer was no signal and a later one was: that one counts.
        Raises DataUnavailable when there is no answer at all.
        """
        parts = [self.week_answers(week) for week in range(weeks)]
        whole = pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)
        if whole.empty:
            raise DataUnavailable(
                "no moment of this replay had an answer: each lay in the quiet hours or had no fresh bar; choose "
                "another --start or --cycle_minutes, or --disable_sleep_window"
            )
        return whole.drop_duplicates("bar_time", keep="last", ignore_index=True)

    def champions(self, weeks: int) -> list[dict[str, int]]:
        """How often in each of the first `weeks` weeks a champion was `replaced`, or `kept` against a challenger."""
        counts = [json.loads(self._state(week).read_text())["registry"] for week in range(weeks)]
        before = [{"replaced": 0, "kept": 0}, *counts]
        return [
            {name: now[name] - then[name] for name in ("replaced", "kept")}
            for then, now in zip(before, counts, strict=False)
        ]

    def week_answers(self, week: int) -> pd.DataFrame:
        """The answers of one finished week; no column when there are none."""
        return pd.read_parquet(self._answers(week))

    def keep(self, week: int, rows: list[dict[str, Any]], service: Service, bars: str) -> None:
        """Keep a finished week; its state is written last and says that the week is whole.

        `bars`: the fingerprint of its bars.
        """
        for part in PARTS:  # of an earlier replay of this week
            self._rivals(week, part).unlink(missing_ok=True)
        pd.DataFrame(rows).to_parquet(self._answers(week))
        registry, ledger = service.registry, service.ledger
        model = None
        if registry.champion is not None:
            model = f"week_{week:03}.model"
            (self.folder / model).unlink(missing_ok=True)
            write_model_file(self.folder / model, pack_file(registry.champion))
        state = {
            "bars": bars,
            "model": model,
            "registry": {
                **{name: _text(getattr(registry, name)) for name in MOMENTS},
                "scratch_rejected": [_text(moment) for moment in registry.scratch_rejected],
                "replaced": registry.replaced,
                "kept": registry.kept,
            },
            "ledger": {**asdict(ledger), "bar_time": _text(ledger.bar_time), "signals": []},
            "signals": [[_text(moment), *rest] for moment, *rest in ledger.signals],
        }
        write_atomically(self._state(week), json.dumps(state).encode())

    def restore(self, week: int, service: Service) -> None:
        """Put `service` into the state after `week`."""
        state = json.loads(self._state(week).read_text())
        registry, ledger = service.registry, service.ledger
        registry.champion = self.champion(week, service.symbol)
        for name in MOMENTS:
            setattr(registry, name, _moment(state["registry"][name]))
        registry.scratch_rejected = [datetime.fromisoformat(each) for each in state["registry"]["scratch_rejected"]]
        registry.replaced, registry.kept = state["registry"]["replaced"], state["registry"]["kept"]
        ledger.bar_time = _moment(state["ledger"]["bar_time"])
        ledger.degraded, ledger.signal = state["ledger"]["degraded"], state["ledger"]["signal"]
        ledger.signals = [
            (datetime.fromisoformat(moment), direction, confidence, outcome)
            for moment, direction, confidence, outcome in state["signals"]
        ]

    def champion(self, week: int, symbol: str) -> HybridModel | None:
        """The base that served at the end of `week`."""
        name = json.loads(self._state(week).read_text())["model"]
        return None if name is None else unpack_file(read_model_file(self.folder / name), symbol)

    def refuse_changed_bars(self, past: Past, start: datetime, weeks: int) -> None:
        """Raise BadInput naming the first of the finished weeks, at most `weeks`, whose bars are others now."""
        for week in range(min(self.finished(), weeks)):
            begins = start + week * WEEK
            if json.loads(self._state(week).read_text())["bars"] != week_fingerprint(past, begins):
                raise BadInput(
                    f"--work_path {self.folder}: the bars of week {week}, from {begins:%Y-%m-%d %H:%M} on, have "
                    f"changed since it was replayed; choose another folder, or delete week_{week:03}.json there and "
                    "those of later weeks to replay from that week on"
                )

    def has_rivals(self, week: int, part: str) -> bool:
        """Whether the rivals of `part` ("rivals", "baselines") of `week` are kept."""
        return self._rivals(week, part).exists()

    def keep_rivals(self, week: int, part: str, frame: pd.DataFrame) -> None:
        """Keep what rivals answered in `week` (see `replay.rivals`), whole or not at all."""
        write_atomically(self._rivals(week, part), frame.to_parquet())

    def rivals(self, weeks: int) -> pd.DataFrame:
        """What rivals answered in the first `weeks` weeks, a row a cycle and method.

        Baselines are in it when every one of the weeks has them.
        """
        parts = [part for part in PARTS if all(self.has_rivals(week, part) for week in range(weeks))]
        frames = [pd.read_parquet(self._rivals(week, part)) for part in parts for week in range(weeks)]
        return pd.concat([frame for frame in frames if len(frame)] or frames, ignore_index=True)

    def _rivals(self, week: int, part: str) -> Path:
        return self.folder / f"week_{week:03}.{part}.parquet"

    def _answers(self, week: int) -> Path:
        return self.folder / f"week_{week:03}.parquet"

    def _state(self, week: int) -> Path:
        return self.folder / f"week_{week:03}.json"


def fingerprint(bars: pd.DataFrame) -> str:
    """A short name for exactly these bars."""
    return hashlib.sha256(pd.util.hash_pandas_object(bars, index=False).to_numpy().tobytes()).hexdigest()[:16]


def week_fingerprint(past: Past, begins: datetime) -> str:
    """A short name for exactly the bars that the answers and outcomes of the week from `begins` rest on."""
    return fingerprint(past.bars_between(begins, begins + WEEK + OUTCOMES_REACH))


def _refuse_another(folder: Path, kept: dict[str, Any], asked: dict[str, Any]) -> None:
    different = [name for name in sorted(kept.keys() | asked.keys()) if kept.get(name) != asked.get(name)]
    if different:
        told = "; ".join(f"{name} was {kept.get(name)}, now {asked.get(name)}" for name in different)
        raise BadInput(
            f"--work_path {folder} holds another replay ({told}); ask for the same, or choose another folder"
        )


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
