"""What a person decides on a job's pages: to pause it, to let it go on, to continue its rest, to settle its doubts."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, BrowserContext, Page, expect

from acting import acting
from contest import book_first, comes_to_light
from postroom.domain.outcome import Evidence, Kind, Outcome
from postroom.flow.job.finish import cancel
from postroom.flow.job.pause import pause, resume
from postroom.flow.job.report import recipient_page, report
from postroom.flow.job.settlement import settle
from postroom.ledger.delivery import audit
from postroom.ledger.delivery.windows import Claim, Window
from postroom.ledger.job.jobs import JobOverview
from stage import Stage

from .browsing import shot
from .serving import Site

COMES_BACK = """text => {
    document.dispatchEvent(new Event("visibilitychange"));
    return document.body.innerText.includes(text);
}"""
REASON = "The date is <b>wrong</b>."


@pytest.fixture
async def context(browser: Browser, site: Site) -> AsyncIterator[BrowserContext]:
    """The operator's browser."""
    context = await browser.new_context(viewport={"width": 1280, "height": 900})
    await (await context.new_page()).goto(await site.link())
    yield context
    await context.close()


@pytest.fixture
async def page(context: BrowserContext) -> Page:
    return context.pages[0]


@pytest.fixture
async def plain(browser: Browser, site: Site) -> AsyncIterator[Page]:
    """A tab without scripts."""
    context = await browser.new_context(java_script_enabled=False, viewport={"width": 1280, "height": 900})
    page = await context.new_page()
    await page.goto(await site.link())
    yield page
    await context.close()


async def shots(page: Page, name: str) -> None:
    """On a desk and on a phone."""
    await shot(page, name)
    await page.set_viewport_size({"width": 390, "height": 844})
    await shot(page, f"{name}-phone")
    await page.set_viewport_size({"width": 1280, "height": 900})


def address(site: Site, job: JobOverview) -> str:
    return f"{site.url}/accounts/{job.account_id}/jobs/{job.id}"


def button(page: Page, name: str):
    return page.get_by_role("button", name=name, exact=True)


async def opened(context: BrowserContext, where: str) -> Page:
    """Another tab, which remembers whether it was ever loaded again."""
    tab = await context.new_page()
    await tab.goto(where)
    await tab.evaluate("window.neverReloaded = true")
    return tab


async def booked(stage: Stage, **options: str) -> JobOverview:
    """A sending job: one is sent, one failed, three are unconfirmed, and the rest is unsent."""
    return (await held_and_booked(stage, **options))[0]


async def held_and_booked(stage: Stage, **options: str) -> tuple[JobOverview, list[tuple[Claim, Window]]]:
    """The same, and the window that held the three."""
    account_id = await stage.account(connections=1, **options)
    job = await stage.started(account_id, 10)
    await book_first(stage.pool, account_id, job.id, {
        1: Outcome(1, 1, Kind.SENT, Evidence.REPLY, 250, "2.0.0", "Ok"),
        2: Outcome(2, 1, Kind.FAILED, Evidence.REPLY, 550, "5.1.1", "No such user")})
    return job, await book_first(stage.pool, account_id, job.id, {
        at: Outcome(at, 1, Kind.UNCONFIRMED, Evidence.CONNECTION_LOST, reply="The connection was lost after the final dot.")
        for at in (3, 4, 5)})


async def over(stage: Stage, **options: str) -> JobOverview:
    """The same, cancelled."""
    job = await booked(stage, **options)
    return await cancel(stage.pool, acting(job.account_id, "boss"), job.id)


async def states(stage: Stage, job: JobOverview) -> list[str | None]:
    return [row.kind for row in await recipient_page(stage.pool, acting(job.account_id), job.id)]


async def test_a_recipient_is_looked_up_and_its_attempts_are_told_without_scripts(site, stage, plain):
    job = await booked(stage)
    await plain.goto(f"{address(site, job)}/recipients?state=unconfirmed")
    await plain.get_by_label("Address").fill("PERSON4@list.example")
    await button(plain, "Find").click()
    await expect(plain.locator("tbody tr")).to_have_count(1)
    await expect(plain.get_by_text("Assume sent: all 3")).to_have_count(0)
    await shots(plain, "looked-up-unconfirmed")
    await plain.get_by_role("link", name="All", exact=True).click()
    await plain.get_by_label("Address").fill("person2@list.example")
    await button(plain, "Find").click()
    await shots(plain, "looked-up")
    await plain.locator("tbody").get_by_role("link", name="1: what became of person2@list.example").click()
    await expect(plain.locator("tbody tr")).to_contain_text("the gateway's own answer")
    await expect(plain.locator("tbody tr")).to_contain_text("No such user")
    await shots(plain, "attempts")


