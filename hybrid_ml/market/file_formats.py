"""Recognising what a file of bars is: which column is which, by its header, else by the look of its first line."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from hybrid_ml.errors import BadInput, one_line
from hybrid_ml.market.bars import BAR_COLUMNS
from hybrid_ml.text.counts import counted

NAMES = {
    "time": ("time", "timestamp", "datetime", "opentime", "unix", "unixtime", "unixtimestamp", "epoch", "starttime",
             "start", "ts", "t", "date"),
    "open": ("open", "openprice", "o"),
    "high": ("high", "highprice", "h"),
    "low": ("low", "lowprice", "l"),
    "close": ("close", "closeprice", "c"),
    "volume": ("volume", "vol", "tickvol", "v"),
}  # fmt: skip
"""Names of each column in small letters without blanks, underscores and brackets; an earlier one is preferred."""
NAMES_OF_A_HEADER = 2
"""A line with fewer known names is no header, and is never quoted, since it may contain anything."""
LINES_ABOVE = 2
MOST_COLUMNS = 1_000
LONGEST_NAME, MOST_NAMES = 40, 20
DELIMITERS = ",;\t|"
PLAIN = ["time", "open", "high", "low", "close", "volume"]
WITHOUT_HEADER = {12: "Binance archive", 7: "Kraken OHLCVT", 6: "plain bars", 5: "plain bars without volume"}
"""Files without a header by their number of columns; the first ones are time, open, high, low, close, volume."""
CLOCK = re.compile(r"\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?")
HISTDATA_TIME = re.compile(r"\d{8} \d{6}")
EASTERN_STANDARD_TIME = "Etc/GMT+5"
"""The zone of HistData's files, in summer too."""
BHAVCOPY = ({"symbol", "series"}, {"traddt", "tckrsymb"})


@dataclass(frozen=True)
class Reading:
    """How a person says a file is to be read; what is empty is recognised.

    `columns`: names of the columns in their order, `time_format`: as in strptime, `timezone`: IANA name of the zone
    of times without an offset.
    """

    columns: Sequence[str] = ()
    time_format: str | None = None
    timezone: str | None = None


@dataclass(frozen=True)
class FileFormat:
    """What a file was recognised as.

    `positions`: for each of BAR_COLUMNS the column's position from 0, without volume where there is none, and "date"
    where the day has a column of its own. `width`: the number of columns. `lines_above`: lines before the first row.
    """

    name: str
    positions: dict[str, int]
    width: int
    delimiter: str = ","
    lines_above: int = 0
    zone: str | None = field(default=None)


def recognise(lines: Sequence[str], columns: Sequence[str] = ()) -> FileFormat:
    """The format of a text file with these first lines; raises BadInput, quoting no line that is no header."""
    rows = [(number, line) for number, line in enumerate(lines) if line.strip()]
    if columns:
        return _stated(rows, columns)
    headers = [(number, *_best_split(line)) for number, line in rows[: 1 + LINES_ABOVE]]
    for position, (number, names, delimiter) in enumerate(headers):
        refuse_many_columns(names)
        _refuse_bhavcopy(names)
        if not missing_columns(names):
            following = rows[position + 1 : position + 2]
            example = _split(following[0][1], delimiter) if following else []
            above = " below an address" if position and "://" in rows[0][1] else " below another line" * bool(position)
            name = f"{_header_name(names, rows[0][1])} with a header{above}" + " and ; between columns" * (
                delimiter == ";"
            )
            return FileFormat(name, positions_of(names, example), len(names), delimiter, number + 1)
    return _without_header(rows) or _refuse_columns(max(headers, key=lambda found: known_count(found[1]))[1])


def _stated(rows: list[tuple[int, str]], columns: Sequence[str]) -> FileFormat:
    """The format of a file whose columns are named by a person; a header is skipped."""
    number, first = rows[0]
    delimiter = max(DELIMITERS, key=first.count)
    fields = _split(first, delimiter)
    positions = {name: position for position, name in enumerate(columns) if name in {*BAR_COLUMNS, "date"}}
    if len(columns) > len(fields):
        raise BadInput(f"--columns names {len(columns)} columns, but the first line has {len(fields)}")
    has_header = not _is_number(fields[positions["open"]], delimiter)
    return FileFormat("columns as stated", positions, len(fields), delimiter, number + 1 if has_header else number)


