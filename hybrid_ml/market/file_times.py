"""The times in a file of bars: Unix times of any unit, ISO 8601 and its relatives, or a stated format."""

import re
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hybrid_ml.errors import BadInput, one_line
from hybrid_ml.market.bars import EARLIEST, LATEST, MINUTE_MICROSECONDS, NO_TIME, microseconds, unix_scales, unix_times

AMBIGUOUS_DAY = re.compile(r"\s*\d{1,2}([-./])\d{1,2}\1\d{4}\b")
YEAR_FIRST = r"^(\d{4})[-./]?(\d{2})[-./]?(\d{2})[ T]+(\d{2}):?(\d{2})"
"""2026.11.20 09:15 and 20261120 091500 too, which ISO 8601 does not know."""
SECONDS_WITHOUT_COLON = r"^(\S{10} \d{2}:\d{2})(\d{2})$"
HAS_OFFSET = re.compile(r":\d{2}.*(Z|[+-]\d{2}:?(\d{2})?)\s*$", re.IGNORECASE)
CLOSING_SECOND = 59
CLOSING_SHARE = 0.9
"""Share of times on the last second of a minute from which on a file's bars are stamped with their end."""
UNITS = {1.0: "s", 1e3: "ms", 1e6: "µs", 1e9: "ns"}


class TimeReader:
    """Reads the times of one file as Unix microseconds, and keeps what it took them for."""

    def __init__(self, time_format: str | None, timezone: str | None) -> None:
        """`timezone`: IANA name of the zone of times without an offset; None: UTC is taken."""
        self._format, self._zone = time_format, timezone
        self._units: set[str] = set()
        self._closing: bool | None = None
        self.without_offset = False

    def read(self, values: pa.Array) -> NDArray[np.int64]:
        """NO_TIME for what is no time between EARLIEST and LATEST.

        Raises BadInput for dates whose day and month are ambiguous.
        """
        times = self._times(values)
        known = (times >= EARLIEST.value // 1_000) & (times < LATEST.value // 1_000)
        on_closing_second = known & (times // 1_000_000 % 60 == CLOSING_SECOND)
        if self._closing is None and known.any():
            self._closing = bool(on_closing_second.sum() >= CLOSING_SHARE * known.sum())
        if self._closing:
            times = np.where(on_closing_second, times - times % MINUTE_MICROSECONDS, times)
        return np.where(known, times, NO_TIME)

    @property
    def description(self) -> str:
        """What the times were taken for."""
        parts = [f"Unix times in {' and '.join(sorted(self._units))}"] if self._units else []
        if self.without_offset:
            zone = self._zone or "UTC (state another zone with --timezone)"
            parts.append(f"times without an offset taken as {zone}")
        if self._closing:
            parts.append("stamped with the closing second, taken as the minute they close")
        return ", ".join(parts) or "times with an offset"

    def _times(self, values: pa.Array) -> NDArray[np.int64]:
        kind = values.type
        if pa.types.is_date(kind):
            values, kind = values.cast(pa.timestamp("us")), pa.timestamp("us")
        if pa.types.is_timestamp(kind):
            return self._moments(pd.DatetimeIndex(values.to_pandas()))
        if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            return self._unix(values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))
        text = pc.utf8_trim_whitespace(values.cast(pa.string()))
        if self._format is not None:
            return self._parsed(text.to_pandas(), self._format)
        try:
            return self._unix(text.cast(pa.float64()).to_numpy(zero_copy_only=False))
        except pa.ArrowInvalid:
            pass
        try:
            return self._moments(pd.DatetimeIndex(text.cast(pa.timestamp("us", "UTC")).to_pandas()))
        except pa.ArrowInvalid:
            return self._mixed(text)

    def _mixed(self, text: pa.Array) -> NDArray[np.int64]:
        """Texts of which some are Unix times, some have an offset, and some are no times at all."""
        spelled = pc.replace_substring_regex(text, YEAR_FIRST, r"\1-\2-\3 \4:\5")
        spelled = pc.replace_substring_regex(spelled, SECONDS_WITHOUT_COLON, r"\1:\2").to_pandas()
        numbers = pd.to_numeric(spelled, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        is_number = np.isfinite(numbers)
        times = np.full(len(spelled), NO_TIME)
        if is_number.any():
            times[is_number] = self._unix(numbers[is_number])
        times[~is_number] = self._parsed(spelled[~is_number], "ISO8601")
        for value in spelled[~is_number & (times == NO_TIME)]:
            if value is not None and AMBIGUOUS_DAY.match(value):
                raise BadInput(
                    f"in the time {one_line(value, 40)} day and month are ambiguous; state their order, for example "
                    f"--time_format '{_likely_format(value)}' where the day comes first"
                )
        return times

    def _parsed(self, text: pd.Series, time_format: str) -> NDArray[np.int64]:
        has_offset = np.array([isinstance(value, str) and bool(HAS_OFFSET.search(value)) for value in text], dtype=bool)
        times = np.full(len(text), NO_TIME)
        for aware in (True, False):
            rows = has_offset == aware
            if rows.any():
                values = text[rows].to_numpy(dtype=object)
                parsed = pd.DatetimeIndex(pd.to_datetime(values, format=time_format, errors="coerce", utc=True))
                times[rows] = microseconds(parsed) if aware else self._moments(parsed.tz_localize(None))
        return times

    def _moments(self, times: pd.DatetimeIndex) -> NDArray[np.int64]:
        """Times with a zone as they are, others in the stated zone, else in UTC."""
        if times.tz is None:
            self.without_offset = self.without_offset or bool(times.notna().any())
            if self._zone is not None:
                # What the change to or from summer time makes ambiguous or impossible becomes NaT.
                times = times.tz_localize(ZoneInfo(self._zone), ambiguous="NaT", nonexistent="NaT")
        return microseconds(times)

    def _unix(self, numbers: NDArray[np.float64]) -> NDArray[np.int64]:
        finite = numbers[np.isfinite(numbers) & (numbers != 0)]
        self._units |= {UNITS[scale] for scale in np.unique(unix_scales(finite))}
        return microseconds(unix_times(numbers))


def _likely_format(value: str) -> str:
    """The strptime format of a time that begins with day, month and year."""
    mark = next(character for character in value if not character.isdigit() and not character.isspace())
    clock = {0: "", 1: " %H:%M", 2: " %H:%M:%S"}[min(value.count(":"), 2)]
    return f"%d{mark}%m{mark}%Y{clock}"
