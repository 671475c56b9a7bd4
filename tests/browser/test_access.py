"""A real browser: the owner is signed in by `hybrid-ml ui`, and a page of another origin gets nothing."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.conftest import keep
from tests.up import Up

ATTACK = """
const api = %s, results = {};
const attempt = async (name, work) => {
  try { results[name] = await work(); } catch (error) { results[name] = "nothing"; }
};
const text = async (path, options) => (await fetch(api + path, options)).text();
const socket = path => new Promise(resolve => {
  const line = new WebSocket(api.replace("http", "ws") + path, "prefect");
  line.onopen = () => line.send(JSON.stringify({type: "auth", token: "x"}));
  line.onmessage = event => resolve(event.data);
  line.onclose = line.onerror = () => resolve("nothing");
});
(async () => {
  await attempt("csrf", () => text("/csrf-token?client=x"));
  await attempt("simple post", () => text("/deployments/filter", {method: "POST", body: "{}"}));
  await attempt("no-cors", async () => (await text("/admin/version", {mode: "no-cors"})) || "nothing");
  for (const path of ["/events/in", "/events/out", "/logs/out"]) await attempt(path, () => socket(path));
  document.title = JSON.stringify(results);
})();
"""


@contextmanager
def page_of_another_site(up: Up) -> Iterator[str]:
    """Address of a page of an origin of its own that tries to reach the server."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(f"<title>at it</title><script>{ATTACK % json.dumps(up.api_url)}</script>".encode())

        def log_message(self, *_: object) -> None:
            """Nothing is printed."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_port}/"
        server.shutdown()


def test_a_page_of_another_origin_gets_nothing_beside_a_signed_in_ui(up: Up, page: Page) -> None:
    page.goto("/v2/deployments")
    expect(page.get_by_role("link", name="analysis").first).to_be_visible()
    with page_of_another_site(up) as address:
        other = page.context.new_page()
        other.goto(address)
        other.wait_for_function("document.title != 'at it'")
        results = json.loads(other.title())
    assert set(results.values()) == {"nothing"}, results
    assert len(results) == 6


def test_hybrid_ml_ui_signs_the_browser_in(up: Up, visitor: Page, tmp_path: Path) -> None:
    """The browser is opened with a file that only its owner can read; the string is in no address."""
    visitor.goto("/v2/deployments")
    expect(visitor.get_by_role("link", name="analysis")).to_have_count(0)
    opened = tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {opened}\n')
    browser.chmod(0o755)
    done = up.command("ui", BROWSER=f"{browser} %s")
    assert "signed in" in done.stdout, done.stdout + done.stderr
    address = opened.read_text().strip()
    assert address.startswith("file://")
    assert up.authentication not in address + done.stdout
    visitor.goto(address)
    visitor.wait_for_url(f"{up.api_url.removesuffix('/api')}/**")
    visitor.goto("/v2/deployments")
    expect(visitor.get_by_role("link", name="analysis").first).to_be_visible()
    keep(visitor, "ui_signed_in")
    visitor.goto("/deployments")  # and in the classic one
    expect(visitor.get_by_role("link", name="analysis").first).to_be_visible()


def test_without_the_string_the_ui_asks_for_it(up: Up, visitor: Page) -> None:
    visitor.goto("/v2/")
    field = visitor.locator("input[type=password]")
    expect(field).to_be_visible()
    field.fill("hybrid-ml:guessed")
    field.press("Enter")
    expect(field).to_be_visible()
    field.fill(up.authentication)
    field.press("Enter")
    expect(visitor.get_by_role("link", name="Deployments")).to_be_visible()


def test_nobody_is_signed_in_by_guessing(up: Up, visitor: Page) -> None:
    url = up.api_url.removesuffix("/api") + "/hybrid-ml/sign-in"
    request = visitor.context.request
    assert request.get(url).status == 405
    assert request.post(url, form={"authentication": "hybrid-ml:guessed"}).status == 403
    assert request.post(url, form={"authentication": "x" * 10_000}).status == 413
    answer = request.post(url, form={"authentication": up.authentication})
    assert answer.status == 200
    assert answer.headers["cache-control"] == "no-store"