async def test_a_pause_in_one_tab_shows_in_the_other_and_so_does_the_resume(site, stage, context, page):
    job = await booked(stage)
    other = await opened(context, address(site, job))
    await page.goto(address(site, job))
    await shots(page, "sending")
    await page.get_by_label("Why it is paused").fill(REASON)
    await button(page, "Pause").click()
    for tab in (page, other):
        await expect(tab.locator(".sentence")).to_contain_text("Paused by operator since")
        await expect(tab.locator(".sentence")).to_contain_text(REASON.rstrip("."))
        await expect(tab.locator(".badge.paused")).to_have_text("Paused")
        await expect(button(tab, "Pause")).to_have_count(0)
        await expect(button(tab, "Cancel")).to_be_visible()
    await shots(page, "paused")
    await button(other, "Resume (5 unsent)").click()
    await expect(button(page, "Pause")).to_be_visible()
    await expect(page.locator(".badge.paused")).to_have_count(0)
    assert (await report(site.pool, acting(job.account_id), job.id)).job.paused_by is None


async def test_a_tab_that_only_watches_is_never_loaded_again(site, stage, context, page):
    job = await booked(stage)
    tab = await opened(context, address(site, job))
    await pause(site.pool, acting(job.account_id, "key website"), job.id)
    await expect(button(tab, "Resume (5 unsent)")).to_be_visible()
    async with site.pool.connection() as conn, conn.transaction():
        await audit.insert_alarm(conn, job.account_id, job.id, "The numbers of chunk 0 do not add up.")
    await expect(tab.get_by_role("alert")).to_contain_text("The numbers of chunk 0 do not add up.")
    await shots(tab, "alarm")
    await page.goto(f"{site.url}/accounts/{job.account_id}/jobs")
    await expect(page.locator("tbody .badge")).to_have_text(["Sending", "Paused"])
    await shots(page, "history")
    await cancel(site.pool, acting(job.account_id, "key website"), job.id)
    await expect(button(tab, "Continue the rest (5 unsent)")).to_be_visible()
    assert await tab.evaluate("window.neverReloaded") is True


async def test_a_job_that_is_paused_at_the_gate_says_so_and_is_queued_paused(site, stage, page):
    account_id = await stage.account(threshold=3)
    job = await stage.checked(account_id, 3)
    await page.goto(address(site, job))
    approve = button(page, "Approve and send to 3 recipients")
    await expect(approve).to_be_visible()
    await pause(site.pool, acting(account_id, "key website"), job.id, reason="Wait for the printer")
    await expect(page.get_by_text("Paused by key website since")).to_be_visible()
    await expect(button(page, "Resume")).to_be_visible()
    await shots(page, "gate-paused")
    await approve.click()
    await expect(page.locator(".badge")).to_have_text(["Queued", "Paused"])
    await button(page, "Resume (3 unsent)").click()
    await expect(page.locator(".badge")).to_have_text(["Sending"])


async def test_a_job_behind_a_paused_one_says_what_it_waits_for_and_hears_when_that_goes_on(site, stage, page):
    account_id = await stage.account(port=25)
    active, queued = await stage.submit(account_id, 3), await stage.submit(account_id, 3)
    await pause(site.pool, acting(account_id, "key website"), active.id)
    await page.goto(f"{site.url}/accounts/{account_id}/jobs")
    await expect(page.locator("tbody .condition")).to_have_text("Waits for one that stands still")
    await shots(page, "history-behind-a-paused-one")
    await page.goto(address(site, queued))
    await expect(page.locator(".sentence")).to_contain_text(f"It waits for job {active.id}, which is paused.")
    await expect(page.locator(".queue")).to_contain_text("(Sending, but it is paused)")
    await shots(page, "behind-a-paused-one")
    await resume(site.pool, acting(account_id, "key website"), active.id)
    await expect(page.locator(".sentence")).to_contain_text("Sending will start automatically when the current send finishes.")
    await expect(page.locator(".condition")).to_have_count(0)


@pytest.mark.parametrize(("which", "label", "count"), [("unsent", "Continue the rest (5 unsent)", 5),
                                                       ("failed", "Try the failed again (1 failed)", 1)])
