"""`hybrid-ml sessions COMMAND`: flags of the commands on calendars."""

from datetime import date
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, Field, model_validator
from pydantic_settings import CliApp, CliSubCommand

from hybrid_ml.cli.registry_options import Output
from hybrid_ml.schemas.fields import Symbols


def _calendar(value: str) -> str:
    name = value.strip()
    if not name or len(name) > 64 or not name.isprintable():
        raise ValueError("a calendar is named by 1 to 64 characters, such as NSE")
    return name


Calendar = Annotated[str, AfterValidator(_calendar)]


class LoadSessions(Output):
    """Load the sessions of a calendar: of an exchange, as pandas_market_calendars knows it, or of a file of your own.

    Days in a file of your own always win. Loading again corrects and extends what was loaded before.

    examples: hybrid-ml sessions load --calendar NSE
              hybrid-ml sessions load --calendar NSE --csv_path own.csv --timezone Asia/Kolkata
    """

    calendar: Calendar = Field(description="calendar to load, such as NSE, NYSE or XHKG; with a file, any name")
    csv_path: Path | None = Field(
        None,
        description="CSV file with the columns opens_at, closes_at and perhaps date; a row with a date alone: closed",
    )
    timezone: str | None = Field(
        None, description="IANA name of the zone of times without an offset in the file, e.g. Asia/Kolkata"
    )
    first: date = Field(
        date(2000, 1, 1), validation_alias="from", description="first day to load from pandas_market_calendars"
    )
    until: date | None = Field(
        None,
        description="last day to load from pandas_market_calendars; empty: the last one whose holidays it knows, at "
        "most a year ahead",
    )

    @model_validator(mode="after")
    def _zone_goes_with_a_file(self) -> "LoadSessions":
        if self.timezone is not None:
            if self.csv_path is None:
                raise ValueError(f"--timezone {self.timezone} goes with --csv_path FILE")
            try:
                ZoneInfo(self.timezone)
            except (ValueError, OSError, ZoneInfoNotFoundError):
                raise ValueError(f"--timezone {self.timezone} is no time zone; write it like Asia/Kolkata") from None
        return self

    def cli_cmd(self) -> None:
        from hybrid_ml.cli import sessions_commands

        if self.csv_path is None:
            sessions_commands.load_library(self.calendar, self.first, self.until, json_output=self.json_output)
        else:
            sessions_commands.load_file(self.calendar, self.csv_path, self.timezone, json_output=self.json_output)


class ListSessions(Output):
    """List the coming sessions of a calendar, the symbols that have it, and until when it is known.

    examples: hybrid-ml sessions list --calendar NSE
    """

    calendar: Calendar = Field(description="calendar to list")
    count: int = Field(10, ge=1, le=1_000, description="number of sessions to list")

    def cli_cmd(self) -> None:
        from hybrid_ml.cli import sessions_commands

        sessions_commands.list_sessions(self.calendar, self.count, json_output=self.json_output)


class SetCalendar(Output):
    """Give symbols a calendar: nothing is asked, answered or reported late while it says that their market is closed.

    examples: hybrid-ml sessions set --symbols NIFTY,BANKNIFTY --calendar NSE
              hybrid-ml sessions set --symbols BTCUSD --calendar 24/7
    """

    symbols: Symbols = Field(description="which ones, comma separated")
    calendar: Calendar = Field(description="their calendar; 24/7: their market never closes")

    def cli_cmd(self) -> None:
        from hybrid_ml.cli import sessions_commands

        sessions_commands.set_calendar(self.symbols, self.calendar, json_output=self.json_output)


class Sessions(BaseModel):
    """When markets are open: load the sessions of a calendar, list them, and choose the calendar of a symbol."""

    load: CliSubCommand[LoadSessions] = Field(description="load the sessions of a calendar")
    listing: CliSubCommand[ListSessions] = Field(alias="list", description="the coming sessions")
    choose: CliSubCommand[SetCalendar] = Field(alias="set", description="give symbols a calendar")

    def cli_cmd(self) -> None:
        CliApp.run_subcommand(self)
