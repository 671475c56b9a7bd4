"""What a file of bars may be at most, enforced while it is read: a few bytes of an archive can stand for gigabytes."""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import IO

from hybrid_ml.errors import BadInput, one_line
from hybrid_ml.market.bars import BAR_COLUMNS
from hybrid_ml.text.counts import counted

TIME_NAMES = ("time", "timestamp", "datetime", "date", "open_time")
MOST_COLUMNS = 1_000
LONGEST_HEADER_BYTES = 64 * 1024
LONGEST_NAME, MOST_NAMES = 40, 20
ROWS_A_MB = 10_000
"""A bar of a minute takes 30 to 100 bytes of CSV."""
EXPANSION, EXPANSION_FREE_BYTES = 100, 16 * 1024**2
"""How often its own size an archive may expand to, beyond the first megabytes; bars expand to 3 to 15 times."""
NAMES_OF_A_HEADER = 2
"""A line with fewer known names is no header, and may be anything: it is never quoted."""


@dataclass(frozen=True)
class FileLimits:
    """`max_mb`: megabytes of a file of bars, expanded where it is an archive; rows go with it."""

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
    """What another stream gives, as long as it keeps to the limits; raises BadInput as soon as it does not."""

    def __init__(self, source: IO[bytes], limits: FileLimits, packed_bytes: int) -> None:
        """`packed_bytes`: the size of the file that `source` expands, or is."""
        self._source, self._limits = source, limits
        self._most_expanded = max(EXPANSION_FREE_BYTES, EXPANSION * packed_bytes)
        self._bytes = self._rows = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # a buffer is what comes
        data = self._source.read(len(buffer))
        self._bytes += len(data)
        self._rows += max(data.count(b"\n"), data.count(b"\r"))
        self._limits.refuse_bytes(self._bytes)
        self._limits.refuse_rows(self._rows - 1)
        if self._bytes > self._most_expanded:
            raise BadInput(f"it expands to more than {EXPANSION} times its size, as no file of bars does")
        buffer[: len(data)] = data
        return len(data)


def known_names(names: Iterable[str]) -> list[str]:
    """Those of `names`, as they stand there, that a bar's columns may have."""
    return [name for name in names if name.strip().lower() in {*BAR_COLUMNS, *TIME_NAMES}]


def read_header(stream: "io.BufferedReader[LimitedStream]") -> list[str]:
    """The column names in the first line of a CSV that is no blank one; the stream stays at its beginning.

    Raises BadInput unless every column of a bar is among them, and quotes nothing of a line that is no header.
    """
    head = stream.peek(LONGEST_HEADER_BYTES)
    if not head.strip():
        raise BadInput("cannot be read (it is empty); expected CSV or Parquet")
    if head.startswith(b"PAR1"):
        raise BadInput("cannot be read as CSV (it is Parquet); let its name end in .parquet")
    line = next(line for line in head.splitlines(keepends=True) if line.strip())
    if not line.endswith((b"\n", b"\r")) and len(head) >= LONGEST_HEADER_BYTES:
        raise BadInput(f"cannot be read (its first line is longer than {LONGEST_HEADER_BYTES:,} bytes)")
    names = next(csv.reader([line.decode("utf-8-sig", errors="replace").strip("\r\n")]), [])
    refuse_columns(names, "field", ", with commas between them, in its first line")
    return names


def refuse_columns(names: list[str], what: str, where: str = "") -> None:
    """Raise BadInput unless `names` hold every column of a bar. They are those of a `what`, counted."""
    known = known_names(names)
    plain = {"time" if name.strip().lower() in TIME_NAMES else name.strip().lower() for name in known}
    missing = [column for column in BAR_COLUMNS if column not in plain]
    if len(names) > MOST_COLUMNS:
        raise BadInput(f"it has {len(names):,} columns; a file of bars has {MOST_COLUMNS:,} at most")
    if not missing:
        return
    message = f"{counted(len(names), what)}{where}; no bars have these names"
    if len(known) >= NAMES_OF_A_HEADER:
        shown = [one_line(name, LONGEST_NAME) for name in names[:MOST_NAMES]]
        message = f"found: {', '.join(shown + ['…'] * (len(names) > MOST_NAMES))}"
    raise BadInput(
        f"columns {', '.join(missing)} are missing ({message}); "
        f"a bar needs {', '.join(BAR_COLUMNS)}, and a CSV file a first line with these names and commas between them"
    )
