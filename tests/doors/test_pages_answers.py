"""Pages that answer what they are asked: nothing on them contradicts itself or is out of sight, on a desk or a phone."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from playwright.async_api import Browser, Page, expect

from acting import acting
from contest import book_first
from postroom.domain.audience import IncomingRow
from postroom.domain.outcome import Evidence, Kind, Outcome
from postroom.flow.audience.suppressions import suppress
from postroom.flow.job.finish import cancel
from postroom.flow.job.pause import pause
from postroom.ledger.job import jobs
from postroom.ledger.job.jobs import JobOverview
from stage import CONTENT, Stage, rows

from .browsing import shot
from .serving import Site

SENT = Outcome(1, 1, Kind.SENT, Evidence.REPLY, 250, "2.0.0", "Ok")
UNMADE = Outcome(2, 1, Kind.FAILED, Evidence.WORKER, reply="The message could not be made: the field is blank.")
REFUSED = Outcome(3, 1, Kind.FAILED, Evidence.REPLY, 550, "5.1.1", "5.1.1 <person3@list.example>: Recipient address rejected: "
                  "User unknown in virtual mailbox table of a-very-long-host-name.example")
# How far the cells of a table and what is in them reach; and the names that stand in the cells themselves.
EDGES = """() => {
    const boxes = [...document.querySelectorAll("tbody td, tbody th, tbody td *")].map(one => one.getBoundingClientRect());
    return [Math.min(...boxes.map(box => box.left)), Math.max(...boxes.map(box => box.right))];
}"""
LABELS = """() => [...document.querySelectorAll("tbody td")].map(one => getComputedStyle(one, "::before").content)
    .filter(said => said.startsWith('"')).map(said => said.slice(1, -1))"""
SIZES = {"desk": (1280, 900), "window": (1153, 900), "tablet": (1000, 900), "wide enough": (961, 900), "card": (960, 900),
         "phone": (390, 844)}


@pytest.fixture
async def page(browser: Browser, site: Site) -> AsyncIterator[Page]:
    context = await browser.new_context(viewport={"width": 1280, "height": 900})
    page = await context.new_page()
    await page.goto(await site.link())
    yield page
    await context.close()


def address(site: Site, job: JobOverview) -> str:
    return f"{site.url}/accounts/{job.account_id}/jobs/{job.id}"


async def waits_for_its_gateway(stage: Stage, job: JobOverview) -> None:
    async with stage.pool.connection() as conn:
        await jobs.set_condition(conn, job.account_id, job.id, "gateway", reason="The gateway is away.", delay_s=60)


async def moves(stage: Stage) -> None:
    """As if a worker ran that does nothing."""
    await stage.query("INSERT INTO procrastinate_workers DEFAULT VALUES RETURNING 1")


async def test_a_job_that_waits_for_its_gateway_says_so_on_its_open_page_and_in_the_history(page, site, stage):
    job = await stage.started(await stage.account(connections=1), 10)
    await moves(stage)
    await book_first(stage.pool, job.account_id, job.id, {1: SENT})
    await page.goto(address(site, job))
    await page.evaluate("window.neverReloaded = true")
    await expect(page.locator("[data-field=rate]")).to_contain_text("a second")
    await expect(page.locator(".condition")).to_have_count(0)
    await waits_for_its_gateway(stage, job)
    await expect(page.locator(".condition")).to_have_text("Waits for its gateway")
    await expect(page.locator("[data-field=rate]")).to_have_count(0)
    assert await page.evaluate("window.neverReloaded") is True
    await shot(page, "waits-for-gateway")
    await page.goto(f"{site.url}/accounts/{job.account_id}/jobs")
    await expect(page.locator("tbody .badges")).to_have_text("Sending Waits for its gateway")


async def test_while_a_job_is_paused_it_has_no_rate_and_its_reason_ends_as_it_was_written(page, site, stage):
    job = await stage.started(await stage.account(connections=1), 10)
    await moves(stage)
    await book_first(stage.pool, job.account_id, job.id, {1: SENT})
    await page.goto(address(site, job))
    await expect(page.locator("[data-field=rate]")).to_be_visible()
    await pause(stage.pool, acting(job.account_id, "boss"), job.id, reason="Wrong date?")
    await expect(page.locator(".sentence")).to_contain_text("UTC: Wrong date? 9 of 10 wait; nothing is sent")
    for name in ("rate", "left"):
        await expect(page.locator(f"[data-field={name}]")).to_have_count(0)


async def test_a_queued_job_that_somebody_has_to_resume_has_no_time_at_which_it_starts(page, site, stage):
    account = await stage.account(connections=1)
    active, queued = [await stage.started(account, 10) for _ in range(2)]
    await moves(stage)
    await book_first(stage.pool, account, active.id, {1: SENT})
    await page.goto(address(site, queued))
    await expect(page.locator("[data-field=starts_in]")).to_contain_text("in about")
    await waits_for_its_gateway(stage, active)
    await page.reload()
    await expect(page.locator("[data-field=starts_in]")).to_have_text("not known yet")
    await pause(stage.pool, acting(account, "boss"), queued.id)
    await expect(page.locator(".queue")).to_contain_text("when somebody resumes it")


async def test_long_times_are_told_in_days_by_the_server_and_on_the_open_page(page, site, stage):
    job = await stage.submit(await stage.account(), 5, not_before=datetime.now(UTC) + timedelta(hours=775.2))
    async with page.expect_response(re.compile("/events$")):
        await page.goto(address(site, job))
    await expect(page.locator("[data-field=starts_in]")).to_have_text("in about 32 days")
    assert "in about 32 days" in (await (await site.operator()).get(address(site, job))).text


async def test_of_one_the_sentences_speak_in_the_singular(page, site, stage):
    job = await stage.started(await stage.account(connections=1), 3)
    doubt = Outcome(2, 1, Kind.UNCONFIRMED, Evidence.CONNECTION_LOST, reply="The connection was lost after the final dot.")
    await book_first(stage.pool, job.account_id, job.id, {1: SENT, 2: doubt})
    await cancel(stage.pool, acting(job.account_id, "boss"), job.id)
    await page.goto(address(site, job))
    await expect(page.locator(".sentence")).to_have_text(
        "1 had been sent before; 1 was not sent and stays unsent. 1 is unconfirmed: the gateway may have it.")


@pytest.mark.parametrize("hopeless", ["no address", "no message", "suppressed since"])
async def test_the_failed_are_not_offered_to_be_tried_again_where_that_reaches_nobody(page, site, stage, hopeless):
    account = await stage.account(connections=1)
    people = [*rows(3), *([IncomingRow(5, "nowhere", {"name": "N"})] if hopeless == "no address" else [])]
    job = await stage.started(account, people, unusable_addresses="fail")
    await book_first(stage.pool, account, job.id, {1: SENT} | (
        {} if hopeless == "no address" else {2: UNMADE, 3: REFUSED} if hopeless == "suppressed since" else {2: UNMADE}))
    await cancel(stage.pool, acting(account, "boss"), job.id)
    again = page.get_by_role("button", name="Try the failed again")
    if hopeless == "suppressed since":
        await page.goto(address(site, job))
        await expect(again).to_be_visible()
        await suppress(stage.pool, acting(account), ["person3@list.example"])
    await page.goto(address(site, job))
    await expect(again).to_have_count(0)
    await expect(page.locator(".progress")).to_contain_text("Trying the failed again would reach nobody")


async def test_a_rest_that_is_continued_from_the_page_waits_for_the_button_that_names_the_number(page, site, stage):
    job = await stage.started(await stage.account(connections=1), 5)
    await cancel(stage.pool, acting(job.account_id, "boss"), job.id)
    await page.goto(address(site, job))
    await page.get_by_role("button", name="Continue the rest (5 unsent)").click()
    await expect(page.get_by_role("button", name="Send to 5 recipients")).to_be_enabled()
    await expect(page.locator(".badge")).to_have_text("Pending approval")


@pytest.mark.parametrize("size", SIZES)
async def test_nothing_of_a_table_is_cut_off(page, site, stage, size):
    account = await stage.account(connections=1)
    who = "person@" + "long-" * 9 + "name.example"
    people = [*rows(3), IncomingRow(5, who, {"name": "L"}), IncomingRow(6, "nowhere " * 6, {}), IncomingRow(7, who, {})]
    job = await stage.started(account, people, content=replace(CONTENT, subject="What the courses of this spring have to say"))
    await book_first(stage.pool, account, job.id, {1: SENT, 2: UNMADE, 3: REFUSED})
    await waits_for_its_gateway(stage, job)
    width, height = SIZES[size]
    await page.set_viewport_size({"width": width, "height": height})
    history = f"{site.url}/accounts/{account}/jobs"
    shown = {history: "Waits for its gateway", f"{address(site, job)}/recipients?address=person3@list.example": "User unknown",
             f"{address(site, job)}/recipients": "Unsent", f"{address(site, job)}/exclusions": "Duplicate",
             f"{address(site, job)}/recipients/3/attempts": "the gateway's own answer"}
    for number, (where, words) in enumerate(shown.items()):
        await page.goto(where)
        await expect(page.locator("tbody")).to_contain_text(words)
        left, right = await page.evaluate(EDGES)
        assert (left >= 0, right <= width) == (True, True), where
        assert await page.evaluate("document.documentElement.scrollWidth") <= width, where
        await shot(page, f"table-{number}-{size}")
    await page.goto(history)
    labels = await page.evaluate(LABELS)
    names = ["Recipients", "Sent", "Failed", "Skipped", "Unconfirmed", "Unsent", "Created"]
    assert labels == (names if size in ("card", "phone") else [])


async def test_focus_what_is_written_and_what_is_open_outlast_a_live_change(page, site, stage):
    job = await stage.submit(await stage.account(threshold=3), 3)
    await page.goto(address(site, job))
    to = page.get_by_label("To", exact=True)
    await to.fill("me@club.exam")
    await page.get_by_text("Plain text").click()
    await to.focus()
    await page.keyboard.press("ArrowLeft")
    await stage.check(job)
    await expect(page.get_by_role("button", name="Approve and send to 3 recipients")).to_be_enabled()
    await expect(to).to_be_focused()
    await page.keyboard.type("!")
    await expect(to).to_have_value("me@club.exa!m")
    await expect(page.locator("details")).to_have_attribute("open", "")


async def test_the_focus_of_what_is_gone_is_at_the_content(page, site, stage):
    job = await stage.started(await stage.account(), 3)
    await page.goto(address(site, job))
    await page.get_by_role("button", name="Pause").focus()
    await pause(stage.pool, acting(job.account_id, "boss"), job.id)
    await expect(page.get_by_role("button", name="Resume (3 unsent)")).to_be_visible()
    await expect(page.locator("main")).to_be_focused()
    cancelling = page.get_by_role("button", name="Cancel")
    await cancelling.focus()
    await waits_for_its_gateway(stage, job)
    await expect(page.locator("main")).to_have_attribute("data-held", "gateway")
    await expect(cancelling).to_be_focused()
