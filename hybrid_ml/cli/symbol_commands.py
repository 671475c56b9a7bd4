"""The commands on symbols, on bars, and `hybrid-ml data`. They use only the database and need no Prefect."""

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel
from sqlalchemy import Engine

from hybrid_ml.cli.settings import DATABASE, settings_for
from hybrid_ml.config.settings import Settings
from hybrid_ml.console import symbol_tables
from hybrid_ml.console.progress import progress
from hybrid_ml.reporting.artifact_images import completeness_picture
from hybrid_ml.schemas.symbol_reports import RemovalReport
from hybrid_ml.store.engine import open_engine, open_for_writing
from hybrid_ml.store.model_files import write_atomically
from hybrid_ml.store.output_files import errors_as_bad_input, refuse_unwritable_file
from hybrid_ml.symbols import removal, renaming
from hybrid_ml.symbols.data import read_data
from hybrid_ml.symbols.listing import list_symbols

Report = TypeVar("Report", bound=BaseModel)


def list_all(*, json_output: bool) -> None:
    """`hybrid-ml symbols list`."""
    with open_engine(settings_for(DATABASE)).connect() as connection:
        listing = list_symbols(connection, datetime.now(UTC))
    _show(listing, json_output, symbol_tables.show_symbols)


def remove(symbols: list[str], *, yes: bool, json_output: bool) -> None:
    """`hybrid-ml symbols remove`."""
    settings, engine = _opened(writes=yes)
    now = datetime.now(UTC)
    with engine.connect() as connection:
        planned = removal.plan_removal(connection, settings, symbols, now)
    if yes:
        with progress("bars removed", sum(one.holdings.bars for one in planned)) as advance:
            planned = removal.remove(engine, settings, planned, now, advance)
    _show(RemovalReport(removals=planned, done=yes), json_output, symbol_tables.show_removals)


def rename(symbol: str, to: str, *, yes: bool, json_output: bool) -> None:
    """`hybrid-ml symbols rename`."""
    settings, engine = _opened(writes=yes)
    with engine.connect() as connection:
        planned = renaming.plan_rename(connection, settings, symbol, to)
    if yes:
        with progress("bars renamed", planned.holdings.bars) as advance:
            planned = renaming.rename(engine, settings, planned, datetime.now(UTC), advance)
    _show(planned, json_output, symbol_tables.show_rename)


def remove_period(
    symbol: str, since: datetime | None, until: datetime | None, *, for_good: bool, yes: bool, json_output: bool
) -> None:
    """`hybrid-ml bars remove`."""
    settings, engine = _opened(writes=yes)
    with engine.connect() as connection:
        planned = removal.plan_bars_removal(connection, symbol, since, until, for_good=for_good)
    if yes:
        planned = removal.remove_period(engine, settings, planned, since, until, datetime.now(UTC))
    _show(planned, json_output, symbol_tables.show_bars_removal)


def data(symbols: list[str], days: int, picture: Path | None, *, json_output: bool) -> None:
    """`hybrid-ml data`."""
    if picture is not None:
        refuse_unwritable_file(picture, "--picture")
    with open_engine(settings_for(DATABASE)).connect() as connection:
        report = read_data(connection, symbols, days, datetime.now(UTC))
    drawn = None if picture is None else completeness_picture(report)
    if picture is not None and drawn is not None:
        with errors_as_bad_input(picture, "--picture"):
            write_atomically(picture, drawn)
        report = report.model_copy(update={"picture": picture})
    _show(report, json_output, symbol_tables.show_data)


def _opened(*, writes: bool) -> tuple[Settings, Engine]:
    settings = settings_for(DATABASE)
    return settings, (open_for_writing if writes else open_engine)(settings)


def _show(report: Report, json_output: bool, show: Callable[[Report], None]) -> None:
    if json_output:
        sys.stdout.write(report.model_dump_json(indent=2) + "\n")
    else:
        show(report)
