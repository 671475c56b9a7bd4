"""Access with a real browser: `hybrid-ml ui` signs the owner in, and a page of another origin gets nothing."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.operating.browser.conftest import save_screenshot
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
    """Address of a page of another origin that tries to reach the server."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(f"<title>at it</title><script>{ATTACK % json.dumps(up.api_url)}</script>".encode())

        def log_message(self, *_: object) -> None:
            """No log."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_port}/"
        server.shutdown()


def test_owner_signs_in_by_the_ui_command_and_a_page_of_another_origin_gets_nothing(
    up: Up, visitor: Page, tmp_path: Path
) -> None:
    """The browser is opened with a file that only its owner can read; the string is in no address."""
    visitor.goto("/v2/")
    field = visitor.locator("input[type=password]")
    expect(field).to_be_visible()
    field.fill("hybrid-ml:guessed")
    field.press("Enter")
    expect(field).to_be_visible()
    expect(visitor.get_by_role("link", name="Deployments")).to_have_count(0)
    visitor.goto(address_opened_by_the_ui_command(up, tmp_path))
    visitor.wait_for_url(f"{up.api_url.removesuffix('/api')}/**")
    visitor.goto("/v2/deployments")
    expect(visitor.get_by_role("link", name="analysis").first).to_be_visible()
    save_screenshot(visitor, "ui_signed_in")
    results = results_of_another_site(up, visitor)
    assert set(results.values()) == {"nothing"}, results
    assert len(results) == 6
    visitor.goto("/deployments")  # the classic UI
    expect(visitor.get_by_role("link", name="analysis").first).to_be_visible()


def address_opened_by_the_ui_command(up: Up, folder: Path) -> str:
    """The address with which `hybrid-ml ui` opens a browser."""
    opened_address, browser = folder / "opened", folder / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {opened_address}\n')
    browser.chmod(0o755)
    done = up.command("ui", BROWSER=f"{browser} %s")
    assert "signed in" in done.stdout, done.stdout + done.stderr
    address = opened_address.read_text().strip()
    assert address.startswith("file://")
    assert up.authentication not in address + done.stdout
    return address


def results_of_another_site(up: Up, page: Page) -> dict[str, str]:
    """What a page of another origin reads in another tab, by attempt."""
    with page_of_another_site(up) as address:
        other = page.context.new_page()
        other.goto(address)
        other.wait_for_function("document.title != 'at it'")
        return json.loads(other.title())


def test_string_is_accepted_by_the_field_that_asks_for_it(up: Up, visitor: Page) -> None:
    visitor.goto("/v2/")
    field = visitor.locator("input[type=password]")
    field.fill(up.authentication)
    field.press("Enter")
    expect(visitor.get_by_role("link", name="Deployments")).to_be_visible()