async def test_a_rest_is_continued_once_and_each_job_leads_to_the_other(site, stage, context, page, which, label, count):
    job = await over(stage)
    other = await opened(context, address(site, job))
    await page.goto(address(site, job))
    await shots(page, "cancelled")
    await button(page, label).click()
    await expect(page.get_by_text(f"Continues job {job.id}: its {which}.")).to_be_visible()
    made = int(page.url.rsplit("/", 1)[1])
    now = (await report(site.pool, acting(job.account_id), made)).job
    assert (now.continues, now.recipient_count, now.created_by) == (job.id, count, "operator")
    await shots(page, "continuation")
    await page.get_by_role("link", name=f"job {job.id}").click()
    await expect(page.get_by_text(f"Its {which} recipients go on in job {made}.")).to_be_visible()
    await expect(button(page, label)).to_have_count(0)
    await shots(page, "continued")
    await page.get_by_role("link", name=f"job {made}").click()
    await expect(page).to_have_url(re.compile(f"/jobs/{made}$"))
    await other.wait_for_function(COMES_BACK, arg=f"go on in job {made}", polling=1_000)
    assert await other.evaluate("window.neverReloaded") is True


async def test_the_doubtful_of_a_sending_job_are_settled_one_by_one_without_scripts(site, stage, plain):
    job = await booked(stage)
    await plain.goto(address(site, job))
    await plain.get_by_role("link", name="Settle them").click()
    row = plain.locator("tbody tr", has_text="person3@list.example")
    await expect(row).to_contain_text("Connection lost")
    await expect(row).to_contain_text("The connection was lost after the final dot.")
    await expect(plain.get_by_text("whoever it took gets the message twice")).to_be_visible()
    await shots(plain, "doubts")
    await button(row, "Assume sent: person3@list.example").click()
    await expect(plain.locator(".receipt")).to_contain_text("Assumed sent: 1 unconfirmed.")
    await shots(plain, "doubts-settled")
    await button(plain, "Send again: person5@list.example").click()
    await expect(plain.locator(".receipt")).to_contain_text("To be sent again: 1 unconfirmed.")
    await expect(plain.locator("tbody tr")).to_have_count(1)
    assert await states(stage, job) == ["sent", "failed", "sent", "unconfirmed", "released", *[None] * 5]


async def test_all_of_a_job_that_is_over_are_sent_again_by_a_job_that_the_receipt_leads_to(site, stage, plain):
    job = await over(stage)
    await plain.goto(f"{address(site, job)}/recipients?state=unconfirmed")
    await button(plain, "Send again: all 3").click()
    await expect(plain.get_by_text("Nobody here.")).to_be_visible()
    await expect(plain.locator(".receipt")).to_contain_text(": 3 unconfirmed.")
    await shots(plain, "all-settled")
    await plain.get_by_role("link", name="Go to job").click()
    await expect(plain.get_by_text(f"Continues job {job.id}: its unconfirmed.")).to_be_visible()
    made = (await report(site.pool, acting(job.account_id), int(plain.url.rsplit("/", 1)[1]))).job
    assert (made.recipient_count, await states(stage, job)) == (3, ["sent", *["failed"] * 4, *[None] * 5])
    await plain.goto(address(site, job))
    await button(plain, "Try the failed again (1 failed)").click()
    await expect(plain.get_by_text(f"Continues job {job.id}: its failed.")).to_be_visible()
    await expect(plain.locator(".count")).to_have_text("1 recipient")


async def test_all_are_assumed_sent_with_one_click(site, stage, plain):
    job = await over(stage)
    await plain.goto(f"{address(site, job)}/recipients?state=unconfirmed")
    await button(plain, "Assume sent: all 3").click()
    await expect(plain.locator(".receipt")).to_contain_text("Assumed sent: 3 unconfirmed.")
    assert (await report(site.pool, acting(job.account_id), job.id)).job.sent == 4


async def test_who_never_got_it_although_a_person_assumed_so_is_continued_from_where_that_is_said(site, stage, context):
    job, held = await held_and_booked(stage)
    await settle(site.pool, stage.deployment, acting(job.account_id, "operator"), job.id, "assume_sent")
    tab = await opened(context, address(site, job))
    await comes_to_light(site.pool, held, Kind.RELEASED)
    note = tab.locator(".progress .note")
    await expect(note).to_contain_text("3 whom a person had assumed sent never got it")
    await shots(tab, "contradicted-while-sending")
    await cancel(site.pool, acting(job.account_id, "boss"), job.id)
    await button(tab, "Continue the rest (8 unsent)").click()
    await expect(tab.get_by_text(f"Continues job {job.id}: its unsent.")).to_be_visible()
    await expect(button(tab, "Send to 8 recipients")).to_be_visible()
    await tab.goto(address(site, job))
    await expect(note).to_contain_text("3 whom a person had assumed sent never got it")
    await expect(tab.get_by_text("Its unsent recipients go on in job")).to_be_visible()
    await shots(tab, "contradicted-and-continued")
    await tab.goto(f"{address(site, job)}/recipients/3/attempts")
    await expect(tab.locator("tbody tr")).to_contain_text(["Unconfirmed", "Assumed sent by operator.", "Released"])


