"""Size limits of a file of bars, enforced while it is read, since a few bytes of an archive can expand to gigabytes."""

import codecs
import io
from dataclasses import dataclass
from typing import IO

from hybrid_ml.errors import BadInput

LONGEST_HEADER_BYTES = 64 * 1024
MOST_HEAD_LINES = 20
"""Lines from whose look a file is recognised."""
ROWS_A_MB = 10_000
"""One bar takes 30 to 100 bytes of CSV."""
EXPANSION, EXPANSION_FREE_BYTES = 100, 16 * 1024**2
"""The factor to which an archive may expand, beyond the first megabytes; bars expand to 3 to 15 times."""


@dataclass(frozen=True)
class FileLimits:
    """`max_mb`: megabytes of a file of bars, expanded where it is an archive; the row limit follows from it."""

    max_mb: int = 500

    @property
    def max_bytes(self) -> int:
        return self.max_mb * 1_000_000

    @property
    def max_rows(self) -> int:
        return self.max_mb * ROWS_A_MB

    def refuse_bytes(self, count: int) -> None:
        """Raise BadInput for more bytes than a file may have."""
        if count > self.max_bytes:
            raise BadInput(f"it holds more than {self.max_mb:,} MB{REMEDY}")

    def refuse_rows(self, count: int) -> None:
        """Raise BadInput for more rows than a file may have."""
        if count > self.max_rows:
            raise BadInput(f"it holds more than {self.max_rows:,} rows{REMEDY}")


REMEDY = " (limit HYBRID_ML_MAX_FILE_MB); load it in parts, or raise the limit"


class LimitedStream(io.RawIOBase):
    """The text of another stream, as UTF-8, within the limits; raises BadInput as soon as it exceeds them."""

    def __init__(self, source: IO[bytes], limits: FileLimits, packed_bytes: int) -> None:
        """`packed_bytes`: the size of the file that `source` expands, or is."""
        self._source, self._limits = source, limits
        self._most_expanded = max(EXPANSION_FREE_BYTES, EXPANSION * packed_bytes)
        self._bytes = self._rows = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._held = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # a buffer is what comes
        is_over = False
        while not self._held and not is_over:
            data = self._source.read(len(buffer))
            self._count(data)
            is_over = not data
            # What is not UTF-8 is replaced here: later it would fail a whole block, or lose a row without a word.
            self._held = self._decoder.decode(data, final=is_over).encode()
        part, self._held = self._held[: len(buffer)], self._held[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)

    def _count(self, data: bytes) -> None:
        self._bytes += len(data)
        self._rows += max(data.count(b"\n"), data.count(b"\r"))
        self._limits.refuse_bytes(self._bytes)
        self._limits.refuse_rows(self._rows - 1)
        if self._bytes > self._most_expanded:
            raise BadInput(f"it expands to more than {EXPANSION} times its size, unlike a file of bars")


def read_head(stream: "io.BufferedReader[LimitedStream]", *, is_file: bool = True) -> list[str]:
    """The first lines of a text, blank ones too; the stream stays at its beginning. `is_file`: or standard input."""
    head = stream.peek(LONGEST_HEADER_BYTES)
    if not head.strip():
        expected = "expected CSV, Parquet, Feather or JSON lines"
        remedy = expected if is_file else "pipe a program into it that prints bars as CSV or JSON lines"
        raise BadInput(f"cannot be read (it is empty); {remedy}")
    if head.startswith((b"PAR1", b"ARROW1")):
        kind, ending = ("Parquet", ".parquet") if head.startswith(b"PAR1") else ("Feather", ".feather")
        remedy = f"rename it to end in {ending}" if is_file else f"load it as a file that ends in {ending}"
        raise BadInput(f"cannot be read as CSV (it is {kind}); {remedy}")
    lines = head.splitlines(keepends=True)
    first = next(line for line in lines if line.strip())
    if not first.endswith((b"\n", b"\r")) and len(head) >= LONGEST_HEADER_BYTES:
        raise BadInput(f"cannot be read (its first line is longer than {LONGEST_HEADER_BYTES:,} bytes)")
    return [line.decode("utf-8-sig", errors="replace").strip("\r\n") for line in lines[:MOST_HEAD_LINES]]
