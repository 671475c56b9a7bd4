"""The request of a load of bars."""

from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, model_validator

from hybrid_ml.schemas.fields import BaseRequest, Moment, Symbol, Symbols

Exchange = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9]+$",
        max_length=40,
        title="Exchange",
        description="feed that the bars are from: binance, binanceus; another exchange by its name in ccxt, such as "
        "kraken or coinbase; or sql, the SELECT of HYBRID_ML_SQL_FEED",
    ),
]
EXCHANGE_SYMBOLS = (
    "as the feed writes them: BTCUSDT,ETHUSDT for binance and binanceus, BTC/USD,ETH/USD for other exchanges, as in "
    "the table for sql; comma separated in a command, one for each item in the form"
)
Days = Annotated[
    int,
    Field(
        ge=1,
        le=7_300,
        title="Days",
        description="days of an exchange's history to load; minutes that it has answered are not asked again",
    ),
]
NEEDED_COLUMNS = ("time", "open", "high", "low", "close")


class BackfillRequest(BaseRequest):
    """Load bars into the database; loading the same bars again does no harm."""

    source: Literal["file", "csv", "exchange", "demo"] = Field(
        "file",
        title="Source of bars",
        description="file: files of bars, recognised by their look; csv: the same; "
        "exchange: the history of an exchange or another feed; demo: the simulated market",
    )
    csv_path: Path | None = Field(
        None,
        title="File of bars",
        description="a file, a folder or a pattern such as 'data/*.zip', as the machine that runs it sees the path; "
        "- is standard input",
    )
    symbol: Symbol | None = Field(
        None, title="Symbol", description="symbol of the bars, required for files; simulated ones are always DEMO"
    )
    columns: str | None = Field(
        None,
        title="Columns",
        description="names of the columns in their order, where the file is not recognised: "
        "time,open,high,low,close,volume; any other name for one that is not needed",
    )
    time_format: str | None = Field(
        None, title="Format of times", description="as in strptime, e.g. '%d-%m-%Y %H:%M'; empty: recognised"
    )
    timezone: str | None = Field(
        None,
        title="Time zone of times",
        description="IANA name of the zone of times without an offset, e.g. Asia/Kolkata; empty: UTC",
    )
    exchange: Exchange = "binance"
    symbols: Symbols = Field(
        [],
        title="Symbols of an exchange",
        description=f"with source exchange: {EXCHANGE_SYMBOLS}; empty: those of HYBRID_ML_SYMBOLS",
    )
    days: Days = 90
    bars: int = Field(
        30_000, ge=1, le=2_000_000, title="Simulated bars", description="number of bars to simulate with source demo"
    )
    seed: int = Field(
        7,
        ge=0,
        le=2**32 - 1,
        title="Seed",
        description="seed of the simulated market; the same one gives the same bars",
    )
    sessions: bool = Field(
        False, title="Sessions", description="simulate an exchange with sessions instead of one that never closes"
    )
    until: Moment | None = Field(
        None, title="Until", description="end of the simulated bars or of the history, UTC, e.g. 2024-06-01; empty: now"
    )

    @property
    def column_names(self) -> list[str]:
        """The names of `columns` in small letters; none where they are recognised."""
        return [name.strip().lower() for name in self.columns.split(",")] if self.columns else []

    @model_validator(mode="after")
    def _source_has_what_it_needs(self) -> "BackfillRequest":
        if self.source in ("file", "csv"):
            if self.csv_path is None:
                raise ValueError(f"--source {self.source} needs --csv_path FILE")
            if self.symbol is None:
                raise ValueError(f"--source {self.source} needs --symbol NAME, the symbol of these bars")
        elif self.csv_path is not None:
            raise ValueError(f"--csv_path {self.csv_path} goes with --source file, not --source {self.source}")
        if self.symbols and self.source != "exchange":
            names = ",".join(self.symbols)
            raise ValueError(f"--symbols {names} goes with --source exchange, not --source {self.source}")
        return self

    @model_validator(mode="after")
    def _file_can_be_read_so(self) -> "BackfillRequest":
        missing = [name for name in NEEDED_COLUMNS if name not in self.column_names]
        if self.columns and missing:
            raise ValueError(f"--columns {self.columns} lacks {', '.join(missing)}; a bar needs all of them")
        if self.timezone is not None:
            try:
                ZoneInfo(self.timezone)
            except (ValueError, OSError, ZoneInfoNotFoundError):
                raise ValueError(f"--timezone {self.timezone} is no time zone; write it like Asia/Kolkata") from None
        return self
