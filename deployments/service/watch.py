"""The readiness checks of one `hybrid-ml up`."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from deployments.provision.names import MONITOR
from deployments.service.parts import PostgresPart, ServerDatabase, ServerPart, ServicePart, WorkerPart
from deployments.service.readiness import Part, Readiness, answer_seconds
from deployments.service.server import DATABASE_VARIABLES
from deployments.service.supervisor import SupervisedProcess, Supervisor
from hybrid_ml.store.embedded import keep_embedded_running

DATABASE_CHECK_SECONDS = 2.0


class Watch:
    """Checks what the supervisor does not: readiness, and PostgreSQL, which is none of its services.

    `data_dir`: the folder of the embedded PostgreSQL, if it is needed.
    """

    def __init__(
        self, supervisor: Supervisor, api_url: str, data_dir: Path | None, silence_seconds: float,
        tell: Callable[[str, str], None],
    ) -> None:  # fmt: skip
        self._supervisor, self._tell = supervisor, tell
        answer = answer_seconds(silence_seconds)
        self._postgres = PostgresPart(data_dir, keep_embedded_running, tell, answer) if data_dir else None
        self._next_start = 0.0
        self._setting_up: subprocess.Popen[bytes] | None = None
        parts: list[Part] = [self._postgres] if self._postgres else []
        for service in supervisor.services:
            if service.name == "server":
                parts.append(ServerPart(service, api_url, _database(service, data_dir, answer), self._set_up, answer))
            elif service.name == "worker":
                parts.append(WorkerPart(service, socket.gethostname(), answer))
            else:
                parts.append(ServicePart(service, f"see its output, or run `hybrid-ml {service.name}` by hand"))
        self._readiness = Readiness(parts, silence_seconds, tell, self._report)

    def check(self) -> None:
        """Run the checks that are due; takes seconds where a part does not answer."""
        if self._postgres and time.monotonic() >= self._next_start:
            self._postgres.keep_running()
            self._next_start = time.monotonic() + DATABASE_CHECK_SECONDS
        self._readiness.check()

    def _report(self, part: str, problem: str) -> None:
        for service in self._supervisor.services:
            if service.name == MONITOR and service.channel is not None:
                service.channel.tell(part, problem)

    def _set_up(self) -> bool:
        """Set the server up in a separate process, which takes a while; returns whether that is done."""
        if self._setting_up is None:
            command = [sys.executable, "-m", "hybrid_ml.cli", "deploy"]
            self._setting_up = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
        returncode = self._setting_up.poll()
        if returncode is None:
            return False
        self._setting_up = None
        if returncode:
            self._tell("server", "its new database could not be set up; see `hybrid-ml deploy`; tried again soon")
            return False
        self._tell("server", "its database was gone and was created again, empty; fill in your blocks again")
        return True


def _database(server: SupervisedProcess, data_dir: Path | None, answer: float) -> ServerDatabase:
    """The server's database; ours to create where the environment names none."""
    address = next(server.environment[name] for name in DATABASE_VARIABLES if server.environment.get(name))
    is_ours = not any(os.environ.get(name) for name in DATABASE_VARIABLES)
    return ServerDatabase(address, data_dir if is_ours else None, answer)
