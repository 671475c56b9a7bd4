"""History of an exchange: one task a symbol, side by side, ended between two pages when the run ends."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from hybrid_ml.config.settings import load_settings
from hybrid_ml.console.progress import SharedProgress
from hybrid_ml.errors import BadInput, LoadInterrupted
from hybrid_ml.feeds import history
from hybrid_ml.feeds.feed import Feed
from hybrid_ml.feeds.opening import open_feed
from hybrid_ml.feeds.refresh import compare_clocks
from hybrid_ml.market.bars import BAR_LENGTH
from hybrid_ml.schemas.backfill_request import BackfillRequest
from hybrid_ml.schemas.reports import History
from hybrid_ml.schemas.requests import RepairRequest
from hybrid_ml.store.coverage import feeds_of, read_instruments
from hybrid_ml.text.counts import counted
from hybrid_ml.text.names import nearest_names
from tasks.pipeline_task import database, log, pipeline_task


class Ending:
    """Whether the run is ending; its threads then stop at their next wait or page."""

    def __init__(self) -> None:
        self.event = threading.Event()

    def wait(self, seconds: float) -> None:
        """Wait so long; raises LoadInterrupted as soon as the run is ending."""
        if self.event.wait(seconds):
            raise LoadInterrupted("the run was ended; what was loaded is kept, and the same command continues after it")

    @staticmethod
    def now() -> datetime:
        return datetime.now(UTC)


@contextmanager
def ending_with_block() -> Iterator[Ending]:
    """An Ending that is set when the block ends, by Ctrl-C or otherwise: a pool's threads are waited for after it."""
    ending = Ending()
    try:
        yield ending
    finally:
        ending.event.set()


def exchange_symbols(request: BackfillRequest) -> list[str]:
    """The symbols to load from an exchange. Raises BadInput where none is stated."""
    symbols = request.symbols or ([request.symbol] if request.symbol else load_settings().symbols)
    if not symbols:
        raise BadInput("--source exchange needs --symbols NAMES, as the feed writes them, such as BTCUSDT,ETHUSDT")
    return symbols


def feed_symbols(request: RepairRequest) -> list[str]:
    """The symbols to repair: those stated, else all that have a feed. Raises BadInput for one that has none."""
    with database().connect() as connection:
        known = feeds_of(connection)
    unknown = [symbol for symbol in request.symbols if symbol not in known]
    if unknown:
        near = [name for symbol in unknown for name in nearest_names(symbol, known)]
        hint = f" did you mean {', '.join(dict.fromkeys(near))}? Else" if near else ""
        raise BadInput(
            f"{', '.join(unknown)}: no feed;{hint} only bars that come from an exchange or a table are repaired "
            f"({', '.join(known) or 'none here'})"
        )
    return request.symbols or list(known)


@pipeline_task("load history {symbol}", timeout_seconds=86_400, uses_io=True)
def load_history(symbol: str, request: BackfillRequest, progress: SharedProgress, ending: Ending) -> History:
    """Load what is missing of the days asked for; a second attempt continues after the first."""
    started = time.perf_counter()
    until = request.until.replace(second=0, microsecond=0) if request.until else None
    with open_feed(request.exchange, load_settings(), database(), ending.now, ending.wait) as feed:
        compare_clocks(feed, ending.now)
        plan = history.plan_history(database(), feed, symbol, request.days, until)
        return _load(feed, plan, progress, ending, started)


@pipeline_task("repair {symbol}", timeout_seconds=3_000, uses_io=True)
def repair_bars(symbol: str, progress: SharedProgress, ending: Ending) -> History:
    """Ask the symbol's feed for what is missing since its first answer, newest first."""
    started = time.perf_counter()
    with database().connect() as connection:
        instrument = read_instruments(connection, [symbol])[0]
    with open_feed(instrument.feed, load_settings(), database(), ending.now, ending.wait) as feed:
        compare_clocks(feed, ending.now)
        plan = history.plan_repair(database(), feed, instrument)
        return _load(feed, plan, progress, ending, started)


def _load(feed: Feed, plan: history.Plan, progress: SharedProgress, ending: Ending, started: float) -> History:
    symbol = plan.instrument.symbol

    def advance(minutes: int) -> None:
        progress.advance(minutes)
        ending.wait(0)

    log().info("%s: %s to ask %s for", symbol, counted(plan.missing_minutes, "minute"), feed.name)
    progress.expect(plan.missing_minutes)
    if plan.note:
        log().warning("%s: %s", symbol, plan.note)
    loaded = history.load_history(database(), feed, plan, advance)
    if loaded.rejected:
        log().warning("%s: %s rejected, see table bars_set_aside", symbol, counted(loaded.rejected, "row"))
    log().info("%s: new or changed: %s", symbol, counted(loaded.written, "bar"))
    return _report(plan, loaded, time.perf_counter() - started)


def _report(plan: history.Plan, loaded: history.Loaded, seconds: float) -> History:
    wanted = (plan.until - plan.since) // BAR_LENGTH
    return History(
        symbol=plan.instrument.symbol,
        feed=plan.instrument.feed,
        first=plan.since,
        end=plan.until,
        listed_at=plan.instrument.listed_at,
        delisted_at=plan.instrument.delisted_at,
        known=wanted - plan.closed_minutes - plan.missing_minutes,
        closed_minutes=plan.closed_minutes,
        pages=loaded.pages,
        bars=loaded.minutes["have"],
        bars_written=loaded.written,
        no_trades=loaded.minutes["no_trades"],
        source_gaps=loaded.minutes["source_gap"],
        late=loaded.minutes["unknown"],
        rows_set_aside=loaded.rejected,
        seconds=round(seconds, 3),
        note=plan.note,
    )
