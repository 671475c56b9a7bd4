"""The Prefect UI in a browser: schedules, a run by its form, its page, and the retry of a failed run."""

import re
from uuid import UUID

from playwright.sync_api import Page, expect

from tests.operating.browser.conftest import save_screenshot
from tests.up import AWAKE, WAIT_SECONDS, Up, without_bars
from tests.up_schedules import schedules_on

RUN_MS = WAIT_SECONDS * 1_000


def see_the_schedules(page: Page) -> None:
    page.goto("/")
    page.get_by_role("link", name="Deployments").click()
    for name in ("analysis", "backfill", "backup", "replay", "review", "weekly-training"):
        expect(page.get_by_role("row").filter(has=page.get_by_role("link", name=name))).to_contain_text("Ready")
    expect(page.get_by_role("row", name="review")).to_contain_text("At 04:00 AM")
    save_screenshot(page, "ui_deployments")
    page.get_by_role("link", name="analysis").first.click()
    expect(page.get_by_text("Every 10 minutes")).to_be_visible()


def test_schedules_are_shown_and_an_analysis_started_by_its_form_completes_with_a_chart(up: Up, page: Page) -> None:
    with schedules_on(up):
        see_the_schedules(page)
    fill_form(page)
    page.get_by_role("button", name="Submit").click()
    page.get_by_role("button", name="View run").click()
    page.wait_for_url("**/runs/flow-run/**")
    run = up.wait_for_end(run_of(page))
    assert run.state.type.value == "COMPLETED", f"{run.state.name}: {run.state.message}"
    request = run.parameters["request"]
    assert {name: request[name] for name in AWAKE} == AWAKE
    expect(page.get_by_text(run.state.name, exact=True).first).to_be_visible(timeout=RUN_MS)
    page.get_by_role("tab", name="Task Runs").click()
    for task in ("report analysis", "send alerts", "save prediction DEMO"):
        expect(page.get_by_role("tabpanel").get_by_text(task)).to_be_visible(timeout=RUN_MS)
    save_screenshot(page, "ui_run")
    page.get_by_role("tab", name="Artifacts").click()
    page.get_by_role("tabpanel").get_by_role("link", name="analysis-demo").click()
    page.locator("a[href*='/artifacts/artifact/']").first.click()
    check_analysis_page(page)


def fill_form(page: Page) -> None:
    """Fill the form of a custom run on the page of the analysis: no quiet hours, and bars up to a day old."""
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text("Custom run").click()
    page.get_by_label("No quiet hours").click()
    page.get_by_label("Oldest bar, minutes").fill(str(AWAKE["max_bar_age_minutes"]))


def check_analysis_page(page: Page) -> None:
    """Check that the artifact has a chart that decodes, and a verdict for every gate."""
    picture = page.get_by_role("main").locator("img").first
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    gates = page.get_by_role("table").filter(has_text="confidence")
    verdicts = gates.get_by_role("row").filter(has_text=re.compile("[✓✗]"))
    expect(verdicts.first).to_be_visible()
    assert verdicts.count() >= 5
    expect(gates.get_by_role("row", name="confidence")).to_contain_text(re.compile("[✓✗]"))
    save_screenshot(page, "ui_artifact")


def test_failed_run_is_retried_by_its_button(up: Up, page: Page) -> None:
    with without_bars(up):
        run_id = up.trigger(symbols=["DEMO"], **AWAKE)
        assert up.wait_for_end(run_id).state.name == "Failed"
    page.goto(f"/v2/runs/flow-run/{run_id}")
    page.get_by_role("button", name="Open menu").first.click()
    page.get_by_role("menuitem", name="Retry").click()
    page.get_by_role("dialog").or_(page.get_by_role("alertdialog")).get_by_role("button", name="Retry").click()
    expect(page.get_by_text("Failed", exact=True)).to_have_count(0, timeout=RUN_MS)
    run = up.wait_for_end(run_id)
    assert run.state.type.value == "COMPLETED", f"{run.state.name}: {run.state.message}"
    assert run.run_count == 2
    expect(page.get_by_text(run.state.name, exact=True).first).to_be_visible(timeout=RUN_MS)


def run_of(page: Page) -> UUID:
    """The id of the run whose page is open."""
    match = re.search(r"flow-run/([0-9a-f-]{36})", page.url)
    assert match, page.url
    return UUID(match.group(1))
