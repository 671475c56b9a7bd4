"""Signing a browser in: it posts the authentication string once, and the Prefect UI reads it from its storage.

The string is posted from a file that only this account can read, because an address with a secret in it would be
visible in the list of processes and in the browser's history.
"""

import hmac
import json
from base64 import b64encode
from html import escape
from string import Template
from urllib.parse import parse_qs

import anyio
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

PATH = "/hybrid-ml/sign-in"
FIELD = "authentication"
LONGEST_FORM_BYTES = 4_096
FORM_SECONDS = 10.0
STORAGE_KEY = "prefect-password"
"""The key of Prefect's UIs for the string, in base64 (prefect 3.8, `localStorage`)."""
POSTING_PAGE = Template("""<!doctype html>
<meta charset="utf-8"><meta name="referrer" content="no-referrer"><title>hybrid-ml: signing in</title>
<form id="form" method="post" action="$address">
<input type="hidden" name="$field" value="$authentication"><button>Sign in to the Prefect UI</button>
</form>
<script>document.getElementById("form").submit()</script>
""")
STORING_PAGE = Template("""<!doctype html>
<meta charset="utf-8"><title>hybrid-ml: signed in</title>
<script>localStorage.setItem($key, $value); location.replace("/")</script>
<noscript>The Prefect UI needs JavaScript.</noscript>
""")


def posting_page(ui_url: str, authentication: str) -> str:
    """The page to keep in a private file and to open: it signs the browser in at `ui_url`. Holds the secret."""
    return POSTING_PAGE.substitute(
        address=escape(ui_url.rstrip("/") + PATH), field=FIELD, authentication=escape(authentication)
    )


class SignIn:
    """ASGI middleware that answers PATH: a browser that posts `authentication` is signed in."""

    def __init__(self, app: ASGIApp, authentication: str) -> None:
        self.app = app
        self.authentication = authentication

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request for PATH; pass every other one on."""
        if scope["type"] != "http" or scope["path"] != PATH:
            await self.app(scope, receive, send)
            return
        response = await self._answer(Request(scope, receive))
        response.headers["Cache-Control"] = "no-store"
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if request.method != "POST":
            return PlainTextResponse("run `hybrid-ml ui` to sign in\n", status_code=405)
        try:
            with anyio.fail_after(FORM_SECONDS):
                body = await _read(request)
        except (TimeoutError, ClientDisconnect):
            return PlainTextResponse("the form did not arrive\n", status_code=408)
        if len(body) > LONGEST_FORM_BYTES:
            return PlainTextResponse("the form is too long\n", status_code=413)
        posted = parse_qs(body.decode("latin-1"), encoding="latin-1").get(FIELD, [""])[0]
        if not hmac.compare_digest(posted.encode("latin-1"), self.authentication.encode()):
            return PlainTextResponse("that is not the authentication string; run `hybrid-ml ui` again\n", 403)
        value = json.dumps(b64encode(self.authentication.encode()).decode())
        return HTMLResponse(STORING_PAGE.substitute(key=json.dumps(STORAGE_KEY), value=value))


async def _read(request: Request) -> bytes:
    """The body, cut off after the limit."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LONGEST_FORM_BYTES:
            break
    return body
