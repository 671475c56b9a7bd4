"""`hybrid-ml symbols COMMAND`, `hybrid-ml bars COMMAND`, `hybrid-ml data`: their flags."""

from pathlib import Path

from pydantic import AliasChoices, BaseModel, Field, model_validator
from pydantic_settings import CliApp, CliSubCommand

from hybrid_ml.cli.registry_options import Output, Quiet
from hybrid_ml.schemas.add_symbols_request import AddSymbolsRequest
from hybrid_ml.schemas.fields import Moment, Symbol, Symbols


class Confirmed(BaseModel):
    """Whether a command that removes or renames does so."""

    yes: bool = Field(False, description="do it; without it the command only shows what it would do")


class ListSymbols(Output):
    """List the symbols: where their bars come from, the first and the last, and whether there is a champion.

    A symbol has ended when no feed brings bars of it and its last bar is older than seven days; runs that name no
    symbols leave it out. Bars are counted where a feed gave them, by the bar coverage.

    examples: hybrid-ml symbols list
    """

    def cli_cmd(self) -> None:
        from hybrid_ml.cli import symbol_commands

        symbol_commands.list_all(json_output=self.json_output)


class AddSymbols(Output, Quiet, AddSymbolsRequest):
    """Load the history of symbols of an exchange, train a model for each, and answer for the first time.

    From then on every run keeps their bars up to date.

    examples: hybrid-ml symbols add --symbols BTCUSDT,ETHUSDT
              hybrid-ml symbols add --symbols BTCUSDT --exchange binanceus --days 60 --full_window
    """

    def cli_cmd(self) -> None:
        from hybrid_ml.cli import run_commands

        request = AddSymbolsRequest(**self.model_dump(exclude={"json_output", "quiet"}))
        run_commands.add_symbols(request, json_output=self.json_output)


class RemoveSymbols(Output, Confirmed):
    """Remove the bars of symbols, and what belongs to them: feed, bar coverage, revisions, rejected rows, local copies.

    Models in the registry, predictions and alerts stay, so that answers that were given can still be checked; a symbol
    whose bars are loaded again goes on with its champion. Runs that name no symbols no longer work on a removed one.

    examples: hybrid-ml symbols remove --symbols EOSUSD
              hybrid-ml symbols remove --symbols EOSUSD --yes
    """

    symbols: Symbols = Field(
        validation_alias=AliasChoices("symbols", "symbol"), description="which ones, comma separated"
    )

    def cli_cmd(self) -> None:
        from hybrid_ml.cli import symbol_commands

        symbol_commands.remove(self.symbols, yes=self.yes, json_output=self.json_output)


class RenameSymbol(Output, Confirmed):
    """Give a symbol another name everywhere: bars, models, predictions, alerts, local copies.

    Models state their symbol, so their versions get new names, in predictions and events as well; texts that were
    written or sent before stay as they are. A feed goes on under the new name.

    examples: hybrid-ml symbols rename --symbol XBTUSD --to BTCUSD
              hybrid-ml symbols rename --symbol XBTUSD --to BTCUSD --yes
    """

    symbol: Symbol = Field(description="present name")
    to: Symbol = Field(description="new name, which nothing may have yet")

    def cli_cmd(self) -> None:
        from hybrid_ml.cli import symbol_commands

        symbol_commands.rename(self.symbol, self.to, yes=self.yes, json_output=self.json_output)


class ManageSymbols(BaseModel):
    """List symbols, add those of an exchange, remove or rename one."""

    listing: CliSubCommand[ListSymbols] = Field(alias="list", description="the symbols, and where their bars are from")
    add: CliSubCommand[AddSymbols] = Field(description="load, train and answer for symbols of an exchange")
    remove: CliSubCommand[RemoveSymbols] = Field(description="remove symbols and their bars")
    rename: CliSubCommand[RenameSymbol] = Field(description="give a symbol another name")

    def cli_cmd(self) -> None:
        CliApp.run_subcommand(self)


class RemoveBars(Output, Confirmed):
    """Remove the bars of a symbol within a period, and their revisions.

    The bar coverage of the period is forgotten, so the next repair asks the symbol's feed for these bars again, unless
    --for_good says that it shall not. Predictions keep their outcomes.

    examples: hybrid-ml bars remove --symbol BTCUSDT --from 2026-11-02 --until 2026-11-03
              hybrid-ml bars remove --symbol BTCUSD --until 2017-01-01 --yes
    """

    symbol: Symbol = Field(description="symbol of the bars")
    since: Moment | None = Field(
        None, validation_alias="from", description="the first minute to remove, UTC; empty: from the first bar on"
    )
    until: Moment | None = Field(
        None, description="the first minute that stays, UTC; empty: up to the last bar; one of both must be stated"
    )
    for_good: bool = Field(
        False, description="never ask the feed for these bars again: they count as missing at the source"
    )

    @model_validator(mode="after")
    def _period_is_one(self) -> "RemoveBars":
        if self.since is None and self.until is None:
            raise ValueError(
                f"state --from, --until or both; `hybrid-ml symbols remove --symbols {self.symbol}` removes all bars"
            )
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise ValueError(f"--from {self.since:%Y-%m-%dT%H:%M} is not before --until {self.until:%Y-%m-%dT%H:%M}")
        return self

    def cli_cmd(self) -> None:
        from hybrid_ml.cli import symbol_commands

        symbol_commands.remove_period(
            self.symbol,
            self.since,
            self.until,
            for_good=self.for_good,
            yes=self.yes,
            json_output=self.json_output,
        )


class ManageBars(BaseModel):
    """Remove bars."""

    remove: CliSubCommand[RemoveBars] = Field(description="remove the bars of a period")

    def cli_cmd(self) -> None:
        CliApp.run_subcommand(self)


class Data(Output):
    """Show how complete the bars of each symbol are: the share of minutes with a bar, and what is known of the others.

    A share is of the minutes in which there may be a bar; of bars from files that is what their fullest day has. The
    hourly repair writes the same with its heat map as the page `bars`.

    examples: hybrid-ml data
              hybrid-ml data --symbols BTCUSDT,ETHUSDT --days 90 --picture bars.png
    """

    symbols: Symbols = Field(
        [],
        validation_alias=AliasChoices("symbols", "symbol"),
        description="which ones, comma separated; empty: all that have not ended",
    )
    days: int = Field(30, ge=1, le=366, description="number of days, today's included")
    picture: Path | None = Field(
        None, description="PNG file for a heat map, one row a symbol, one column a day; empty: none"
    )

    def cli_cmd(self) -> None:
        from hybrid_ml.cli import symbol_commands

        symbol_commands.data(self.symbols, self.days, self.picture, json_output=self.json_output)
