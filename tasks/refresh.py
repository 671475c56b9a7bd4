"""Refresh: the bars of the run's symbols up to its slot, from their feeds, before anything is computed."""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import groupby

from sqlalchemy import Engine

from hybrid_ml.config.settings import load_settings
from hybrid_ml.errors import ClockWrong, HybridMLError
from hybrid_ml.feeds import refresh
from hybrid_ml.feeds.feed import Feed
from hybrid_ml.feeds.history import Loaded
from hybrid_ml.feeds.opening import open_feed
from hybrid_ml.feeds.refresh import Refreshed, SlotWait
from hybrid_ml.market.bars import BAR_LENGTH
from hybrid_ml.market.sessions import ALWAYS_OPEN, Sessions
from hybrid_ml.pipeline.markets import markets_of
from hybrid_ml.pipeline.run import Run, leading
from hybrid_ml.schemas.reports import Failure
from hybrid_ml.store.bars import awaited
from hybrid_ml.store.coverage import Instrument, read_instruments
from hybrid_ml.text.counts import counted
from tasks.pipeline_task import IN_REPORT, database, log, pipeline_task

LATE_LOAD_SECONDS, POLL_SECONDS = 3.0, 0.25
"""How long after its settling time a bar is waited for that somebody else loads, and how often it is looked for."""


@pipeline_task("refresh bars", timeout_seconds=120, uses_io=True)
def refresh_bars(run: Run) -> tuple[dict[str, str], list[Failure]]:
    """Bring the bars of every symbol and of its leaders up to the run's slot.

    Returns why the newest is missing, by symbol, and refusals, which last until a person does something: a symbol that
    is unknown, a setting that is missing. A symbol without a feed is loaded by somebody else: its newest bar is waited
    for in the database. Where a market is closed nothing is asked. Raises ClockWrong.
    """
    leaders = leading(run.leaders)
    everyone = list(dict.fromkeys([*leaders, *run.symbols]))
    until, markets = run.as_of.replace(second=0, microsecond=0), markets_of(replace(run, symbols=everyone))
    with database().connect() as connection:
        instruments = read_instruments(connection, markets.open)
    instruments.sort(key=lambda instrument: instrument.symbol not in leaders)  # many symbols may wait for a leader
    results = _from_feeds(instruments, until, run.sessions)
    fed = {instrument.symbol for instrument in instruments}
    _wait_for_others([symbol for symbol in markets.open if symbol not in fed], until)
    if results:
        written = counted(sum(result.loaded.written for result in results), "bar")
        log().info("%s new or changed of %s", written, counted(len(results), "symbol"))
    refused = [
        Failure(symbol=result.symbol, error=result.problem)
        for result in results
        if result.is_refused and result.symbol in run.symbols
    ]
    for failure in refused:
        log().error("%s: %s", failure.symbol, failure.error, extra=IN_REPORT)
    late = {
        result.symbol: result.problem
        for result in results
        if result.problem and not (result.is_refused and result.symbol in run.symbols)
    }
    for symbol, problem in (markets.unknown | late).items():
        log().warning("%s: %s", symbol, problem)
    return markets.unknown | late, refused


def _from_feeds(instruments: list[Instrument], until: datetime, sessions: Mapping[str, Sessions]) -> list[Refreshed]:
    """Every feed in a thread of its own, so that one that does not answer delays no other."""
    feeds = {name: list(group) for name, group in groupby(sorted(instruments, key=_feed_of), key=_feed_of)}
    if not feeds:
        return []
    with ThreadPoolExecutor(len(feeds), "feed") as pool:
        started = [pool.submit(_from_feed, name, group, until, sessions) for name, group in feeds.items()]
        return [result for future in started for result in future.result()]


def _feed_of(instrument: Instrument) -> str:
    return instrument.feed


def _from_feed(
    name: str, instruments: list[Instrument], until: datetime, sessions: Mapping[str, Sessions]
) -> list[Refreshed]:
    settings, engine = load_settings(), database()
    deadline = max(until, _now()) + timedelta(seconds=refresh.DEADLINE_SECONDS)
    wait = SlotWait(_now, time.sleep, deadline)
    try:
        opening: AbstractContextManager[Feed] = open_feed(name, settings, engine, _now, wait)
        with opening as feed:
            refresh.wait_until_final(feed, until, settings.hybrid_ml_settling_seconds, _now, wait)
            return refresh.refresh_all(feed, instruments, until, _refresh(engine, feed, until, wait, sessions))
    except ClockWrong:
        raise
    except HybridMLError as error:
        return [Refreshed.failed(instrument.symbol, error) for instrument in instruments]


def _refresh(
    engine: Engine, feed: Feed, until: datetime, wait: SlotWait, sessions: Mapping[str, Sessions]
) -> Callable[[Instrument], Loaded]:
    def work(instrument: Instrument) -> Loaded:
        open_times = sessions.get(instrument.symbol, ALWAYS_OPEN)
        return refresh.refresh_bars(engine, feed, instrument, until, wait, open_times)

    return work


def _wait_for_others(symbols: list[str], until: datetime) -> None:
    """Wait until the bars of `symbols` that come every minute are there; at most until LATE_LOAD_SECONDS."""
    settled = until + timedelta(seconds=load_settings().hybrid_ml_settling_seconds)
    if not symbols or _now() > settled + timedelta(seconds=LATE_LOAD_SECONDS):
        return
    time.sleep(max(0.0, (until - _now()).total_seconds()))
    while _now() < settled + timedelta(seconds=LATE_LOAD_SECONDS):
        with database().connect() as connection:
            if not awaited(connection, symbols, until - BAR_LENGTH):
                return
        time.sleep(POLL_SECONDS)


def _now() -> datetime:
    return datetime.now(UTC)
