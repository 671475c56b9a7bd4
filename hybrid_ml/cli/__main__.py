"""`hybrid-ml COMMAND`: one sub-command for each flow, its flags taken from the flow's request.

Heavy libraries are imported when a command runs, so that `--help` answers at once.
"""

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import TypeVar

from pydantic import BaseModel, Field, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    CliApp,
    CliSubCommand,
    CliToggleFlag,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    get_subcommand,
)

from hybrid_ml.cli.backup_options import Backup, Restore
from hybrid_ml.cli.registry_options import Models, Output, Quiet
from hybrid_ml.cli.service_options import Deploy, Monitor, Status, Ui, Up, Worker
from hybrid_ml.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_MISUSED, HybridMLError
from hybrid_ml.schemas.requests import (
    AnalysisRequest,
    BackfillRequest,
    ReplayRequest,
    ReviewRequest,
    TrainingRequest,
)

PROGRAM = "hybrid-ml"
Request = TypeVar("Request", bound=BaseModel)


class Train(Output, Quiet, TrainingRequest):
    """Train a base model, judge it on rows it has not seen, and let it serve if it is better.

    examples: hybrid-ml train --progressive --validate
              hybrid-ml train --symbols BTCUSD,EOSUSD --week 6
    """

    def cli_cmd(self) -> None:
        from hybrid_ml.cli import run_commands

        run_commands.train(_request(self, TrainingRequest), json_output=self.json_output)


class Analyze(Output, Quiet, AnalysisRequest):
    """Ask the saved model about the next ten minutes; only a sure answer becomes an alert.

    examples: hybrid-ml analyze --preset balanced
              hybrid-ml analyze --symbol BTCUSD --fast_mode --as_of 2018-06-01T10:20
    """

    def cli_cmd(self) -> None:
        from hybrid_ml.cli import run_commands

        run_commands.analyze(_request(self, AnalysisRequest), json_output=self.json_output)


class Backfill(Output, Quiet, BackfillRequest):
    """Load bars into the database; loading the same bars again does no harm.

    examples: hybrid-ml backfill --source csv --csv_path bars.parquet --symbol BTCUSD
              hybrid-ml backfill --source demo --bars 30000
    """

    def cli_cmd(self) -> None:
        from hybrid_ml.cli import run_commands

        run_commands.backfill(_request(self, BackfillRequest), json_output=self.json_output)


class Replay(Output, Quiet, ReplayRequest):
    """Replay the past through the live decisions, and say what they were worth.

    examples: hybrid-ml replay --source csv --csv_path bars.parquet --symbol BTCUSD --start 2018-06-03 --weeks 4
              hybrid-ml replay --symbol BTCUSD --start 2018-06-03 --weeks 8 --predictions_path answers.parquet
    """

    def cli_cmd(self) -> None:
        from hybrid_ml.cli import run_commands

        run_commands.replay(_request(self, ReplayRequest), json_output=self.json_output)


class Review(Output, Quiet, ReviewRequest):
    """Look back on what was answered: what it was worth, and whether the market or the record has changed.

    examples: hybrid-ml review
              hybrid-ml review --symbol BTCUSD --days 7 --report_path review
    """

    def cli_cmd(self) -> None:
        from hybrid_ml.cli import run_commands

        run_commands.review(_request(self, ReviewRequest), json_output=self.json_output)


class Scaling(Output):
    """Show the timeline of progressive scaling: week by week the row limit, the bars there are, what was trained."""

    symbol: str | None = Field(None, description="symbol to look at; empty: the default one")

    def cli_cmd(self) -> None:
        from hybrid_ml.cli import run_commands

        run_commands.scaling(self.symbol, json_output=self.json_output)


class Bot(BaseModel):
    """Answer commands from the configured Telegram chats, until it is stopped with Ctrl-C or SIGTERM.

    In the chat: /status, /signals, /record, /pause, /resume, /help. It needs TELEGRAM_BOT_TOKEN and
    TELEGRAM_CHAT_ID; other chats get no answer. One runs a database; run it under something that starts
    it again, such as systemd. It answers no command twice, whenever it is ended.

    examples: hybrid-ml bot
    """

    def cli_cmd(self) -> None:
        from hybrid_ml.cli import bot_command

        bot_command.bot()


class Check(Output):
    """Check this installation: database, schema, freshness, model, Telegram, Prefect, and a dry run of the job."""

    def cli_cmd(self) -> None:
        from hybrid_ml.cli import run_commands

        run_commands.check(json_output=self.json_output)


class Migrate(BaseModel):
    """Bring the database's schema to the newest version; the embedded database does so by itself."""

    def cli_cmd(self) -> None:
        from hybrid_ml.cli.migrate_command import migrate

        migrate()


class Demo(Quiet):
    """Do the main job once on simulated bars in the embedded database."""

    def cli_cmd(self) -> None:
        os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")  # the screen tells the story
        from hybrid_ml.cli import run_commands

        run_commands.demo()


