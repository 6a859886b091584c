"""The page of opt-outs: listed, found, added, and lifted only with a reason and a tick."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, Page, expect

from acting import acting
from postroom.flow.audience.suppressions import suppress, suppressions, trail

from .browsing import shot
from .serving import Site


@pytest.fixture
async def page(browser: Browser, site: Site) -> AsyncIterator[Page]:
    """A tab without scripts: the page needs none."""
    context = await browser.new_context(java_script_enabled=False, viewport={"width": 1280, "height": 900})
    page = await context.new_page()
    await page.goto(await site.link())
    yield page
    await context.close()


async def shots(page: Page, name: str) -> None:
    for scheme in ("light", "dark"):
        for width in (1280, 390):
            await page.emulate_media(color_scheme=scheme)
            await page.set_viewport_size({"width": width, "height": 844})
            await shot(page, f"{name}-{scheme}-{width}")
            assert await page.evaluate("document.documentElement.scrollWidth") <= width
    await page.set_viewport_size({"width": 1280, "height": 900})


async def test_an_opt_out_is_found_by_its_address_and_lifted_with_a_reason_and_a_tick(site: Site, page: Page) -> None:
    account = await site.account()
    await suppress(site.pool, acting(account, "key website"), [f"p{n}@list.example" for n in range(12)], "By letter.")
    await suppress(site.pool, acting(account, "recipient"), ["ann@list.example"], "Unsubscribed by the link in job 7.")
    await page.goto(site.url)
    await page.get_by_role("link", name="Opt-outs").click()
    await expect(page.get_by_role("table")).to_contain_text("ann@list.example")
    await shots(page, "opt-outs")
    await page.locator("#find").fill("ANN@list.example")
    await page.get_by_role("button", name="Find").click()
    await expect(page.get_by_text("mails this person again")).to_be_visible()
    await shots(page, "opt-out")
    lift = page.get_by_role("button", name="Mail this address again")
    await lift.click()
    assert len(await trail(site.pool, acting(account), "ann@list.example")) == 1, "the browser asks for what is missing"
    await page.get_by_label("Why may this person").fill("Signed up <i>again</i>")
    await lift.click()
    assert len(await trail(site.pool, acting(account), "ann@list.example")) == 1
    await page.get_by_role("checkbox").check()
    await lift.click()
    await expect(page.get_by_text("ann@list.example is not suppressed.")).to_be_visible()
    await expect(page.get_by_text("Signed up <i>again</i>")).to_be_visible()
    await shots(page, "opt-out-lifted")
    assert [(one.verb, one.by) for one in await trail(site.pool, acting(account), "ann@list.example")] == [
        ("suppress", "recipient"), ("lift", "operator")]


async def test_one_is_added_and_no_form_from_elsewhere_lifts_it(site: Site, page: Page) -> None:
    account = await site.account()
    await page.goto(f"{site.url}/accounts/{account}/opt-outs")
    await expect(page.get_by_text("Nobody has opted out of this account.")).to_be_visible()
    await page.locator("#add-address").fill("bob@list.example")
    await page.get_by_role("button", name="Never mail this address again").click()
    [row] = await suppressions(site.pool, acting(account), limit=9)
    assert (row.address, row.reason, row.by) == ("bob@list.example", "Opted out.", "operator")
    operator = await site.operator()
    form = {"address": "bob@list.example", "reason": "Again", "confirmed": "yes"}
    assert (await operator.post(f"/accounts/{account}/opt-outs/lifting", data=form)).status_code == 403
    token = (await operator.get(f"/accounts/{account}/opt-outs")).text.split('name="form_token" value="')[1].split('"')[0]
    del form["confirmed"]
    assert (await operator.post(f"/accounts/{account}/opt-outs/lifting", data={**form, "form_token": token})).status_code == 409
    answer = await operator.post(f"/accounts/{account}/opt-outs", data={"address": "nobody", "form_token": token})
    assert answer.status_code == 422
    assert len(await suppressions(site.pool, acting(account), limit=9)) == 1


async def test_a_long_list_has_pages(site: Site, page: Page) -> None:
    account = await site.account()
    await suppress(site.pool, acting(account), [f"p{n:03}@list.example" for n in range(150)])
    await page.goto(f"{site.url}/accounts/{account}/opt-outs")
    await page.get_by_role("link", name="Next").click()
    await expect(page.get_by_role("row")).to_have_count(51)
    await expect(page.get_by_role("table")).to_contain_text("p149@list.example")


async def test_what_is_wrong_is_said_at_its_field_and_what_was_written_stays(site: Site, page: Page) -> None:
    account = await site.account()
    await suppress(site.pool, acting(account, "key website"), ["ann@list.example"], "By letter.")
    await page.goto(f"{site.url}/accounts/{account}/opt-outs")
    await page.locator("#find").fill("ann")
    await page.get_by_role("button", name="Find").click()
    await expect(page.locator("#find-complaints")).to_have_text("There is no @ in the address.")
    await expect(page.locator("#find")).to_have_value("ann")
    await shots(page, "opt-outs-not-found")
    await page.get_by_role("link", name="Clear").click()
    await page.locator("#add-address").fill("bob@")
    await page.locator("#add-reason").fill("By telephone.")
    await page.get_by_role("button", name="Never mail this address again").click()
    [told] = await page.locator("#add-address-complaints li").all_inner_texts()
    assert not told.startswith("Row")
    await expect(page.locator("#add-address")).to_have_value("bob@")
    await expect(page.locator("#add-reason")).to_have_value("By telephone.")
    await expect(page.get_by_role("table")).to_contain_text("ann@list.example")
    await shots(page, "opt-outs-not-added")
    await page.locator("#add-address").fill("bob@list.example")
    await page.get_by_role("button", name="Never mail this address again").click()
    await expect(page.get_by_role("table")).to_contain_text("By telephone.")
