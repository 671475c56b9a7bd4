"""`hybrid-ml COMMAND`: one sub-command for each flow, its flags taken from the flow's request.

Heavy libraries are imported when a command runs, so that `--help` is fast.
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
from hybrid_ml.cli.sessions_options import Sessions
from hybrid_ml.cli.symbol_options import Data, ManageBars, ManageSymbols
from hybrid_ml.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_MISUSED, HybridMLError
from hybrid_ml.schemas.backfill_request import BackfillRequest
from hybrid_ml.schemas.requests import AnalysisRequest, RepairRequest, ReplayRequest, ReviewRequest, TrainingRequest

PROGRAM = "hybrid-ml"
GROUPS = [["models"], ["symbols"], ["bars"], ["sessions"]]
"""Commands that have commands of their own: without one they show which."""
Request = TypeVar("Request", bound=BaseModel)


class Train(Output, Quiet, TrainingRequest):
    """Train a base model, evaluate it on rows it has not seen, and use it if it is better.

    examples: hybrid-ml train --progressive --validate
              hybrid-ml train --symbols BTCUSD,EOSUSD --week 6
    """

    def cli_cmd(self) -> None:
        from hybrid_ml.cli import run_commands

        run_commands.train(_request(self, TrainingRequest), json_output=self.json_output)


class Analyze(Output, Quiet, AnalysisRequest):
    """Compute answers for the next ten minutes with the saved models; those that pass every gate become alerts.

    examples: hybrid-ml analyze --preset balanced
              hybrid-ml analyze --symbol BTCUSD --fast_mode --as_of 2018-06-01T10:20
    """

    def cli_cmd(self) -> None:
        from hybrid_ml.cli import run_commands

        run_commands.analyze(_request(self, AnalysisRequest), json_output=self.json_output)


class Backfill(Output, Quiet, BackfillRequest):
    """Load bars into the database; loading the same bars again does no harm.

    examples: hybrid-ml backfill --source csv --csv_path bars.parquet --symbol BTCUSD
              hybrid-ml backfill --source exchange --exchange binance --symbols BTCUSDT,ETHUSDT --days 90
              hybrid-ml backfill --source demo --bars 30000
    """

    def cli_cmd(self) -> None:
        from hybrid_ml.cli import run_commands

        run_commands.backfill(_request(self, BackfillRequest), json_output=self.json_output)


class Repair(Output, Quiet, RepairRequest):
    """Ask exchanges and other feeds for what is missing of their bars, the newest first.

    A deployment does this once an hour.

    examples: hybrid-ml repair
              hybrid-ml repair --symbols BTCUSDT
    """

    def cli_cmd(self) -> None:
        from hybrid_ml.cli import run_commands

        run_commands.repair(_request(self, RepairRequest), json_output=self.json_output)


class Replay(Output, Quiet, ReplayRequest):
    """Replay past bars through the live decisions, and measure them.

    examples: hybrid-ml replay --source csv --csv_path bars.parquet --symbol BTCUSD --start 2018-06-03 --weeks 4
              hybrid-ml replay --symbol BTCUSD --start 2018-06-03 --weeks 8 --predictions_path answers.parquet
    """

    def cli_cmd(self) -> None:
        from hybrid_ml.cli import run_commands

        run_commands.replay(_request(self, ReplayRequest), json_output=self.json_output)


class Review(Output, Quiet, ReviewRequest):
    """Evaluate past answers: their metrics, and drift of features or accuracy.

    examples: hybrid-ml review
              hybrid-ml review --symbol BTCUSD --days 7 --report_path review
    """

    def cli_cmd(self) -> None:
        from hybrid_ml.cli import run_commands

        run_commands.review(_request(self, ReviewRequest), json_output=self.json_output)


class Scaling(Output):
    """Show the timeline of progressive scaling: for each week the row limit, the bars and the trainings."""

    symbol: str | None = Field(None, description="symbol to show; empty: the default one")

    def cli_cmd(self) -> None:
        from hybrid_ml.cli import run_commands

        run_commands.scaling(self.symbol, json_output=self.json_output)


class Bot(BaseModel):
    """Reply to commands from the configured Telegram chats, until it is stopped with Ctrl-C or SIGTERM.

    In the chat: /status, /signals, /record, /pause, /resume, /help. It needs TELEGRAM_BOT_TOKEN and
    TELEGRAM_CHAT_ID; other chats get no reply. Run one for each database, under something that restarts
    it, such as systemd. It answers no command twice, whenever it is ended.

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
    """Migrate the database's schema to the newest version; the embedded database does so by itself."""

    def cli_cmd(self) -> None:
        from hybrid_ml.cli.migrate_command import migrate

        migrate()


class Demo(Quiet):
    """Run the main job once on simulated bars in the embedded database."""

    def cli_cmd(self) -> None:
        os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")  # the output of the demo is enough
        from hybrid_ml.cli import run_commands

        run_commands.demo()


