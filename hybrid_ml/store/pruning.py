"""What the registry keeps, and for how long: every row of a model that answered, but bytes only for a while.

Bytes of a base are kept eight weeks after it was recorded, after it was last promoted or
retired, and after it was imported; bytes of an adapter 48 hours. The champion and the newest trial of
an adapter to it keep theirs while they are in use. Later a base, and an adapter that
predictions refer to, lose their bytes and keep everything else; other adapters are deleted.
"""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Connection

from hybrid_ml.store.registry_events import record_event
from hybrid_ml.store.sql import query

BASES_KEEP_BYTES = timedelta(weeks=8)
ADAPTERS_KEEP_BYTES = timedelta(hours=48)


@dataclass(frozen=True)
class Pruned:
    """How many bases and adapters lost their bytes, and how many adapters were deleted."""

    bases: int
    adapters: int
    deleted: int


def prune(connection: Connection, symbol: str) -> Pruned:
    """Prune the registry of `symbol` by the database's own clock, in the caller's transaction.

    A second call changes nothing.
    """
    bases = connection.execute(query("prune_bases"), {"symbol": symbol, "keep": BASES_KEEP_BYTES}).all()
    for base in bases:
        reason = f"recorded {base.created_at:%Y-%m-%d}; bytes are kept {BASES_KEEP_BYTES.days // 7} weeks"
        record_event(connection, symbol, "pruned", base.version, reason=reason)
    parents = connection.execute(query("prune_adapters"), {"symbol": symbol, "keep": ADAPTERS_KEEP_BYTES}).all()
    return Pruned(len(bases), sum(parent.emptied for parent in parents), sum(parent.deleted for parent in parents))
