"""A person at the Prefect UI: sees what is due, runs an analysis by its form, reads its page, retries what failed."""

import re
from uuid import UUID

from playwright.sync_api import Page, expect

from tests.browser.conftest import keep
from tests.up import AWAKE, RUN_SECONDS, Up, bars_away

RUN_MS = RUN_SECONDS * 1_000


def test_the_deployments_show_their_schedules(page: Page) -> None:
    page.goto("/")
    page.get_by_role("link", name="Deployments").click()
    for name in ("analysis", "backfill", "backup", "replay", "review", "weekly-training"):
        expect(page.get_by_role("row").filter(has=page.get_by_role("link", name=name))).to_contain_text("Ready")
    expect(page.get_by_role("row", name="review")).to_contain_text("At 04:00 AM")
    keep(page, "ui_deployments")
    page.get_by_role("link", name="analysis").first.click()
    expect(page.get_by_text("Every 10 minutes")).to_be_visible()


def test_an_analysis_is_run_by_its_form_and_its_page_shows_the_chart(up: Up, page: Page) -> None:
    fill_the_form(page)
    up.wait_for_our_turn()
    page.get_by_role("button", name="Submit").click()
    page.get_by_role("button", name="View run").click()
    page.wait_for_url("**/runs/flow-run/**")
    run = up.ended(run_of(page))
    assert run.state.type.value == "COMPLETED", f"{run.state.name}: {run.state.message}"
    given = run.parameters["request"]
    assert {name: given[name] for name in AWAKE} == AWAKE
    expect(page.get_by_text(run.state.name, exact=True).first).to_be_visible(timeout=RUN_MS)
    page.get_by_role("tab", name="Task Runs").click()
    for task in ("report analysis", "send alerts", "save prediction DEMO"):
        expect(page.get_by_role("tabpanel").get_by_text(task)).to_be_visible(timeout=RUN_MS)
    keep(page, "ui_run")
    page.get_by_role("tab", name="Artifacts").click()
    page.get_by_role("tabpanel").get_by_role("link", name="analysis-demo").click()
    page.locator("a[href*='/artifacts/artifact/']").first.click()
    see_the_analysis(page)


def fill_the_form(page: Page) -> None:
    """The deployment's form of a custom run, at any time of the day and with bars of up to a day."""
    page.goto("/v2/deployments")
    page.get_by_role("link", name="analysis").first.click()
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text("Custom run").click()
    page.get_by_label("No quiet hours").click()
    page.get_by_label("Oldest bar, minutes").fill(str(AWAKE["max_bar_age_minutes"]))


def see_the_analysis(page: Page) -> None:
    """The artifact with its chart decoded, and a verdict at every gate."""
    picture = page.get_by_role("main").locator("img").first
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    gates = page.get_by_role("table").filter(has_text="confidence")
    verdicts = gates.get_by_role("row").filter(has_text=re.compile("[✓✗]"))
    expect(verdicts.first).to_be_visible()
    assert verdicts.count() >= 5
    expect(gates.get_by_role("row", name="confidence")).to_contain_text(re.compile("[✓✗]"))
    keep(page, "ui_artifact")


def test_a_failed_run_is_retried_by_its_button(up: Up, page: Page) -> None:
    with bars_away(up):
        run_id = up.trigger(symbols=["DEMO"], **AWAKE)
        assert up.ended(run_id).state.name == "Failed"
    page.goto(f"/v2/runs/flow-run/{run_id}")
    up.wait_for_our_turn(90)
    page.get_by_role("button", name="Open menu").first.click()
    page.get_by_role("menuitem", name="Retry").click()
    page.get_by_role("dialog").or_(page.get_by_role("alertdialog")).get_by_role("button", name="Retry").click()
    expect(page.get_by_text("Failed", exact=True)).to_have_count(0, timeout=RUN_MS)
    run = up.ended(run_id)
    assert run.state.type.value == "COMPLETED", f"{run.state.name}: {run.state.message}"
    assert run.run_count == 2
    expect(page.get_by_text(run.state.name, exact=True).first).to_be_visible(timeout=RUN_MS)


def run_of(page: Page) -> UUID:
    """The run whose page is open."""
    found = re.search(r"flow-run/([0-9a-f-]{36})", page.url)
    assert found, page.url
    return UUID(found.group(1))
