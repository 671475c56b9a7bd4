"""What `hybrid-ml deploy`, `worker` and `status` do."""

import os
import sys
from datetime import UTC, datetime

from deployments.running import join_running_server
from hybrid_ml.errors import EXIT_FAILED, BadInput
from hybrid_ml.terminal import out


def deploy() -> None:
    """`hybrid-ml deploy`."""
    _need_server()
    from deployments.set_up import set_up

    for line in set_up():
        out.print(line)


def worker(name: str | None, *, cold: bool) -> None:
    """`hybrid-ml worker`."""
    _need_server()
    from deployments.set_up import check_pool
    from deployments.worker import run_worker

    check_pool()
    run_worker(cold=cold, name=name)


def status(*, json_output: bool) -> None:
    """`hybrid-ml status`."""
    join_running_server()
    from deployments.status import look
    from deployments.status_console import show_status

    found = look(datetime.now(UTC))
    if json_output:
        sys.stdout.write(found.model_dump_json(indent=2) + "\n")
    else:
        show_status(found)
    if found.problems:
        raise SystemExit(EXIT_FAILED)


def _need_server() -> None:
    """Raises BadInput where no server is named: Prefect would start one that lives as long as this command."""
    join_running_server()
    from prefect.settings import get_current_settings

    if not (os.environ.get("PREFECT_API_URL") or get_current_settings().api.url):
        raise BadInput("PREFECT_API_URL is not set; name your server, e.g. PREFECT_API_URL=http://127.0.0.1:4200/api")
