"""The pages in a real browser: the gate is approved with a click, numbers move by themselves, and nothing is ever reloaded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Page, expect

from acting import acting
from postroom.flow.job.approve import approve
from postroom.flow.job.finish import cancel
from postroom.flow.job.report import report
from postroom.gateway.sandbox.script import Answer, Script
from stage import Stage, staged

from .browsing import shot
from .serving import MESSAGE, PNG, job_of

QUEUE_SENTENCE = "Your send is queued. Sending will start automatically when the current send finishes."
STATES = ("sent", "failed", "skipped", "unconfirmed", "unsent")


@pytest.fixture
async def slow_stage(pool, database) -> AsyncIterator[Stage]:
    async with staged(pool, database, Script(dot=Answer(delay_s=0.02))) as stage:
        yield stage


@pytest.fixture
async def page(browser, site) -> AsyncIterator[Page]:
    """The operator's tab. It remembers whether it was ever loaded again, and no script on it may fail."""
    context = await browser.new_context(viewport={"width": 1200, "height": 900})
    page = await context.new_page()
    troubles: list[str] = []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda said: troubles.append(said.text) if "Content Security Policy" in said.text else None)
    await page.goto(await site.link())
    yield page
    await context.close()
    assert troubles == []


async def numbers(page: Page) -> dict[str, int]:
    """All five of one instant, as a person's eye takes them in."""
    texts = await page.evaluate(
        "states => states.map(state => document.querySelector(`dd [data-field=${state}]`).textContent)", list(STATES))
    return {state: int(text.replace(",", "")) for state, text in zip(STATES, texts, strict=True)}


async def mark(page: Page) -> None:
    await page.evaluate("window.neverReloaded = true")


async def assert_never_reloaded(page: Page) -> None:
    assert await page.evaluate("window.neverReloaded") is True


async def test_an_approval_is_a_click_and_the_progress_moves_by_itself_to_the_end(page, site, slow_stage):
    account_id = await slow_stage.account()
    job = await site.job(account_id, 400)
    await page.goto(f"{site.url}/accounts/{account_id}/jobs/{job['id']}")
    await expect(page.locator(".count")).to_have_text("400 recipients")
    await shot(page, "gate")
    async with slow_stage.worker():
        await page.get_by_role("button", name="Approve").click()
        await expect(page.locator(".badge")).to_have_text("Sending")
        await mark(page)
        seen = []
        while await page.locator(".badge").inner_text() != "Completed":
            if (now := await numbers(page)) not in seen:
                seen.append(now)
            if len(seen) == 3:
                await shot(page, "sending")
            await page.wait_for_timeout(50)
        await expect(page.get_by_text("All recipients are processed.")).to_be_visible()
        await expect(page.locator(".trail li")).to_have_count(4)
        await expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
    assert len(seen) > 2
    assert all(sum(one.values()) == 400 for one in seen)
    assert (await numbers(page))["sent"] == 400 == slow_stage.sandbox.accepted
    await assert_never_reloaded(page)
    await shot(page, "completed")


async def test_a_cancel_is_one_click_and_the_page_says_who_got_it_and_who_did_not(page, site, slow_stage):
    account_id = await slow_stage.account()
    job = await slow_stage.started(account_id, 600)
    async with slow_stage.worker():
        await slow_stage.until_accepted(20)
        await page.goto(f"{site.url}/accounts/{account_id}/jobs/{job.id}")
        await page.get_by_role("button", name="Cancel").click()
        await expect(page.locator(".badge")).to_have_text("Cancelled")
        over = (await slow_stage.over(account_id, job.id))
        await expect(page.locator("dd [data-field=sent]")).to_have_text(str(over.sent))
    now = await numbers(page)
    assert sum(now.values()) == 600
    assert now["unsent"] > 0
    await shot(page, "cancelled")


async def test_a_queued_send_says_so_and_starts_on_the_page_when_the_one_before_it_ends(page, site):
    account_id = await site.account()
    api = await site.api(account_id)
    first, second = [(await api.post("/jobs", json=job_of(9))).json()["id"] for _ in range(2)]
    await page.goto(f"{site.url}/accounts/{account_id}/jobs/{second}")
    await expect(page.locator("[data-field=sentence]")).to_contain_text(QUEUE_SENTENCE)
    await expect(page.locator("[data-field=queue_position]")).to_have_text("1")
    await shot(page, "queued")
    await mark(page)
    await cancel(site.pool, acting(account_id, "somebody"), first)
    await expect(page.locator(".badge")).to_have_text("Sending")
    await expect(page.locator("[data-field=queue_position]")).to_have_count(0)
    await assert_never_reloaded(page)


