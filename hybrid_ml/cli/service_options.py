"""The commands that operate the service: `hybrid-ml up`, `deploy`, `worker`, `monitor`, `status`."""

from pydantic import BaseModel, Field

from hybrid_ml.cli.registry_options import Output

PORT = 4200


class Up(BaseModel):
    """Start what is missing and keep it going until Ctrl-C: database, Prefect server, deployments, worker, bot.

    Uses the server of PREFECT_API_URL where that is set, else starts one of its own on this machine alone.

    examples: hybrid-ml up
              hybrid-ml up --port 4300
    """

    host: str = Field(
        "127.0.0.1", description="address the server listens on; others than this machine's own need a proxy with TLS"
    )
    port: int = Field(PORT, ge=1, le=65_535, description="port of the server and its UI")

    def cli_cmd(self) -> None:
        from deployments.service.up import up

        up(self.host, self.port)


class Ui(BaseModel):
    """Open the Prefect UI of `hybrid-ml up` in a browser, signed in.

    Without a browser on this machine it prints where the UI is and how to sign in.

    examples: hybrid-ml ui
    """

    def cli_cmd(self) -> None:
        from hybrid_ml.cli import service_commands

        service_commands.ui()


class Deploy(BaseModel):
    """Set up the server of PREFECT_API_URL: pool, deployments of prefect.yaml, blocks.

    Doing it again changes nothing that a person changed there. `hybrid-ml up` does it by itself.

    examples: PREFECT_API_URL=http://prefect:4200/api hybrid-ml deploy
    """

    def cli_cmd(self) -> None:
        from hybrid_ml.cli import service_commands

        service_commands.deploy()


class Worker(BaseModel):
    """Work for the pool until Ctrl-C, on as many machines as you like. `hybrid-ml up` starts one by itself.

    examples: PREFECT_API_URL=http://prefect:4200/api hybrid-ml worker
    """

    name: str | None = Field(None, description="name of this worker in the UI; empty: one is made up")

    def cli_cmd(self) -> None:
        from hybrid_ml.cli import service_commands

        service_commands.worker(self.name)


class Monitor(BaseModel):
    """Look after the service until Ctrl-C, and tell once when something is wrong and once when it is over.

    It looks at disk, database, bars, alerts, the Prefect server, worker and runs, and tells the Telegram chats
    (HYBRID_ML_HEALTH_CHAT_ID) and a webhook (HYBRID_ML_HEALTH_WEBHOOK_URL); after each good slot it asks
    HYBRID_ML_HEARTBEAT_URL. `hybrid-ml up` starts one by itself; elsewhere run one an installation.

    examples: PREFECT_API_URL=http://prefect:4200/api hybrid-ml monitor
    """

    def cli_cmd(self) -> None:
        from hybrid_ml.cli import service_commands

        service_commands.monitor()


class Status(Output):
    """Say what runs, when the next runs are, how the last ones ended, which models serve and how fresh the bars are.

    Exits 1 where something is missing that the service needs.

    examples: hybrid-ml status
              hybrid-ml status --json
    """

    def cli_cmd(self) -> None:
        from hybrid_ml.cli import service_commands

        service_commands.status(json_output=self.json_output)
