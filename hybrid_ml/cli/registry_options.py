"""`hybrid-ml models COMMAND`: flags of the commands on the registry."""

import os
from pathlib import Path

from pydantic import BaseModel, Field
from pydantic_settings import CliApp, CliSubCommand

from hybrid_ml.schemas.fields import Symbol


class Output(BaseModel):
    """The output format of a command."""

    json_output: bool = Field(
        False, validation_alias="json", description="print one JSON document on standard output and nothing else there"
    )


class Quiet(BaseModel):
    """The log output of a command that runs flows."""

    quiet: bool = Field(False, description="only warnings and errors while it runs, on standard error; then the result")

    def silence_info_lines(self) -> None:
        """Must be called before Prefect is imported; the log in the Prefect UI stays complete."""
        if self.quiet:
            os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "WARNING"


class ListModels(Output):
    """List the registry's models, newest first, and the version in use.

    examples: hybrid-ml models list
              hybrid-ml models list --symbol BTCUSD --all
    """

    symbol: Symbol | None = Field(None, description="symbol to list; empty: all")
    adapters: bool = Field(False, validation_alias="all", description="also the newest 50 adapters")

    def cli_cmd(self) -> None:
        from hybrid_ml.cli import registry_commands

        registry_commands.list_models(self.symbol, adapters=self.adapters, json_output=self.json_output)


class ShowModel(Output):
    """Show everything about one version: metrics, parent, events, predictions, and whether its bytes are intact.

    examples: hybrid-ml models show --version BTCUSD@20240204T000000Z-base-1a2b3c4d
    """

    version: str = Field(description="version to show, as in `models list`")

    def cli_cmd(self) -> None:
        from hybrid_ml.cli import registry_commands

        registry_commands.show(self.version, json_output=self.json_output)


class RollBack(Output):
    """Make an earlier base the champion again; it takes effect at the next analysis.

    examples: hybrid-ml models rollback --to BTCUSD@20240204T000000Z-base-1a2b3c4d
              hybrid-ml models rollback --to BTCUSD@20240204T000000Z-base-1a2b3c4d --reason "too sure since Sunday"
    """

    to: str = Field(description="version of the base to use")
    reason: str = Field("", description="reason, for readers of the events")

    def cli_cmd(self) -> None:
        from hybrid_ml.cli import registry_commands

        registry_commands.rollback(self.to, self.reason, json_output=self.json_output)


class ExportModel(Output):
    """Write one version to a file that another registry can import: a base, or an adapter with its base.

    examples: hybrid-ml models export --version BTCUSD@20240204T000000Z-base-1a2b3c4d --path btcusd.model
    """

    version: str = Field(description="version to export")
    path: Path = Field(description="file to write; an existing one is not overwritten")

    def cli_cmd(self) -> None:
        from hybrid_ml.cli import registry_commands

        registry_commands.export_to_file(self.version, self.path, json_output=self.json_output)


class ImportModel(Output):
    """Import an exported model into the registry; it is used at once only where the symbol has no model yet.

    examples: hybrid-ml models import --path btcusd.model
    """

    path: Path = Field(description="file made with `hybrid-ml models export`")

    def cli_cmd(self) -> None:
        from hybrid_ml.cli import registry_commands

        registry_commands.import_from_file(self.path, json_output=self.json_output)


class Models(BaseModel):
    """List the models in the registry, choose which one is used, copy one from registry to registry."""

    listing: CliSubCommand[ListModels] = Field(alias="list", description="the models, and which one is in use")
    show: CliSubCommand[ShowModel] = Field(description="everything about one version")
    rollback: CliSubCommand[RollBack] = Field(description="use an earlier base again")
    export: CliSubCommand[ExportModel] = Field(description="write a model to a file")
    bring: CliSubCommand[ImportModel] = Field(alias="import", description="read a model from a file")

    def cli_cmd(self) -> None:
        CliApp.run_subcommand(self)