def _without_header(rows: list[tuple[int, str]]) -> FileFormat | None:
    """The format of a file whose first line is a bar, None where that is none."""
    number, first = rows[0]
    delimiter = max(DELIMITERS, key=first.count)
    fields = _split(first, delimiter)
    apart = len(fields) > 1 and CLOCK.fullmatch(fields[1]) is not None
    values = fields[2 if apart else 1 :][:4]
    if len(values) < 4 or not all(_is_number(value, delimiter) for value in values) or not fields[0][:1].isdigit():
        return None
    if apart and len(fields) in (6, 7):
        names = ["date", *PLAIN][: len(fields)]
        found = FileFormat("date and time apart", dict(zip(names, range(len(names)), strict=True)), len(fields))
    elif len(fields) in WITHOUT_HEADER:
        names = PLAIN[: len(fields)]
        found = FileFormat(WITHOUT_HEADER[len(fields)], {name: at for at, name in enumerate(names)}, len(fields))
    else:
        raise BadInput(
            f"it has no header, and {len(fields)} columns are no known kind of file; name them in their order, such as "
            "--columns time,open,high,low,close,volume"
        )
    is_histdata = HISTDATA_TIME.fullmatch(fields[0]) is not None
    name = f"{'HistData' if is_histdata else found.name} ({len(fields)} columns, no header)"
    zone = EASTERN_STANDARD_TIME if is_histdata else None
    return FileFormat(name, found.positions, len(fields), delimiter, number, zone)


def _header_name(names: Sequence[str], first_line: str) -> str:
    known = {plain_name(name) for name in names}
    if "cryptodatadownload" in first_line.lower():
        return "CryptoDataDownload"
    return "Binance archive" if {"opentime", "closetime"} <= known and len(names) == len(PLAIN) * 2 else "table"


def plain_name(name: str) -> str:
    """A column's name as it is compared."""
    return re.sub(r"[\s_<>\"'-]+", "", name).lower()


def positions_of(names: Sequence[str], example: Sequence[str] = ()) -> dict[str, int]:
    """The position of each of BAR_COLUMNS among `names`, and of "date" where `example`, a row, has its day apart."""
    plain = [plain_name(name) for name in names]
    found = {
        column: plain.index(known) for column, options in NAMES.items() for known in reversed(options) if known in plain
    }
    in_a_unit = [at for at, name in enumerate(plain) if name.startswith("volume")]  # "Volume BTC", "Volume USD"
    if "volume" not in found and in_a_unit:
        found["volume"] = in_a_unit[0]
    at = found.get("time", len(example))
    if "date" in plain and at != plain.index("date") and at < len(example) and CLOCK.fullmatch(example[at]):
        found["date"] = plain.index("date")
    return found


def known_count(names: Sequence[str]) -> int:
    """How many of `names` are column names of bars."""
    known = {name for options in NAMES.values() for name in options}
    return sum(plain_name(name) in known for name in names[:MOST_COLUMNS])


def missing_columns(names: Sequence[str]) -> list[str]:
    """The columns without which there is no bar that are not among `names`; volume may be missing."""
    found = positions_of(names)
    missing = [column for column in BAR_COLUMNS if column not in found]
    return [] if missing == ["volume"] else missing


def table_positions(names: Sequence[str]) -> dict[str, int]:
    """`positions_of` the columns of a table that has names, such as Parquet; raises BadInput unless they make a bar."""
    refuse_many_columns(names)
    if missing_columns(names):
        _refuse_columns(names, "column", "")
    return positions_of(names)


def refuse_many_columns(names: Sequence[str]) -> None:
    """Raise BadInput for more columns than a file of bars has."""
    if len(names) > MOST_COLUMNS:
        raise BadInput(f"it has {len(names):,} columns; a file of bars has {MOST_COLUMNS:,} at most")


def _refuse_bhavcopy(names: Sequence[str]) -> None:
    if any(own <= {plain_name(name) for name in names} for own in BHAVCOPY):
        raise BadInput("it is an NSE bhavcopy, one row a share and day; hybrid-ml needs one-minute bars of one symbol")


def _refuse_columns(names: Sequence[str], what: str = "field", where: str = " in its first line") -> FileFormat:
    message = f"{counted(len(names), what)}{where}; none has these names"
    if known_count(names) >= NAMES_OF_A_HEADER:
        shown = [one_line(name, LONGEST_NAME) for name in names[:MOST_NAMES]]
        message = f"found: {', '.join(shown + ['…'] * (len(names) > MOST_NAMES))}"
    raise BadInput(
        f"columns {', '.join(missing_columns(names))} are missing ({message}); a bar needs {', '.join(BAR_COLUMNS)}: "
        f"as names in the first line, or for a file without a header in its order: --columns {','.join(BAR_COLUMNS)}"
    )


def _best_split(line: str) -> tuple[list[str], str]:
    """The fields of a line, by the delimiter that gives the most known names."""
    splits = [(_split(line, delimiter), delimiter) for delimiter in DELIMITERS]
    return max(splits, key=lambda split: (known_count(split[0]), len(split[0])))


def _split(line: str, delimiter: str) -> list[str]:
    try:
        return [value.strip() for value in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error:  # a NUL, or a field beyond the module's limit
        return line.split(delimiter)


def _is_number(text: str, delimiter: str) -> bool:
    try:
        float(text if delimiter == "," else text.replace(",", "."))
    except ValueError:
        return False
    return True