async def test_who_joined_the_rest_by_what_came_to_light_is_continued_alone_without_scripts(site, stage, plain):
    job, held = await held_and_booked(stage)
    await cancel(site.pool, acting(job.account_id, "boss"), job.id)
    await plain.goto(address(site, job))
    await button(plain, "Continue the rest (5 unsent)").click()
    await settle(site.pool, stage.deployment, acting(job.account_id, "operator"), job.id, "assume_sent")
    await comes_to_light(site.pool, held, Kind.RELEASED)
    await plain.goto(address(site, job))
    await expect(plain.locator(".progress .note")).to_contain_text("3 whom a person had assumed sent never got it")
    await shots(plain, "contradicted")
    await button(plain, "Continue the rest (3 unsent)").click()
    await expect(button(plain, "Send to 3 recipients")).to_be_visible()
    made = int(plain.url.rsplit("/", 1)[1])
    assert [row.address for row in await recipient_page(site.pool, acting(job.account_id), made)] == [
        f"person{n}@list.example" for n in (3, 4, 5)]


async def test_who_had_it_before_it_was_sent_again_is_sent_and_the_page_says_that_it_may_be_twice(site, stage, plain):
    job, held = await held_and_booked(stage)
    await cancel(site.pool, acting(job.account_id, "boss"), job.id)
    await settle(site.pool, stage.deployment, acting(job.account_id, "operator"), job.id, "send_again")
    await comes_to_light(site.pool, held, Kind.SENT)
    await plain.goto(address(site, job))
    await expect(plain.locator(".progress .note")).to_contain_text([
        "3 whom a person had sent again already had it, as", "3 whom a person had sent again already had it and may get it"])
    await expect(plain.get_by_text("Recipients that were unconfirmed are sent again in job")).to_be_visible()
    await expect(button(plain, "Try the failed again (1 failed)")).to_be_visible()
    await shots(plain, "contradicted-twice")
    assert (await states(stage, job))[:5] == ["sent", "failed", "sent", "sent", "sent"]


async def test_a_decision_that_was_sent_from_elsewhere_or_says_nothing_decides_nothing(site, stage):
    job, ended = await booked(stage), await over(stage, name="Choir")
    operator = await site.operator()
    token = re.search(r'name="form_token" value="([0-9a-f]+)"', (await operator.get(f"/accounts/{job.account_id}/jobs")).text)[1]
    decisions = [(job, "pause", {"reason": "x"}), (ended, "continuation", {"which": "unsent"}),
                 (ended, "settlements", {"decision": "assume_sent", "position": "all"})]
    for one, noun, fields in decisions:
        where = f"{address(site, one)}/{noun}"
        assert (await operator.post(where, data={**fields, "form_token": "0" * 64})).status_code == 403
        assert (await operator.post(where, data={**fields, "form_token": token},
                                    headers={"Sec-Fetch-Site": "cross-site"})).status_code == 403
    settlements = f"{address(site, ended)}/settlements"
    for fields in ({"decision": "assume_sent"}, {"decision": "assume_sent", "position": ""}, {"position": "all"},
                   {"decision": "assume_sent", "position": "9" * 20}, {"decision": "assume_sent", "position": "1"}):
        assert (await operator.post(settlements, data={**fields, "form_token": token})).status_code == 422
    too_long = {"reason": "x" * 201, "form_token": token}
    assert (await operator.post(f"{address(site, job)}/pause", data=too_long)).status_code == 422
    assert (await report(site.pool, acting(job.account_id), job.id)).job.paused_by is None
    told = await report(site.pool, acting(ended.account_id), ended.id)
    assert (told.job.unconfirmed, told.continued_by) == (3, ())


async def test_the_events_bring_what_a_person_wrote_only_within_the_sentence(site, stage):
    job = await booked(stage)
    await pause(site.pool, acting(job.account_id, "key <i>website</i>"), job.id, reason=REASON)
    operator = await site.operator()
    async with operator.stream("GET", f"{address(site, job)}/events") as answer:
        said = json.loads((await anext(line async for line in answer.aiter_lines() if line.startswith("data:")))[5:])
    assert said["paused"].keys() == {"since"}
    assert REASON.rstrip(".") in said.pop("sentence")
    assert "<" not in json.dumps(said)