async def test_after_a_dropped_connection_the_page_is_right_again(page, site):
    account_id = await site.account()
    job = await site.job(account_id)
    await page.goto(f"{site.url}/accounts/{account_id}/jobs/{job['id']}")
    await mark(page)
    while not site.app.state.door.live._watched:
        await page.wait_for_timeout(20)
    await site.stop()
    await approve(site.pool, acting(account_id, "somebody else"), job["id"])
    await site.start()
    await expect(page.locator(".badge")).to_have_text("Sending", timeout=15_000)
    await assert_never_reloaded(page)


async def test_the_preview_runs_nothing_and_fetches_nothing(site, browser):
    fetched = 0

    async def tracker(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal fetched
        fetched += 1
        writer.close()

    account_id = await site.account()
    context = await browser.new_context()
    tab = await context.new_page()
    await tab.goto(await site.link())
    async with await asyncio.start_server(tracker, "127.0.0.1", 0) as elsewhere:
        port = elsewhere.sockets[0].getsockname()[1]
        html = ('<h1 style="color: green">Hello</h1><script>top.document.title = "taken"</script>'
                f'<img src="http://127.0.0.1:{port}/open.png"><link rel="stylesheet" href="http://127.0.0.1:{port}/a.css">')
        job = (await (await site.api(account_id)).post("/jobs", json=job_of(100, message={**MESSAGE, "html": html}))).json()
        await tab.goto(f"{site.url}/accounts/{account_id}/jobs/{job['id']}")
        await tab.locator("iframe.preview").scroll_into_view_if_needed()
        heading = tab.frame_locator("iframe.preview").get_by_role("heading", name="Hello")
        await expect(heading).to_have_css("color", "rgb(0, 128, 0)")
        assert "taken" not in await tab.title()
    assert fetched == 0
    await context.close()


async def test_a_message_is_sent_from_the_form_to_the_gate_without_scripts(site, browser):
    account_id = await site.account()
    context = await browser.new_context(java_script_enabled=False)
    tab = await context.new_page()
    await tab.goto(await site.link())
    await tab.get_by_role("link", name="Send message").first.click()
    await tab.get_by_label("Subject").fill("Spring")
    await tab.get_by_label("From: address").fill("news@club.example")
    await tab.get_by_label("Preheader").fill("For {{ name }}")
    await tab.get_by_label("The body is written as").select_option("Markdown")
    await tab.get_by_label("Body (optional)").fill("# Hello {{ name }}\n\n![Logo](cid:logo.png)")
    await tab.get_by_label("A merge field is blank for someone").select_option("refuse")
    files = [{"name": "logo.png", "mimeType": "image/png", "buffer": PNG},
             {"name": "rules.txt", "mimeType": "text/plain", "buffer": b"Be kind."}]
    await tab.get_by_label("Attachments").set_input_files(files)
    wrong = {"name": "list.csv", "mimeType": "text/csv", "buffer": b"email,name\na@list.example,A,B\n"}
    await tab.get_by_label("File", exact=True).set_input_files(wrong)
    await tab.get_by_role("button", name="Count the recipients").click()
    await expect(tab.locator("#recipients-complaints")).to_contain_text("Row 2", timeout=15_000)
    await expect(tab.get_by_label("Preheader")).to_have_value("For {{ name }}")
    await expect(tab.get_by_label("The body is written as")).to_have_value("markdown")
    await shot(tab, "form")
    await tab.get_by_label("Attachments").set_input_files(files)
    right = b"email,name\n" + b"".join(b"person%d@list.example,P\n" % n for n in range(120))
    await tab.get_by_label("File", exact=True).set_input_files({**wrong, "buffer": right})
    await tab.get_by_role("button", name="Count the recipients").click()
    await expect(tab.locator(".count")).to_have_text("120 recipients")
    await tab.get_by_role("button", name="Cancel").click()
    await expect(tab.locator(".badge")).to_have_text("Cancelled")
    await expect(tab.get_by_text("No emails were dispatched.")).to_be_visible()
    job_id = int(tab.url.rsplit("/", 1)[1])
    assert (await report(site.pool, acting(account_id), job_id)).job.sent == 0
    await tab.get_by_role("link", name="History").click()
    await shot(tab, "history")
    await context.close()


async def test_who_signs_out_in_another_tab_is_told_so_and_led_to_sign_in_and_the_page_goes_on_after_that(page, site, stage):
    account_id = await stage.account(port=25)
    for job in (await stage.submit(account_id, 3), await stage.submit(account_id, 200)):
        await page.goto(f"{site.url}/accounts/{account_id}/jobs/{job.id}")
        other = await page.context.new_page()
        await other.goto(page.url)
        await other.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_text("You are signed out, so this page stands still.")).to_be_visible(timeout=15_000)
        await expect(page.get_by_text("The connection was lost")).to_be_hidden()
        await shot(page, f"signed-out-{job.status.value}")
        await page.get_by_role("link", name="Sign in").click()
        await expect(page.get_by_text("postroom sign-in")).to_be_visible()
        await page.goto(await site.link())
        await other.close()
