"""What a run is about: its moment, its symbols and the sources of their bars and models."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from uuid import uuid4

from hybrid_ml.config.leaders import CHOSEN, LeaderWishes, parse_leaders
from hybrid_ml.config.settings import Settings
from hybrid_ml.errors import BadInput, DataUnavailable
from hybrid_ml.market.labels import FLAT_SHARE
from hybrid_ml.market.sessions import ALWAYS_OPEN, Sessions
from hybrid_ml.market.simulation import SIMULATED_SYMBOL
from hybrid_ml.schemas.requests import Request, Source
from hybrid_ml.store.model_files import model_folder

ENDED_AFTER = timedelta(days=7)
"""A symbol without a feed whose newest bar is older has ended: longer than any market is closed."""
NO_SYMBOLS = (
    "the database holds no bars; `hybrid-ml symbols add --exchange binance --symbols BTCUSDT` brings those of an "
    "exchange, `hybrid-ml backfill --source file --csv_path FILE --symbol NAME` those of a file"
)
NO_BARS: Mapping[str, datetime] = MappingProxyType({})


@dataclass(frozen=True)
class Run:
    """The moment of a run, its symbols, and the sources of their bars and models.

    `ahead`: how far the clock was ahead of that moment when a run as of the past began. `is_live`: the run is about
    now, and its bars are in the database, so that they can be brought up to date first. `ended`: the symbols that it
    leaves out because they have ended, and the newest bar of each. `sessions`: of the symbols whose calendar states
    any; only bars in the database have one. `leaders`: of the symbols whose model in use has any.
    `leader_wishes`, `flat_share`: for the models that the run trains. `key` distinguishes
    the run from another of the same moment, whose bars may be other ones.
    """

    as_of: datetime
    symbols: list[str]
    default_symbol: str
    source: Source
    csv_path: Path | None
    models_dir: Path
    max_gap_minutes: int
    training_threads: int
    ahead: timedelta = timedelta(0)
    is_live: bool = False
    ended: dict[str, datetime] = field(default_factory=dict)
    sessions: Mapping[str, Sessions] = field(default_factory=dict)
    leaders: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    leader_wishes: LeaderWishes = CHOSEN
    flat_share: float = FLAT_SHARE
    key: str = field(default_factory=lambda: uuid4().hex, compare=False)

    def sessions_of(self, symbol: str) -> Sessions:
        """When the market of `symbol` is open."""
        return self.sessions.get(symbol, ALWAYS_OPEN)

    def to_wall_clock(self, moment: datetime) -> datetime:
        """The wall-clock time of `moment`: the same, unless the run is as of the past."""
        return moment + self.ahead

    def folder(self, symbol: str) -> Path:
        """The folder of the local copies of `symbol`'s models."""
        return model_folder(self.models_dir, symbol, self.default_symbol)


def make_run(
    request: Request,
    settings: Settings,
    symbols_with_bars: list[str],
    now: datetime,
    newest_bars: Mapping[str, datetime] = NO_BARS,
    *,
    may_be_empty: bool = False,
) -> Run:
    """Determine what a request leaves open. `now`: the moment of a run without `as_of`.

    `newest_bars`: those of symbols without a feed; where nobody names symbols, the ones that have ended are left out.

    Raises BadInput for a moment in the future or symbols that do not fit the source, and
    DataUnavailable when there is no symbol to work on, unless it `may_be_empty`.
    """
    as_of = settle_moment(request.as_of, now)
    offered = without_simulated(symbols_with_bars)
    ended = {symbol: bar for symbol, bar in ended_symbols(newest_bars, as_of).items() if symbol in offered}
    if names_symbols(request, settings) or len(ended) == len(offered):
        ended = {}  # where all have ended, somebody evaluates the past
    symbols = _symbols(request, settings, [symbol for symbol in offered if symbol not in ended])
    if not symbols and not may_be_empty:
        raise DataUnavailable(NO_SYMBOLS)
    return Run(
        as_of=as_of,
        symbols=symbols,
        default_symbol=next(iter(settings.symbols or offered or symbols), ""),
        source=request.source,
        csv_path=request.csv_path,
        models_dir=settings.models_dir,
        max_gap_minutes=settings.hybrid_ml_max_gap_minutes,
        training_threads=settings.training_threads,
        ahead=timedelta(0) if request.as_of is None else now - request.as_of,
        is_live=request.as_of is None and request.source == "db",
        ended=ended,
        leader_wishes=leader_wishes(request, settings),
        flat_share=getattr(request, "flat_share", FLAT_SHARE),
    )


def leader_wishes(request: Request, settings: Settings) -> LeaderWishes:
    """Which leaders the request names, else the settings."""
    named = getattr(request, "leaders", "")
    return parse_leaders(named) if named else settings.leader_wishes


def leading(leaders: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Every symbol that leads another one, once."""
    return list(dict.fromkeys(leader for names in leaders.values() for leader in names))


def names_symbols(request: Request, settings: Settings) -> bool:
    """Whether the request, the settings or the source of the bars say which symbols the run is about."""
    return bool(request.symbols or settings.symbols) or request.source != "db"


def ended_symbols(newest_bars: Mapping[str, datetime], as_of: datetime) -> dict[str, datetime]:
    """Those of `newest_bars` that have ended at `as_of`."""
    return {symbol: bar for symbol, bar in newest_bars.items() if bar < as_of - ENDED_AFTER}


def format_ended(ended: Mapping[str, datetime]) -> str:
    """The ended symbols and when they ended, for one line."""
    return ", ".join(f"{symbol} (last bar {bar:%Y-%m-%d})" for symbol, bar in ended.items())


def settle_moment(as_of: datetime | None, now: datetime) -> datetime:
    """The moment of a run, UTC; raises BadInput for one in the future."""
    if as_of is not None and as_of > now:
        raise BadInput(f"--as_of {as_of:%Y-%m-%dT%H:%M} is in the future (it is {now:%Y-%m-%dT%H:%M} UTC)")
    return (as_of or now).astimezone(UTC)


def without_simulated(symbols: list[str]) -> list[str]:
    """`symbols` without the simulated one, unless it is the only one."""
    return [symbol for symbol in symbols if symbol != SIMULATED_SYMBOL] or symbols


def _symbols(request: Request, settings: Settings, offered: list[str]) -> list[str]:
    if request.source == "demo":
        if request.symbols not in ([], [SIMULATED_SYMBOL]):
            raise BadInput(f"--source demo simulates {SIMULATED_SYMBOL} only, not {', '.join(request.symbols)}")
        return [SIMULATED_SYMBOL]
    if request.source == "csv":
        named = request.symbols or settings.symbols[:1]
        if len(named) != 1:
            raise BadInput(f"--csv_path {request.csv_path} holds one symbol; name it with --symbol NAME")
        return named
    return request.symbols or settings.symbols or offered
