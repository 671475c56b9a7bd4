"""Whether a Prefect server answers, how a client signs in to it, and remedies for its errors."""

import urllib.error
import urllib.request
from base64 import b64encode
from typing import TYPE_CHECKING

from prefect.settings import get_current_settings

if TYPE_CHECKING:
    from httpx import HTTPError

ANSWER_SECONDS = 5


def server_problem(api_url: str) -> str:
    """Why the server does not answer; empty when it does."""
    try:
        with urllib.request.urlopen(f"{api_url.rstrip('/')}/health", timeout=ANSWER_SECONDS) as answer:  # noqa: S310  # the user's own server
            if answer.headers.get_content_type() != "application/json":
                return "the server there is no Prefect server"
            return "" if answer.status == 200 else f"status {answer.status}"
    except urllib.error.HTTPError as error:
        # The server exists; whether it accepts our credentials is seen at the first other request.
        return "" if error.code in (401, 403) else f"status {error.code}"
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", error))


def authorization_header() -> str:
    """The client's `Authorization` header; a secret, empty where there is none."""
    api = get_current_settings().api
    if api.auth_string:
        return f"Basic {b64encode(api.auth_string.get_secret_value().encode()).decode()}"
    return f"Bearer {api.key.get_secret_value()}" if api.key else ""


def format_http_error(error: "HTTPError") -> str:
    """The server's answer, or that there was none, with the remedy; without the response's body."""
    response = getattr(error, "response", None)
    if response is None:
        return f"the Prefect server does not answer ({error!r}); try again"
    status = response.status_code
    remedy = "check PREFECT_API_AUTH_STRING or PREFECT_API_KEY" if status in (401, 403) else "see the server's log"
    return f"the Prefect server answers {response.url} with {status}; {remedy}"
