"""Keys of pages: the same symbol has the same key in every run, so that the Prefect UI shows its history."""

import hashlib
import re

PLAIN = re.compile(r"[A-Z0-9]+")
DIGEST_LETTERS = 8
LONGEST_SLUG = 40


def page_key(kind: str, symbol: str) -> str:
    """Such as `analysis-btcusd`; Prefect takes small letters, digits and dashes.

    A symbol of anything but capital letters and digits gets letters of its sha256 behind it, so that
    BTC/USD, btcusd and BTCUSD stay apart.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", symbol.lower())[:LONGEST_SLUG].strip("-")
    if PLAIN.fullmatch(symbol) and len(symbol) <= LONGEST_SLUG:
        return f"{kind}-{slug}"
    digest = hashlib.sha256(symbol.encode()).hexdigest()[:DIGEST_LETTERS]
    return "-".join(part for part in (kind, slug, digest) if part)
