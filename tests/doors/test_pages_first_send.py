"""A new user's first send in a real browser: nothing goes out but by the button that names the number; what is typed stays."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from playwright.async_api import Browser, BrowserContext, Page, expect

from acting import acting
from postroom.flow.job.report import history, trail
from postroom.gateway.sandbox.script import Refusal, Script
from stage import Stage

from .browsing import shot
from .serving import Site, csv_of

IN_ONE_LINE = "form.send input:not([type=hidden], [type=file])"
LOOK = "Count the recipients, then look before sending"


@pytest.fixture(params=[True, False], ids=["with scripts", "without scripts"])
async def context(request, browser: Browser) -> AsyncIterator[BrowserContext]:
    """A browser that has never been here."""
    context = await browser.new_context(java_script_enabled=request.param, viewport={"width": 1280, "height": 900})
    yield context
    await context.close()


def listed(count: int) -> dict[str, object]:
    return {"name": "list.csv", "mimeType": "text/csv", "buffer": csv_of(count)}


async def signed_in(context: BrowserContext, site: Site) -> Page:
    tab = await context.new_page()
    await tab.goto(await site.link())
    return tab


async def fill_in(tab: Page, count: int, **fields: str) -> None:
    """The form, as somebody fills it in who reads its labels."""
    await tab.get_by_role("navigation").get_by_role("link", name="Send message").click()
    for label, value in {"Subject": "Spring", "From: address": "news@club.example", "Plain text": "Hello {{ name }}",
                         **fields}.items():
        await tab.get_by_label(label).fill(value)
    await tab.get_by_label("File", exact=True).set_input_files(listed(count))


def button(tab: Page, name: str):
    return tab.get_by_role("button", name=name, exact=True)


@pytest.mark.parametrize(("count", "last"), [(99, "Send to 99 recipients"), (100, "Approve and send to 100 recipients"),
                                             (101, "Approve and send to 101 recipients")])
async def test_from_the_first_sign_in_to_a_first_send_nothing_goes_out_but_by_the_last_button(
        context: BrowserContext, site: Site, stage: Stage, count: int, last: str):
    account = await stage.account()
    async with stage.worker():
        tab = await signed_in(context, site)
        await fill_in(tab, count)
        form = tab.url
        fields = await tab.locator(IN_ONE_LINE).all()
        assert len(fields) == 10
        await expect(tab.locator("form.send > button")).to_be_hidden()
        for field in fields:
            await field.press("Enter")
        assert tab.url == form, "Enter is no button"
        assert await history(stage.pool, acting(account)) == []
        await button(tab, LOOK).click()
        await expect(tab.locator(".count")).to_have_text(f"{count} recipients")
        [job] = await history(stage.pool, acting(account))
        await stage.check(job)
        await tab.reload()
        await expect(button(tab, last)).to_be_enabled()
        for words in ("news@club.example", "Spring", "main (127.0.0.1)", "As soon as you send it", "Nothing was found"):
            await expect(tab.locator("main")).to_contain_text(words)
        await shot(tab, f"first-send-{count}")
        assert (job.status, stage.sandbox.accepted) == ("pending_approval", 0)
        await tab.get_by_label("To", exact=True).fill("me@club.example")
        await button(tab, "Send the test").click()
        await expect(tab.locator(".answers li")).to_contain_text("Accepted")
        assert stage.sandbox.accepted == 1
        await button(tab, last).click()
        await stage.over(account, job.id)
        await tab.reload()
    await expect(tab.locator(".badge")).to_have_text("Completed")
    assert [one.id for one in await history(stage.pool, acting(account))] == [job.id]
    assert len(stage.taken(job.id)) == count


async def test_the_send_button_pressed_twice_and_a_reload_of_each_page_send_nobody_anything_twice(
        context: BrowserContext, site: Site, stage: Stage):
    account = await stage.account()
    tab = await signed_in(context, site)
    await fill_in(tab, 3)
    await button(tab, LOOK).click()
    await button(tab, "Send to 3 recipients").click()
    await expect(tab.locator(".badge")).to_have_text("Sending")
    await tab.reload()
    [job] = await history(stage.pool, acting(account))
    async with stage.worker():
        await stage.over(account, job.id)
    assert [move.verb for move in await trail(stage.pool, acting(account), job.id)] == ["submit", "approve", "start", "complete"]
    assert stage.sandbox.accepted == 3


async def test_a_test_is_sent_once_however_often_its_page_is_loaded_and_its_answers_stay(
        context: BrowserContext, site: Site, stage: Stage):
    stage.sandbox.script = Script(refuse={"bob@club.example": Refusal("rcpt", 550, "5.1.1 No such mailbox")})
    await stage.account()
    tab = await signed_in(context, site)
    await fill_in(tab, 3)
    await button(tab, LOOK).click()
    await tab.get_by_label("To", exact=True).fill("ann@club.example, bob@club.example")
    await button(tab, "Send the test").click()
    for _ in range(2):
        await expect(tab.locator(".answers li")).to_have_count(2)
        await expect(tab.locator(".answers li").nth(1)).to_contain_text("550 5.1.1 No such mailbox")
        await tab.reload()
    assert stage.sandbox.accepted == 1
    site.app.state.receipts._kept.clear()
    await tab.reload()
    await expect(tab.locator("#test .note")).to_have_text("Of the test: 1 accepted by the gateway, 1 refused by it.")
    await tab.get_by_role("link", name="Look at it as a recipient gets it").click()
    await tab.get_by_label("To", exact=True).fill("ann@club.example")
    await button(tab, "Send the test").click()
    await expect(tab.locator(".answers li")).to_contain_text("Accepted")
    await tab.reload()
    assert stage.sandbox.accepted == 2


async def test_a_test_that_no_gateway_takes_is_not_sent_by_a_reload_when_one_does(
        context: BrowserContext, site: Site, stage: Stage):
    account = await stage.account(port=9)
    tab = await signed_in(context, site)
    await fill_in(tab, 3)
    await button(tab, LOOK).click()
    await tab.get_by_label("To", exact=True).fill("ann@club.example")
    await button(tab, "Send the test").click()
    await stage.query("UPDATE gateway SET port = %s WHERE account_id = %s RETURNING 1", stage.sandbox.port, account)
    await tab.reload()
    await expect(tab.locator("#to-complaints")).to_contain_text("127.0.0.1:9 cannot be used")
    await expect(tab.get_by_label("To", exact=True)).to_have_value("ann@club.example")
    assert stage.sandbox.connections_total == 0


async def test_a_time_in_the_past_is_refused_and_one_to_come_is_named_by_the_button(
        context: BrowserContext, site: Site, stage: Stage):
    account = await stage.account()
    tab = await signed_in(context, site)
    past, later = (datetime.now(UTC) + timedelta(hours=hours) for hours in (-1, 30))
    await fill_in(tab, 3, **{"Not before": f"{past:%Y-%m-%dT%H:%M}"})
    await button(tab, LOOK).click()
    await expect(tab.locator("#not_before-complaints")).to_contain_text(f"{past:%Y-%m-%d %H:%M} UTC has passed")
    await expect(tab.get_by_label("Subject")).to_have_value("Spring")
    assert await history(stage.pool, acting(account)) == []
    await tab.get_by_label("Not before").fill(f"{later:%Y-%m-%dT%H:%M}")
    await tab.get_by_label("File", exact=True).set_input_files(listed(3))
    await button(tab, LOOK).click()
    await button(tab, f"Send to 3 recipients, not before {later:%Y-%m-%d %H:%M} UTC").click()
    await expect(tab.locator(".sentence")).to_contain_text("Scheduled: it does not start before")
    await expect(tab.locator(".condition")).to_have_text("Scheduled")
    await expect(tab.locator(".queue")).to_contain_text("in about 30 h")


async def test_a_slip_that_the_look_shows_is_corrected_with_all_that_was_written(
        context: BrowserContext, site: Site, stage: Stage):
    account = await stage.account(threshold=3)
    tab = await signed_in(context, site)
    await fill_in(tab, 3, **{"Plain text": "Hello {{ nmae }}", "Reply to": "office@club.example", "From: name": "The Club"})
    await tab.get_by_label("A merge field is blank").select_option("blank")
    await tab.get_by_text("Header fields of your own").click()
    await tab.get_by_label("One on each line").fill("X-Campaign: spring\nX-Season: 2")
    await tab.get_by_label("Encoding").select_option("cp1252")
    await tab.get_by_label("Column of the addresses").fill("email")
    await tab.get_by_label("Rows that say so themselves").select_option("send")
    await button(tab, LOOK).click()
    [slip] = await history(stage.pool, acting(account))
    await stage.check(slip)
    await tab.reload()
    [found] = await tab.locator(".findings li").all_inner_texts()
    assert found.startswith("3 recipients: The message uses the field “nmae”, which no recipient has."), "one typo, one verdict"
    assert "It is left blank." in found
    await button(tab, "Change it").click()
    for label, value in (("Subject", "Spring"), ("From: address", "news@club.example"), ("From: name", "The Club"),
                         ("Reply to", "office@club.example"), ("Plain text", "Hello {{ nmae }}"),
                         ("A merge field is blank", "blank"), ("One on each line", "X-Campaign: spring\nX-Season: 2"),
                         ("Encoding", "cp1252"), ("Column of the addresses", "email"),
                         ("Rows that say so themselves", "send")):
        await expect(tab.get_by_label(label)).to_have_value(value)
    assert [(one.status, one.reason) for one in await history(stage.pool, acting(account))] == [
        ("cancelled", "Changed before it was sent.")]
    await tab.get_by_label("Plain text").fill("Hello {{ name }}")
    async with context.expect_page() as opened:
        await button(tab, "Preview").click()
    await expect((await opened.value).locator("pre").first).to_have_text("Hello Person 1")
    await button(tab, LOOK).click()
    [corrected, _] = await history(stage.pool, acting(account))
    await stage.check(corrected)
    await tab.reload()
    await expect(tab.locator("main")).to_contain_text(f"The list is that of job {slip.id}")
    await expect(button(tab, "Approve and send to 3 recipients")).to_be_enabled()
    await tab.get_by_role("link", name=f"job {slip.id}").click()
    await expect(tab.locator(".progress")).to_contain_text(f"changed before it was sent: job {corrected.id} took its place")
    await expect(tab.get_by_role("button", name="Continue the rest")).to_have_count(0)
    await shot(tab, "changed")


async def test_the_look_says_where_not_everybody_gets_it(context: BrowserContext, site: Site, stage: Stage):
    await stage.account()
    tab = await signed_in(context, site)
    await fill_in(tab, 3)
    somebody = {**listed(3), "buffer": b"email,name\nann@list.example,Ann\nbob@list.example,\n"}
    await tab.get_by_label("File", exact=True).set_input_files(somebody)
    await button(tab, LOOK).click()
    await expect(tab.locator(".gate .note")).to_contain_text("Not everybody gets it: 1 of them will be Failed")
    await expect(button(tab, "Send to 2 recipients")).to_be_enabled()


async def test_below_the_threshold_a_typo_leaves_no_job_behind(context: BrowserContext, site: Site, stage: Stage):
    account = await stage.account()
    tab = await signed_in(context, site)
    await fill_in(tab, 3, **{"Plain text": "Hello {{ nmae }}"})
    await button(tab, LOOK).click()
    await expect(tab.locator("#recipients-complaints li")).to_have_count(1)
    await expect(tab.locator("#recipients-complaints")).to_contain_text("Is the name spelt as in the list?")
    await expect(tab.get_by_label("Plain text")).to_have_value("Hello {{ nmae }}")
    assert await history(stage.pool, acting(account)) == []


async def test_a_list_that_was_given_twice_is_asked_about(context: BrowserContext, site: Site, stage: Stage):
    account = await stage.account()
    tab = await signed_in(context, site)
    await fill_in(tab, 3, **{"Addresses (instead": "Ann <ann@list.example>"})
    await button(tab, LOOK).click()
    await expect(tab.locator("#pasted-complaints")).to_contain_text("Addresses are pasted as well.")
    await expect(tab.get_by_label("Addresses (instead")).to_have_value("Ann <ann@list.example>")
    await tab.get_by_label("Pasted below").check()
    await tab.get_by_label("File", exact=True).set_input_files(listed(3))
    await button(tab, LOOK).click()
    await expect(tab.locator("#recipients-complaints")).to_contain_text("A file is chosen as well.")
    assert await history(stage.pool, acting(account)) == []
    await button(tab, LOOK).click()
    await expect(tab.locator(".count")).to_have_text("1 recipient")
    await expect(button(tab, "Send to 1 recipient")).to_be_enabled()


async def test_the_way_back_from_the_look_has_what_was_written(context: BrowserContext, site: Site, stage: Stage):
    await stage.account()
    tab = await signed_in(context, site)
    await fill_in(tab, 3)
    await button(tab, LOOK).click()
    await expect(tab.locator(".count")).to_have_text("3 recipients")
    await tab.go_back()
    await expect(tab.get_by_label("Subject")).to_have_value("Spring")
    await expect(tab.get_by_label("Plain text")).to_have_value("Hello {{ name }}")
