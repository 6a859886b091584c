"""The gate in a real browser while everyone is checked: it moves by itself, and nothing that a list holds runs on it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from playwright.async_api import Browser, Page, expect

from postroom.domain.audience import IncomingRow
from postroom.flow.check.preflight import Checks
from postroom.ledger.job.jobs import JobOverview
from stage import CONTENT, Stage, rows

from .browsing import Canary, shot
from .serving import Site

STEPS = 16  # chunks of a job to 160 recipients over four connections


@pytest.fixture
async def page(browser: Browser, site: Site) -> AsyncIterator[Page]:
    """The operator's tab. No script on it may fail, and the policy of its content is never broken."""
    context = await browser.new_context(viewport={"width": 1200, "height": 900})
    page = await context.new_page()
    troubles: list[str] = []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda said: troubles.append(said.text) if "Content Security Policy" in said.text else None)
    await page.goto(await site.link())
    yield page
    await context.close()
    assert troubles == []


async def open_gate(page: Page, site: Site, job: JobOverview) -> None:
    """Marks the tab, so that a load of the page would show."""
    await page.goto(f"{site.url}/accounts/{job.account_id}/jobs/{job.id}")
    await page.evaluate("window.neverReloaded = true")


async def test_the_check_moves_on_the_gate_by_itself_and_then_approve_is_a_click(page: Page, site: Site, stage: Stage) -> None:
    job = await stage.submit(await stage.account(), rows(160))
    await open_gate(page, site, job)
    approve, bar = page.get_by_role("button", name="Approve"), page.locator("progress[data-checked]")
    checks = Checks(stage.pool, stage.deployment)
    for step in range(STEPS):
        await expect(page.locator("[data-field=checked]")).to_have_text(str(10 * step))
        await expect(bar).to_have_js_property("value", 10 * step)
        await expect(approve).to_be_disabled()
        if step == STEPS // 2:
            await shot(page, "gate-half-checked")
        assert await checks.check(job.account_id, job.id, True)
    await expect(approve).to_be_enabled()
    await expect(bar).to_have_count(0)
    await expect(page.locator(".findings")).to_contain_text("Nothing was found: every message can be made")
    assert await page.evaluate("window.neverReloaded") is True
    async with stage.worker():
        await approve.click()
        await expect(page.locator(".badge")).to_have_text("Completed", timeout=30_000)
    assert stage.sandbox.accepted == 160


async def test_a_job_that_its_check_refuses_says_why_and_keeps_approve_disabled(page: Page, site: Site, stage: Stage) -> None:
    people = [replace(one, fields={"name": "" if one.row_no == 7 else "Ann"}) for one in rows(160)]
    job = await stage.submit(await stage.account(), people, content=CONTENT, field_policy="refuse")
    await open_gate(page, site, job)
    checks = Checks(stage.pool, stage.deployment)
    for _ in range(STEPS - 1):
        assert await checks.check(job.account_id, job.id, True)
    await expect(page.locator("[data-field=checked]")).to_have_text("150")
    await expect(page.locator(".alert")).to_have_count(0)
    assert await checks.check(job.account_id, job.id, True)
    await expect(page.locator(".alert")).to_contain_text("It cannot be approved as it is")
    await expect(page.locator(".findings li")).to_have_text(
        "1 recipient: The field “name” is blank. The job cannot be approved. Such as person6@list.example")
    await expect(page.get_by_role("button", name="Approve")).to_be_disabled()
    await expect(page.locator("form[action$=approval]")).to_have_count(0)
    assert await page.evaluate("window.neverReloaded") is True
    await shot(page, "gate-refused")
    await page.get_by_role("link", name="person6@list.example").click()
    await expect(page.locator("tbody tr").first).to_contain_text("person6@list.example")


async def test_nothing_that_a_list_or_its_findings_hold_runs_on_the_gate(
        page: Page, site: Site, stage: Stage, canary: Canary) -> None:
    """Neither on a page that is loaded nor on one that the open page puts in place of itself."""
    evil = f'</bdi></a><script>window.taken=1</script><img src="{canary.url}/x" onerror="window.taken=1">'
    usable = "{{account.name}}&ltimg'@list.example"  # nothing worse can be mailed
    people = [IncomingRow(n, address, {evil: "", "subject": evil + "\n" * (n > 50)})
              for n, address in enumerate((evil, usable, *(f"person{n}@list.example" for n in range(98))), 2)]
    content = replace(CONTENT, subject="{{ subject }}", html=None, text=f"Dear {{{{ ['{evil}'] }}}}{{{{ ['gone {evil}'] }}}}\n")
    told = f"uses the field “gone {evil}”, which no recipient has", f"The field “{evil}” is blank", "The Subject contains"
    job = await stage.submit(await stage.account(), people, content=content, unusable_addresses="fail", field_policy="blank")

    async def is_inert() -> None:
        await page.wait_for_timeout(300)
        assert await page.evaluate("window.taken ?? null") is None
        assert await page.locator("main :is(script, img)").count() == 0

    await open_gate(page, site, job)
    await stage.check(job)
    for _ in range(2):
        for one in told:
            await expect(page.locator(".findings li").filter(has_text=one)).to_have_count(1)
        await expect(page.locator(".findings a").first).to_have_text(usable)
        await is_inert()
        await shot(page, "gate-hostile")
        await page.reload()
    await page.goto(f"{page.url}/recipients")
    await expect(page.get_by_role("rowheader").first).to_have_text(evil)
    await is_inert()
    assert canary.heard == []
