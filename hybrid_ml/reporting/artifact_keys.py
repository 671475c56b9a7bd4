"""Keys of pages: the same for a symbol in every run, so that the Prefect UI shows its history."""

import hashlib
import re

PLAIN = re.compile(r"[A-Z0-9]+")
DIGEST_LETTERS = 8
LONGEST_SLUG = 40


def page_key(kind: str, symbol: str) -> str:
    """Such as `analysis-btcusd`; Prefect accepts small letters, digits and dashes.

    A symbol with other characters than capital letters and digits gets a suffix of its sha256, so that
    BTC/USD, btcusd and BTCUSD have different keys.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", symbol.lower())[:LONGEST_SLUG].strip("-")
    if PLAIN.fullmatch(symbol) and len(symbol) <= LONGEST_SLUG:
        return f"{kind}-{slug}"
    digest = hashlib.sha256(symbol.encode()).hexdigest()[:DIGEST_LETTERS]
    return "-".join(part for part in (kind, slug, digest) if part)
