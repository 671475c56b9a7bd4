"""The commands `hybrid-ml models …`. They use only the registry and need no Prefect."""

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from hybrid_ml.cli.settings import DATABASE, settings_for
from hybrid_ml.console import registry_tables
from hybrid_ml.store import registry_listing
from hybrid_ml.store.engine import open_engine

Report = TypeVar("Report", bound=BaseModel)


def list_models(symbol: str | None, *, adapters: bool, json_output: bool) -> None:
    """`hybrid-ml models list`."""
    with open_engine(settings_for(DATABASE)).connect() as connection:
        listing = registry_listing.list_models(connection, symbol, datetime.now(UTC), adapters=adapters)
    show_report(listing, json_output, registry_tables.show_listing)


def show(version: str, *, json_output: bool) -> None:
    """`hybrid-ml models show`."""
    with open_engine(settings_for(DATABASE)).connect() as connection:
        details = registry_listing.describe_model(connection, version, datetime.now(UTC))
    show_report(details, json_output, registry_tables.show_details)


def rollback(version: str, reason: str, *, json_output: bool) -> None:
    """`hybrid-ml models rollback`."""
    from hybrid_ml.registry.admin import roll_back

    settings = settings_for(DATABASE)
    done = roll_back(open_engine(settings), settings, version, reason, datetime.now(UTC))
    show_report(done, json_output, registry_tables.show_rollback)


def export_to_file(version: str, path: Path, *, json_output: bool) -> None:
    """`hybrid-ml models export`."""
    from hybrid_ml.registry.admin import export_model

    done = export_model(open_engine(settings_for(DATABASE)), version, path)
    show_report(done, json_output, registry_tables.show_export)


def import_from_file(path: Path, *, json_output: bool) -> None:
    """`hybrid-ml models import`."""
    from hybrid_ml.registry.admin import import_model

    settings = settings_for(DATABASE)
    done = import_model(open_engine(settings), settings, path, datetime.now(UTC))
    show_report(done, json_output, registry_tables.show_import)


def show_report(report: Report, json_output: bool, show: Callable[[Report], None]) -> None:
    """The report as JSON, or as `show` prints it."""
    if json_output:
        sys.stdout.write(report.model_dump_json(indent=2) + "\n")
    else:
        show(report)
