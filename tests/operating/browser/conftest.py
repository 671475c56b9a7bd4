"""A real headless browser on the UI of `hybrid-ml up`; a failed test saves a screenshot and the console."""

import os
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from tests.up import Up

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    "--no-sandbox",  # the tests may run as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SIZE = {"width": 1280, "height": 800}
ANSWER_MS = 300_000
SCREENSHOTS = os.environ.get("UI_SCREENSHOTS")
CONSOLE = pytest.StashKey[list[str]]()
expect.set_options(timeout=ANSWER_MS)


@pytest.fixture
def page(up: Up, visitor: Page) -> Page:
    """An empty tab of a signed-in browser; paths are relative to the UI."""
    encoded = b64encode(up.authentication.encode()).decode()
    own_origin = up.api_url.removesuffix("/api")
    visitor.context.add_init_script(
        f"if (location.origin == '{own_origin}') localStorage.setItem('prefect-password', '{encoded}')"
    )
    return visitor


@pytest.fixture
def visitor(up: Up, chromium: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """An empty tab with a new profile, not signed in; paths are relative to the UI."""
    console = request.node.stash.setdefault(CONSOLE, [])
    profile = chromium.new_context(viewport=SIZE, timezone_id="UTC", base_url=up.api_url.removesuffix("/api"))
    try:
        profile.set_default_timeout(ANSWER_MS)
        tab = profile.new_page()
        tab.on("console", lambda message: console.append(_line(message)))
        tab.on("pageerror", lambda error: console.append(f"error: {error}"))
        yield tab
    finally:
        profile.close()


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """One browser, in which each test has its own profile."""
    assert CHROMIUM.exists(), f"there is no {CHROMIUM}: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


def _line(message: ConsoleMessage) -> str:
    return f"{message.type}: {message.text}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Save screenshot and console of a failed test while the tab is open, and name them in the report."""
    report = yield
    fixtures = getattr(item, "funcargs", {})
    if report.when == "call" and report.failed and "visitor" in fixtures:
        picture, log = fixtures["tmp_path"] / "failed.png", fixtures["tmp_path"] / "console.log"
        log.write_text("\n".join(item.stash.get(CONSOLE, [])))
        fixtures["visitor"].screenshot(path=picture)
        report.sections.append(("browser", f"{fixtures['visitor'].url}\n{picture}\n{log}"))
    return report


def save_screenshot(page: Page, name: str) -> None:
    """Save a screenshot for the documentation if UI_SCREENSHOTS names a folder."""
    if SCREENSHOTS:
        page.screenshot(path=Path(SCREENSHOTS) / f"{name}.png")
