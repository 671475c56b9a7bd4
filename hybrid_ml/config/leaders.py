"""Which symbols lead which, as people write it: auto, none, `BTCUSD,ETHUSD`, `EOSUSD:BTCUSD;ADAUSD:none`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

AUTO, NONE = "auto", "none"
MOST_LEADERS = 3
EXAMPLE = "auto, none, BTCUSD,ETHUSD for all symbols, or EOSUSD:BTCUSD;ADAUSD:BTCUSD,ETHUSD for each"


@dataclass(frozen=True)
class LeaderWishes:
    """The leaders that somebody named: `of_all` for every symbol, `by_symbol` for single ones; None: to be chosen."""

    of_all: tuple[str, ...] | None = None
    by_symbol: Mapping[str, tuple[str, ...] | None] = field(default_factory=dict)

    def of(self, symbol: str) -> tuple[str, ...] | None:
        """The leaders of `symbol`, never itself; None where they are to be chosen."""
        leaders = self.by_symbol.get(symbol, self.of_all)
        return leaders if leaders is None else tuple(leader for leader in leaders if leader != symbol)


CHOSEN = LeaderWishes()
"""Nobody named any."""


def parse_leaders(text: str) -> LeaderWishes:
    """What `text` wishes. Raises ValueError, naming the part, for anything else."""
    of_all: tuple[str, ...] | None = None
    by_symbol: dict[str, tuple[str, ...] | None] = {}
    for part in filter(None, (item.strip() for item in re.split(r"[;\n]", text))):
        symbol, colon, names = part.rpartition(":")
        leaders = _leaders(names, part)
        if colon and not symbol.strip():
            raise ValueError(f"{part!r} names leaders of no symbol; write {EXAMPLE}")
        if colon:
            by_symbol[symbol.strip()] = leaders
        else:
            of_all = leaders
    return LeaderWishes(of_all, by_symbol)


def _leaders(names: str, part: str) -> tuple[str, ...] | None:
    leaders = tuple(dict.fromkeys(filter(None, (name.strip() for name in names.split(",")))))
    if leaders == (AUTO,) or not leaders:
        return None
    if leaders == (NONE,):
        return ()
    if {AUTO, NONE} & set(leaders):
        raise ValueError(f"{part!r} has {AUTO} or {NONE} beside other names; write {EXAMPLE}")
    if len(leaders) > MOST_LEADERS:
        raise ValueError(f"{part!r} names {len(leaders)} leaders; a symbol has at most {MOST_LEADERS}")
    return leaders