class Root(BaseSettings):
    """Ten-minute signals from one-minute bars: train weekly, fine-tune every ten minutes, alert only when sure."""

    model_config = SettingsConfigDict(
        cli_prog_name=PROGRAM, cli_implicit_flags=True, cli_hide_none_type=True, cli_avoid_json=True, extra="forbid"
    )

    version: CliToggleFlag[bool] = Field(False, description="show which version this is, and do nothing else")
    train: CliSubCommand[Train] = Field(description="train a base model (weekly)")
    analyze: CliSubCommand[Analyze] = Field(description="ask about the next ten minutes (every ten minutes)")
    backfill: CliSubCommand[Backfill] = Field(description="load bars into the database")
    replay: CliSubCommand[Replay] = Field(description="the past through the live decisions, and its worth")
    review: CliSubCommand[Review] = Field(description="what the answers were worth, and whether something changed")
    scaling: CliSubCommand[Scaling] = Field(description="show how the training window grows")
    models: CliSubCommand[Models] = Field(description="look at the models, roll back, export, import")
    backup: CliSubCommand[Backup] = Field(description="write everything of the database into one file")
    restore: CliSubCommand[Restore] = Field(description="bring a backup back")
    bot: CliSubCommand[Bot] = Field(description="answer commands from the Telegram chats")
    check: CliSubCommand[Check] = Field(description="check this installation")
    migrate: CliSubCommand[Migrate] = Field(description="bring the database's schema up to date")
    up: CliSubCommand[Up] = Field(description="start everything and keep it going")
    ui: CliSubCommand[Ui] = Field(description="open the Prefect UI, signed in")
    status: CliSubCommand[Status] = Field(description="what runs, when next, and how the last runs ended")
    deploy: CliSubCommand[Deploy] = Field(description="set up a Prefect server that is there already")
    worker: CliSubCommand[Worker] = Field(description="work for the pool")
    monitor: CliSubCommand[Monitor] = Field(description="tell when the service is ill, and when it is well again")
    demo: CliSubCommand[Demo] = Field(description="the main job once, on simulated bars")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  # the signature is pydantic-settings'
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags come from the command line alone; an environment variable named like one must not slip in."""
        return (init_settings,)


def _request(flags: BaseModel, request: type[Request]) -> Request:
    return request(**flags.model_dump(exclude={"json_output", "quiet"}))


def _flag(problem: ErrorDetails) -> str:
    """A validation error as `--week=-1: Input should be greater than or equal to 0`."""
    name = next((str(part) for part in reversed(problem["loc"]) if isinstance(part, str)), "")
    text = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "missing":
        return f"--{name} is required"
    flag = {"json_output": "json", "full_report": "validate"}.get(name, name)
    return f"--{flag} {problem['input']}: {text}" if name and problem["type"] != "value_error" else text


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command. Exits 0 when it was done, 1 when it failed, 2 when it was asked the impossible."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    # Prefect's library tells its makers that it is used, if only that; here a person decides whether it does.
    os.environ.setdefault("DO_NOT_TRACK", "true")
    try:
        root = _parsed(given)
        if root.version:
            print(PROGRAM, version(PROGRAM))
            return
        command = get_subcommand(root)
        if isinstance(command, Quiet):
            command.silence_info_lines()
        CliApp.run_subcommand(root)
    except SettingsError as error:
        print(f"{PROGRAM}: error: {error}", file=sys.stderr)
        raise SystemExit(EXIT_MISUSED) from None
    except HybridMLError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        raise SystemExit(EXIT_FAILED) from None
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(EXIT_INTERRUPTED) from None
    except Exception as error:
        if (line := _database_problem(error) or _server_problem(error)) is None:
            raise
        print(f"{PROGRAM}: {line}", file=sys.stderr)
        raise SystemExit(EXIT_FAILED) from None
    finally:
        if "tasks.server" in sys.modules:  # a run has been at work, which speaks to a Prefect server
            sys.modules["tasks.server"].drain()


def _parsed(given: list[str]) -> Root:
    """The command with its flags; ends with EXIT_MISUSED where they are none."""
    try:
        return CliApp.run(Root, cli_args=[*given, "--help"] if given in ([], ["models"]) else given)
    except ValidationError as error:
        for problem in error.errors():
            print(f"{PROGRAM}: error: {_flag(problem)}", file=sys.stderr)
        print(f"see `{PROGRAM} {' '.join(given[:1])} --help`", file=sys.stderr)
        raise SystemExit(EXIT_MISUSED) from None


def _server_problem(error: Exception) -> str | None:
    """A line where what answers for the Prefect server is none, or none could be started; None for any other."""
    if isinstance(error, ValidationError):
        return f"the Prefect server's answer is none of Prefect's ({error.title}); check PREFECT_API_URL"
    if isinstance(error, RuntimeError) and "ephemeral Prefect API server" in str(error):
        return "Prefect's temporary server did not start in time; try again, or start `hybrid-ml up` first"
    return None


def _database_problem(error: Exception) -> str | None:
    """A line for an error of the database that `store.database_errors` gives no remedy for; None for any other."""
    if "sqlalchemy" not in sys.modules:  # then it is none of its errors, and need not be imported to see that
        return None
    from sqlalchemy.exc import SQLAlchemyError

    from hybrid_ml.store.database_errors import describe

    return f"the database refused a statement: {describe(error)}" if isinstance(error, SQLAlchemyError) else None


if __name__ == "__main__":
    main()
