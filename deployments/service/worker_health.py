"""Is a worker of this project online? For a container's health check, so it imports only the standard library.

`python deployments/service/worker_health.py [POOL]` ends with 0 when the server at PREFECT_API_URL has
a recent heartbeat of one, and with 1 and the reason in one line when not.
"""

import base64
import json
import os
import sys
import urllib.request

DEFAULT_POOL = "hybrid-ml"


def has_online_worker(api_url: str, auth_string: str, pool: str) -> bool:
    """Whether the server counts a worker of the pool as online. Raises OSError when it does not answer.

    It reads the pool's status, without the CSRF token that a request for the workers would need. A paused pool does not
    show its workers and counts as online, since that is no reason to restart them.
    """
    request = urllib.request.Request(f"{api_url}/work_pools/{pool}")  # noqa: S310  # whoever set it runs the service
    if auth_string:
        request.add_header("Authorization", f"Basic {base64.b64encode(auth_string.encode()).decode()}")
    with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
        return json.load(answer)["status"] in ("READY", "PAUSED")


def main() -> None:
    """Check the server that the environment names."""
    pool = sys.argv[1] if len(sys.argv) > 1 else DEFAULT_POOL
    api_url = os.environ.get("PREFECT_API_URL", "").rstrip("/")
    if not api_url:
        sys.exit("PREFECT_API_URL is not set; set it to the Prefect server's address, such as http://server:4200/api")
    try:
        online = has_online_worker(api_url, os.environ.get("PREFECT_API_AUTH_STRING", ""), pool)
    except OSError as error:
        sys.exit(f"the Prefect server at {api_url} does not answer: {error}")
    if not online:
        sys.exit(f"no worker of the pool {pool} is online; start one with `hybrid-ml worker`")


if __name__ == "__main__":
    main()
