"""Bars of leaders from the database: one read serves all symbols of a run that follow the same leader."""

import threading
from collections import OrderedDict
from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy import Engine

from hybrid_ml.errors import CalendarEnded
from hybrid_ml.market.bars import BAR_LENGTH, closed_before, to_grid
from hybrid_ml.market.features import LOOK_BACK_BARS
from hybrid_ml.market.leaders import LeaderBars, make_leader_bars
from hybrid_ml.market.sessions import ALWAYS_OPEN
from hybrid_ml.pipeline.run import Run
from hybrid_ml.store.bars import recent_bars
from hybrid_ml.store.sessions import read_sessions

KEPT = 64
"""Leaders and moments; a leader of a full training window takes 5 MB."""
STEP = timedelta(days=1)
"""Reads begin at whole days, so that symbols with a few missing minutes share one."""
Key = tuple[str, str]
"""The run and the leader: another run may find other bars."""


class LeaderReader:
    """Reads leaders for the runs of this process; the newest KEPT stay in memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[Key, tuple[datetime, LeaderBars | None]] = OrderedDict()

    def read(self, engine: Engine, run: Run, leaders: Iterable[str], since: datetime) -> dict[str, LeaderBars]:
        """What is known at the run's moment of each of `leaders` from `since` on; one without bars is left out."""
        with self._lock:
            found = {leader: self._one(engine, run, leader, since) for leader in leaders}
        return {leader: bars for leader, bars in found.items() if bars is not None}

    def _one(self, engine: Engine, run: Run, leader: str, since: datetime) -> LeaderBars | None:
        key = (run.key, leader)
        if key not in self._kept or self._kept[key][0] > since:
            days = (run.as_of - since + LOOK_BACK_BARS * BAR_LENGTH) // STEP + 1
            begin = run.as_of - days * STEP
            self._kept[key] = (begin + LOOK_BACK_BARS * BAR_LENGTH, _read(engine, leader, begin, run))
        self._kept.move_to_end(key)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return self._kept[key][1]


def _read(engine: Engine, leader: str, begin: datetime, run: Run) -> LeaderBars | None:
    until = closed_before(run.as_of)
    with engine.connect() as connection:
        sessions = read_sessions(connection, [leader]).get(leader, ALWAYS_OPEN)
        bars = recent_bars(connection, leader, until, (until - begin) // BAR_LENGTH + 1)
    bars = bars[bars["time"] >= begin].reset_index(drop=True)
    try:
        grid = to_grid(bars, run.max_gap_minutes, sessions)
    except CalendarEnded:
        return None  # when it is open is not known, and so not what its bars mean
    return None if grid.empty else make_leader_bars(grid)


READER = LeaderReader()
