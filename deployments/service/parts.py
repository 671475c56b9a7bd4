"""The parts of `hybrid-ml up`: how each is checked and replaced, and the message when that does not help."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import psycopg2
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectException
from prefect.settings import PREFECT_API_REQUEST_TIMEOUT, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from deployments.provision.names import SERVER_EXTENSIONS
from deployments.service.probes import NO_DATABASE, database_problem, has_database, server_problem
from deployments.service.supervisor import LONGEST_WAIT_SECONDS, SupervisedProcess, format_exit
from deployments.status.collect import online_workers
from hybrid_ml.pipeline.backoff import backoff_seconds
from hybrid_ml.store.embedded import limit_embedded_log, start_embedded

QUIT_SECONDS = 10.0


class ServicePart:
    """A process of the supervisor. `problem`: why it is not ready."""

    start_seconds = 120.0
    whole_group = False
    """Whether its child processes are ended with it. The worker's flow processes are not: they run to their end."""

    def __init__(self, service: SupervisedProcess, advice: str) -> None:
        self.name, self.service, self._advice = service.name, service, advice

    @property
    def starts(self) -> int:
        return self.service.starts

    @property
    def is_alive(self) -> bool:
        return self.service.process is not None and not self.service.has_ended()

    def problem(self) -> str | None:
        """Ready when it has sent a sign of life on its channel."""
        channel = self.service.channel
        return "" if channel is not None and channel.has_sign_of_life() else "it sends no sign of life"

    def replace(self) -> None:
        if self.service.process is None:
            return
        with suppress(ProcessLookupError):
            if self.whole_group:
                os.killpg(self.service.process.pid, signal.SIGKILL)
            else:
                self.service.process.kill()

    def diagnosis(self, problem: str) -> str:
        process = self.service.process
        ended = process.returncode if process is not None else None
        return f"{self.name} is not ready ({format_exit(ended) if ended is not None else problem}); {self._advice}"


class WorkerPart(ServicePart):
    """The worker, by its heartbeats on the server."""

    def __init__(self, service: SupervisedProcess, worker_name: str, answer_seconds: float) -> None:
        super().__init__(service, "see its output, or run `hybrid-ml worker` by hand")
        self._worker_name, self._answer_seconds = worker_name, answer_seconds

    def problem(self) -> str | None:
        limits = {PREFECT_API_REQUEST_TIMEOUT: self._answer_seconds, PREFECT_CLIENT_MAX_RETRIES: 0}
        try:
            with temporary_settings(limits), get_client(sync_client=True) as client:
                online = online_workers(client)
        except (httpx.HTTPError, PrefectException, OSError, ValueError):
            return None  # an error of the server is reported for the server
        return "" if self._worker_name in online else f"the server gets no heartbeat of {self._worker_name}"


class ServerPart(ServicePart):
    """Our own Prefect server with its database.

    `database`: can create its database again, where it is ours; `set_up`: fills it once the server is ready, returns
    whether that worked.
    """

    whole_group = True

    def __init__(
        self, service: SupervisedProcess, api_url: str, database: "ServerDatabase", set_up: Callable[[], bool],
        answer_seconds: float,
    ) -> None:  # fmt: skip
        super().__init__(service, "see its output")
        self._api_url, self._database, self._set_up = api_url, database, set_up
        self._answer_seconds, self._is_empty = answer_seconds, False

    def problem(self) -> str | None:
        problem = server_problem(self._api_url, self._answer_seconds)
        if not problem and self._is_empty:
            self._is_empty = not self._set_up()
        elif problem and self._database.make_again():
            self._is_empty = True
            self.replace()  # it creates its tables when it starts
        return problem

    def diagnosis(self, problem: str) -> str:
        text = self._database.problem()
        if text:
            return text
        if problem == NO_DATABASE:
            return "the Prefect server does not reach its database, which exists; see its output"
        return super().diagnosis(problem)


class ServerDatabase:
    """The server's database at `address`. `folder`: of the embedded PostgreSQL, where that holds it."""

    def __init__(self, address: str, folder: Path | None, answer_seconds: float) -> None:
        self._address, self._folder, self._answer_seconds = address, folder, answer_seconds
        self._name = urlsplit(address).path.strip("/")
        self._always_there = start_embedded(folder, "postgres") if folder else ""

    def make_again(self) -> bool:
        """Create the database, empty, where the embedded PostgreSQL runs and lost it; returns whether that was so."""
        if self._folder is None:
            return False
        try:
            if has_database(self._always_there, self._name, self._answer_seconds):
                return False
        except psycopg2.Error:
            return False
        start_embedded(self._folder, self._name, SERVER_EXTENSIONS)
        return True

    def problem(self) -> str:
        """What is wrong with it and the remedy; empty where nothing is, or where it is no PostgreSQL."""
        if not self._address.startswith("postgres"):
            return ""
        text = database_problem(self._address, self._answer_seconds)
        if "does not exist" in text:
            return f"the server's database {self._name} is gone ({text}); create it, empty, or restore it"
        return f"the server's database {self._name} does not answer ({text}); start its PostgreSQL" if text else ""


class PostgresPart:
    """The embedded PostgreSQL. `start_again`: starts it where it has ended; returns why that failed."""

    name, start_seconds = "database", 60.0

    def __init__(
        self, folder: Path, start_again: Callable[[Path], str], tell: Callable[[str, str], None], answer_seconds: float
    ) -> None:
        self._folder, self._start_again, self._tell, self._answer_seconds = folder, start_again, tell, answer_seconds
        self._address = start_embedded(folder, "postgres")
        self.starts, self._failures, self._next_start, self._trouble = 0, 0, 0.0, ""

    @property
    def is_alive(self) -> bool:
        return self._postmaster() is not None

    def keep_running(self) -> None:
        """Start it where it has ended, after increasing waits where that does not help."""
        now = time.monotonic()
        if self.is_alive:
            limit_embedded_log(self._folder)
            if now > self._next_start + LONGEST_WAIT_SECONDS:
                self._failures = 0
            return
        if now < self._next_start:
            return
        self.starts += 1
        trouble = self._start_again(self._folder)
        if trouble and trouble != self._trouble:
            self._tell(self.name, trouble)
        self._trouble = trouble
        self._failures += 1
        self._next_start = time.monotonic() + backoff_seconds(self._failures, LONGEST_WAIT_SECONDS)

    def problem(self) -> str | None:
        return (
            database_problem(self._address, self._answer_seconds) if self.is_alive else self._trouble or "it has ended"
        )

    def replace(self) -> None:
        """Shut it down immediately, which keeps committed data; processes that do not end are killed."""
        postmaster = self._postmaster()
        if postmaster is None:
            return
        processes = [postmaster, *postmaster.children(recursive=True)]
        for process in processes:
            with suppress(psutil.Error):
                process.send_signal(signal.SIGQUIT)
                process.send_signal(signal.SIGCONT)
        _, remaining = psutil.wait_procs(processes, QUIT_SECONDS)
        for process in remaining:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(remaining, QUIT_SECONDS)

    def diagnosis(self, problem: str) -> str:
        folder = self._folder / "postgres"
        return f"the embedded PostgreSQL in {folder} does not answer ({problem}); see {folder / 'log'}"

    def _postmaster(self) -> psutil.Process | None:
        try:
            pid = int((self._folder / "postgres" / "postmaster.pid").read_text().split()[0])
            process = psutil.Process(pid)
            return None if process.status() == psutil.STATUS_ZOMBIE else process
        except (OSError, ValueError, IndexError, psutil.Error):
            return None
