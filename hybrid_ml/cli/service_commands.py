"""The commands `hybrid-ml deploy`, `worker`, `monitor` and `status`."""

import logging
import os
import sys
from datetime import UTC, datetime

from deployments.service.authentication import authentication_file
from deployments.service.instance_lock import join_running_server, running
from hybrid_ml.cli.settings import BOT, settings_for
from hybrid_ml.config.settings import load_settings
from hybrid_ml.console.terminal import out
from hybrid_ml.errors import EXIT_FAILED, BadInput


def deploy() -> None:
    """`hybrid-ml deploy`."""
    _need_server()
    from deployments.provision.deploy import set_up

    for line in set_up():
        out.print(line)


def ui() -> None:
    """`hybrid-ml ui`."""
    from deployments.service.browser import open_signed_in

    running_up = running()
    if running_up is None:
        raise BadInput("`hybrid-ml up` does not run here, so there is no UI to open; start it first")
    data_dir = load_settings().data_dir
    if not running_up["own_server"]:
        out.print(f"{running_up['ui_url']} is the UI of the server in PREFECT_API_URL; sign in there as usual")
    elif open_signed_in(data_dir, running_up["ui_url"]):
        out.print(f"opened {running_up['ui_url']} in a browser, signed in")
    else:
        out.print(f"no browser here; open {running_up['ui_url']} and sign in with the line in this file:")
        out.print(f"{authentication_file(data_dir)}", soft_wrap=True)


def worker(name: str | None) -> None:
    """`hybrid-ml worker`."""
    _need_server()
    from deployments.provision.deploy import check_pool
    from deployments.service.worker import run_worker

    check_pool()
    run_worker(name)


def monitor() -> None:
    """`hybrid-ml monitor`."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING, stream=sys.stderr)
    for name in ("hybrid_ml", "deployments"):
        logging.getLogger(name).setLevel(logging.INFO)
    join_running_server()
    from deployments.service.monitor import run_monitor

    run_monitor(lambda: settings_for(BOT))


def status(*, json_output: bool) -> None:
    """`hybrid-ml status`."""
    join_running_server()
    from deployments.status.collect import collect_status
    from deployments.status.table import show_status

    installation = collect_status(datetime.now(UTC))
    if json_output:
        sys.stdout.write(installation.model_dump_json(indent=2) + "\n")
    else:
        show_status(installation)
    if installation.problems:
        raise SystemExit(EXIT_FAILED)


def _need_server() -> None:
    """Raises BadInput where no server is configured: Prefect would start one that ends with this command."""
    join_running_server()
    from prefect.settings import get_current_settings

    if not (os.environ.get("PREFECT_API_URL") or get_current_settings().api.url):
        raise BadInput("PREFECT_API_URL is not set; name your server, e.g. PREFECT_API_URL=http://127.0.0.1:4200/api")
