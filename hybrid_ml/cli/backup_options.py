"""`hybrid-ml backup` and `hybrid-ml restore`: their flags."""

from pathlib import Path

from pydantic import Field

from hybrid_ml.cli.registry_options import Output


class Backup(Output):
    """Write bars, models, predictions and alerts into one file, and test it with a restore into a scratch database.

    Works while everything runs. Nightly ones are made where HYBRID_ML_BACKUP_DIR names a folder.

    examples: hybrid-ml backup --path hybrid-ml.backup
    """

    path: Path = Field(description="file to write; an existing one is not overwritten")

    def cli_cmd(self) -> None:
        from hybrid_ml.cli import backup_commands

        backup_commands.backup(self.path, json_output=self.json_output)


class Restore(Output):
    """Replace the content of the database by a backup: all of it, or nothing where anything fails.

    examples: hybrid-ml restore --path hybrid-ml.backup
              hybrid-ml restore --path hybrid-ml.backup --replace
    """

    path: Path = Field(description="file made with `hybrid-ml backup`")
    replace: bool = Field(False, description="also where the database has rows, which are removed")

    def cli_cmd(self) -> None:
        from hybrid_ml.cli import backup_commands

        backup_commands.restore(self.path, replace=self.replace, json_output=self.json_output)
