"""The commands that operate the service: `hybrid-ml up`, `deploy`, `worker`, `monitor`, `status`."""

from pydantic import BaseModel, Field, model_validator

from hybrid_ml.cli.registry_options import Output
from hybrid_ml.schemas.backfill_request import Days, Exchange
from hybrid_ml.schemas.fields import Symbols

PORT = 4200


class Up(BaseModel):
    """Start what is missing and keep it running until Ctrl-C: database, Prefect server, deployments, worker, bot.

    Uses the server of PREFECT_API_URL where that is set, else starts one of its own, for this machine only.

    With --symbols it adds those that are new: it loads their history from the exchange, trains a model for each and
    answers for the first time; from then on every slot brings their bars up to date by itself.

    examples: hybrid-ml up
              hybrid-ml up --exchange binance --symbols BTCUSDT,ETHUSDT
              hybrid-ml up --port 4300
    """

    host: str = Field(
        "127.0.0.1", description="address the server listens on; others than this machine's own need a proxy with TLS"
    )
    port: int = Field(PORT, ge=1, le=65_535, description="port of the server and its UI")

    exchange: Exchange | None = Field(None, description="exchange of the symbols to add; empty: binance")
    symbols: Symbols = Field([], description="symbols to add, as the exchange writes them, comma separated")
    days: Days = 90
    full_window: bool = Field(
        False, description="train added symbols on 80,000 rows at once, not on 23,000 in the first week"
    )

    @model_validator(mode="after")
    def _exchange_has_symbols(self) -> "Up":
        if self.exchange and not self.symbols:
            raise ValueError(f"--exchange {self.exchange} needs --symbols NAMES, such as BTCUSDT,ETHUSDT")
        return self

    def cli_cmd(self) -> None:
        from deployments.service.up import up
        from hybrid_ml.schemas.add_symbols_request import AddSymbolsRequest

        stated = {"exchange": self.exchange or "binance", "symbols": self.symbols, "days": self.days}
        added = AddSymbolsRequest(**stated, full_window=self.full_window) if self.symbols else None
        up(self.host, self.port, added)


class Ui(BaseModel):
    """Open the Prefect UI of `hybrid-ml up` in a browser, signed in.

    Without a browser on this machine it prints the UI's address and how to sign in.

    examples: hybrid-ml ui
    """

    def cli_cmd(self) -> None:
        from hybrid_ml.cli import service_commands

        service_commands.ui()


class Deploy(BaseModel):
    """Set up the server of PREFECT_API_URL: pool, deployments of prefect.yaml, blocks.

    A second call changes nothing that a person changed there. `hybrid-ml up` does this by itself.

    examples: PREFECT_API_URL=http://prefect:4200/api hybrid-ml deploy
    """

    def cli_cmd(self) -> None:
        from hybrid_ml.cli import service_commands

        service_commands.deploy()


class Worker(BaseModel):
    """Run a worker of the pool until Ctrl-C, on any number of machines. `hybrid-ml up` starts one by itself.

    examples: PREFECT_API_URL=http://prefect:4200/api hybrid-ml worker
    """

    name: str | None = Field(None, description="name of this worker in the UI; empty: a random one")

    def cli_cmd(self) -> None:
        from hybrid_ml.cli import service_commands

        service_commands.worker(self.name)


class Monitor(BaseModel):
    """Monitor the service until Ctrl-C; report each problem once when it begins and once when it is over.

    It checks disk, database, bars, alerts, the Prefect server, worker and runs, and reports to the Telegram chats
    (HYBRID_ML_HEALTH_CHAT_ID) and a webhook (HYBRID_ML_HEALTH_WEBHOOK_URL); after each good slot it requests
    HYBRID_ML_HEARTBEAT_URL. `hybrid-ml up` starts one by itself; elsewhere run one for each installation.

    examples: PREFECT_API_URL=http://prefect:4200/api hybrid-ml monitor
    """

    def cli_cmd(self) -> None:
        from hybrid_ml.cli import service_commands

        service_commands.monitor()


class Status(Output):
    """Show what runs, the next runs, how the last ones ended, the models in use and the age of the bars.

    Exits 1 where something is missing that the service needs.

    examples: hybrid-ml status
              hybrid-ml status --json
    """

    def cli_cmd(self) -> None:
        from hybrid_ml.cli import service_commands

        service_commands.status(json_output=self.json_output)