class Root(BaseSettings):
    """Ten-minute signals from one-minute bars: train weekly, fine-tune every ten minutes, alert only when sure."""

    model_config = SettingsConfigDict(
        cli_prog_name=PROGRAM, cli_implicit_flags=True, cli_hide_none_type=True, cli_avoid_json=True, extra="forbid"
    )

    version: CliToggleFlag[bool] = Field(False, description="show the version, and do nothing else")
    train: CliSubCommand[Train] = Field(description="train a base model (weekly)")
    analyze: CliSubCommand[Analyze] = Field(description="compute answers for the next ten minutes (every ten minutes)")
    backfill: CliSubCommand[Backfill] = Field(description="load bars into the database")
    repair: CliSubCommand[Repair] = Field(description="ask feeds for missing bars (hourly)")
    symbols: CliSubCommand[ManageSymbols] = Field(description="list the symbols, add, remove, rename")
    bars: CliSubCommand[ManageBars] = Field(description="remove bars")
    data: CliSubCommand[Data] = Field(description="how complete the bars are, by symbol and day")
    replay: CliSubCommand[Replay] = Field(description="past bars through the live decisions, with metrics")
    review: CliSubCommand[Review] = Field(description="metrics of the answers, and drift")
    scaling: CliSubCommand[Scaling] = Field(description="show how the training window grows")
    models: CliSubCommand[Models] = Field(description="list the models, roll back, export, import")
    sessions: CliSubCommand[Sessions] = Field(description="when markets are open: load, list, choose a calendar")
    backup: CliSubCommand[Backup] = Field(description="write the whole database into one file")
    restore: CliSubCommand[Restore] = Field(description="restore a backup")
    bot: CliSubCommand[Bot] = Field(description="reply to commands from the Telegram chats")
    check: CliSubCommand[Check] = Field(description="check this installation")
    migrate: CliSubCommand[Migrate] = Field(description="bring the database's schema up to date")
    up: CliSubCommand[Up] = Field(description="start everything and keep it running")
    ui: CliSubCommand[Ui] = Field(description="open the Prefect UI, signed in")
    status: CliSubCommand[Status] = Field(description="what runs, when next, and how the last runs ended")
    deploy: CliSubCommand[Deploy] = Field(description="set up an existing Prefect server")
    worker: CliSubCommand[Worker] = Field(description="run a worker of the pool")
    monitor: CliSubCommand[Monitor] = Field(description="report when the service has a problem, and when it is over")
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
        """Flags come from the command line only; an environment variable of the same name must not set one."""
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
    """Run one command. Exits 0 when it succeeded, 1 when it failed, 2 when its input was invalid."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    # Prefect's library sends telemetry by default; here a person decides whether it does.
    os.environ.setdefault("DO_NOT_TRACK", "true")
    try:
        root = _parsed(words)
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
        if "tasks.server" in sys.modules:  # a flow has run, which sends events to a Prefect server
            sys.modules["tasks.server"].drain()


def _parsed(words: list[str]) -> Root:
    """The command with its flags; ends with EXIT_MISUSED where they are not valid."""
    try:
        return CliApp.run(Root, cli_args=[*words, "--help"] if words == [] or words in GROUPS else words)
    except ValidationError as error:
        for problem in error.errors():
            print(f"{PROGRAM}: error: {_flag(problem)}", file=sys.stderr)
        print(f"see `{PROGRAM} {' '.join(words[:1])} --help`", file=sys.stderr)
        raise SystemExit(EXIT_MISUSED) from None


def _server_problem(error: Exception) -> str | None:
    """One line where the answer is not from a Prefect server, or none could be started; None for any other error."""
    if isinstance(error, ValidationError):
        return f"the Prefect server's answer is not valid ({error.title}); check PREFECT_API_URL"
    if type(error).__name__ == "PrefectHTTPStatusError":
        return (
            f"the Prefect server refuses this command ({str(error).splitlines()[0]}); if `hybrid-ml up` has just been "
            "started, run the command again, else check PREFECT_API_URL and PREFECT_API_AUTH_STRING"
        )
    if isinstance(error, RuntimeError) and "ephemeral Prefect API server" in str(error):
        return "Prefect's temporary server did not start in time; try again, or start `hybrid-ml up` first"
    return None


def _database_problem(error: Exception) -> str | None:
    """One line for a database error without a remedy in `store.database_errors`; None for any other error."""
    if "sqlalchemy" not in sys.modules:  # then it is none of its errors, and it need not be imported
        return None
    from sqlalchemy.exc import SQLAlchemyError

    from hybrid_ml.store.database_errors import describe

    return f"the database refused a statement: {describe(error)}" if isinstance(error, SQLAlchemyError) else None


if __name__ == "__main__":
    main()
