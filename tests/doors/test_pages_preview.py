"""The preview page in a real browser: what a message holds is shown and does nothing, and it works without scripts."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, Page, expect

from acting import acting
from postroom.flow.account import domains
from postroom.flow.account.secrets import SecretBox
from postroom.gateway.sandbox.script import Refusal, Script
from postroom.message.content import Content
from stage import CONTENT, SECRET_KEY, Stage, rows

from .browsing import Canary, shot
from .serving import Site

PNG = b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==")
EVIL = '</title></bdi></pre></textarea><script>top.taken = parent.taken = 1</script><img src=x onerror="top.taken = 1">'
LETTER = """<!doctype html><html><head><style>h1 { color: #1a7f4b }</style></head><body style="font-family: sans-serif">
<h1>Spring courses</h1><p>Dear {{ name }},</p><p>there are <b>twelve</b> new courses this spring.
<img src="cid:dot.png" width="12" height="12"></p>
<p><a href="https://club.example/courses">See them all</a></p><p>{{ account.name }}</p></body></html>"""


@pytest.fixture
async def page(browser: Browser, site: Site) -> AsyncIterator[Page]:
    context = await browser.new_context(viewport={"width": 1200, "height": 900})
    page = await context.new_page()
    await page.goto(await site.link())
    yield page
    await context.close()


def hostile(elsewhere: str) -> str:
    """Everything that a message may try; each that works is heard elsewhere, or leaves its mark on the page."""
    return f"""<h1 id="end" onclick="top.taken = 1">Hello {{{{ name }}}}</h1>
<script>top.taken = 1; parent.document.title = "taken"; fetch("{elsewhere}/fetch"); location = "{elsewhere}/location"</script>
<script src="{elsewhere}/script.js"></script><body onload="top.taken = 1; location = '{elsewhere}/onload'">
<img src="{elsewhere}/picture.png" onerror="top.taken = 1; new Image().src = '{elsewhere}/onerror'">
<svg onload="top.taken = 1"><image href="{elsewhere}/svg.png"/></svg><video src="{elsewhere}/video" autoplay></video>
<link rel="stylesheet" href="{elsewhere}/sheet.css"><style>@import "{elsewhere}/import.css";
body {{ background: url({elsewhere}/css.png) }}
@font-face {{ font-family: f; src: url({elsewhere}/font) }} h1 {{ font-family: f }}</style>
<meta http-equiv="refresh" content="0;url={elsewhere}/refresh"><base href="{elsewhere}/">
<iframe src="{elsewhere}/frame"></iframe><object data="{elsewhere}/object"></object><embed src="{elsewhere}/embed">
<form id="form" action="{elsewhere}/form" method="post"><input name="a" value="b"><button id="send">Send</button></form>
<a id="top" href="{elsewhere}/top" target="_top">top</a> <a id="new" href="{elsewhere}/new" target="_blank">new</a>
<a id="own" href="{elsewhere}/own">own</a> <a id="script" href="javascript:top.taken=1">script</a>"""


async def test_nothing_in_a_message_runs_or_fetches_or_leads_anywhere(page: Page, site: Site, stage: Stage, canary: Canary):
    account = await stage.account()
    job = await stage.submit(account, rows(100), content=Content(
        "News", hostile(canary.url), "Hello", "news@club.example"), field_policy="blank")
    before = f"{site.url}/accounts/{account}/jobs/{job.id}/preview?position=1"
    await page.goto(before)
    frame = page.frame_locator("iframe.preview")
    await expect(frame.locator("#end")).to_have_text("Hello Person 1")
    for clicked in ("#end", "#send", "#top", "#new", "#script", "#own"):
        await frame.locator(clicked).click()
    await page.wait_for_timeout(500)
    assert page.url == before
    assert await page.evaluate("[window.taken ?? null, document.title]") == [None, "Preview of News · Postroom"]
    assert len(page.context.pages) == 1
    assert canary.heard == []


async def test_the_message_alone_is_as_inert_as_in_its_frame(page: Page, site: Site, stage: Stage, canary: Canary):
    account = await stage.account()
    job = await stage.submit(account, rows(100), content=Content("News", hostile(canary.url), "Hello", "news@club.example"))
    where = f"{site.url}/accounts/{account}/jobs/{job.id}/recipients/1/message"
    answer = await page.goto(where)
    assert "sandbox; default-src 'none'" in answer.headers["content-security-policy"]
    await expect(page.locator("#end")).to_have_text("Hello Person 1")
    for clicked in ("#end", "#send", "#script"):
        await page.locator(clicked).click()
    await page.wait_for_timeout(500)
    assert page.url == where
    assert canary.heard == []


async def test_no_subject_name_field_or_file_name_becomes_markup(page: Page, site: Site, stage: Stage):
    account = await stage.account()
    content = Content("News {{ name }}", None, "Hello {{ name }}", "news@club.example", from_name=EVIL)
    people = [one.__class__(one.row_no, one.address, {"name": EVIL}) for one in rows(100)]
    job = await stage.submit(account, people, content=content, files=((EVIL.replace("/", "") + ".txt", b"x"),))
    await page.goto(f"{site.url}/accounts/{account}/jobs/{job.id}/preview")
    assert await page.evaluate("[window.taken ?? null, document.querySelectorAll('main script, main img').length]") == [None, 0]
    await expect(page.locator("dd").nth(2)).to_have_text(f"News {EVIL}")
    await expect(page.locator("dd").nth(1)).to_contain_text(EVIL)
    await expect(page.locator("main li").first).to_contain_text("onerror")
    await expect(page.locator("pre").first).to_have_text(f"Hello {EVIL}")


async def test_a_person_walks_through_the_list_and_sends_a_test_without_scripts(browser: Browser, site: Site, stage: Stage):
    stage.sandbox.script = Script(refuse={"bob@club.example": Refusal("rcpt", 550, "5.1.1 No such mailbox <b>here</b>")})
    account = await stage.account("The Club")
    await domains.add_domain(stage.pool, SecretBox(SECRET_KEY), acting(account), "club.example", ["ed25519"])
    content = Content("Spring courses, {{ name }}", LETTER, None, "news@club.example", from_name="The Club")
    job = await stage.submit(account, rows(100), content=content, files=(("dot.png", PNG), ("Programm für Frühling.txt", b"x\n")))
    context = await browser.new_context(java_script_enabled=False, viewport={"width": 1200, "height": 900})
    tab = await context.new_page()
    await tab.goto(await site.link())
    await tab.goto(f"{site.url}/accounts/{account}/jobs/{job.id}")
    await tab.get_by_role("link", name="Look at it as a recipient gets it").click()
    await expect(tab.locator("dd").first).to_have_text("person1@list.example")
    await expect(tab.get_by_role("link", name="Previous")).to_have_count(0)
    await tab.get_by_role("link", name="Next").click()
    await tab.get_by_label("Recipient", exact=True).fill("100")
    await tab.get_by_role("button", name="Show").click()
    await expect(tab.locator("dd").nth(2)).to_have_text("Spring courses, Person 100")
    await expect(tab.get_by_role("link", name="Next")).to_have_count(0)
    await expect(tab.frame_locator("iframe.preview").get_by_text("Dear Person 100")).to_be_visible()
    await tab.get_by_text("Source, ").click()
    await expect(tab.locator("pre").last).to_contain_text("DKIM-Signature: v=1; a=ed25519-sha256")
    await tab.locator("h1").scroll_into_view_if_needed()
    await shot(tab, "preview")
    await tab.get_by_label("To", exact=True).fill("nobody")
    await tab.get_by_role("button", name="Send the test").click()
    await expect(tab.locator("#to-complaints")).to_contain_text("There is no @ in the address")
    await tab.get_by_label("To", exact=True).fill("ann@club.example, bob@club.example\n")
    await tab.get_by_role("button", name="Send the test").click()
    await expect(tab.locator(".answers")).to_be_in_viewport()
    await expect(tab.locator(".answers li").nth(0)).to_contain_text("Accepted")
    await expect(tab.locator(".answers li").nth(1)).to_contain_text("550 5.1.1 No such mailbox <b>here</b>")
    await tab.set_viewport_size({"width": 390, "height": 800})
    await shot(tab, "preview-narrow")
    assert await tab.evaluate("document.documentElement.scrollWidth") <= 390
    assert stage.sandbox.accepted == 1
    await context.close()


async def fill_in(tab: Page, site: Site, account: int, body: str, *, name: str = "Ann", files: tuple = ()) -> None:
    await tab.goto(f"{site.url}/accounts/{account}/send")
    await tab.get_by_label("Subject").fill("Spring courses, {{ name }}")
    await tab.get_by_label("From: address").fill("news@club.example")
    await tab.get_by_label("Body", exact=False).nth(1).fill(body)
    listed = f"email,name\nann@list.example,{name}\nbob@list.example,Bob\n".encode()
    await tab.get_by_label("File", exact=True).set_input_files(
        {"name": "list.csv", "mimeType": "text/csv", "buffer": listed})
    await tab.get_by_label("Attachments").set_input_files([
        {"name": name, "mimeType": "application/octet-stream", "buffer": octets} for name, octets in files])


async def looked_at(tab: Page) -> Page:
    async with tab.context.expect_page() as opened:
        await tab.get_by_role("button", name="Preview", exact=True).click()
    looked = await opened.value
    await looked.wait_for_load_state()
    return looked


async def test_a_draft_is_looked_at_in_a_page_of_its_own_without_scripts_and_nothing_comes_of_it(
        browser: Browser, site: Site, stage: Stage):
    account = await stage.account("The Club")
    context = await browser.new_context(java_script_enabled=False, viewport={"width": 1200, "height": 900})
    tab = await context.new_page()
    await tab.goto(await site.link())
    await fill_in(tab, site, account, LETTER, files=(("dot.png", PNG), ("rules.txt", b"Be kind.\n")))
    looked = await looked_at(tab)
    await expect(looked.locator("dd").nth(0)).to_have_text("ann@list.example")
    await expect(looked.locator("dd").nth(2)).to_have_text("Spring courses, Ann")
    frame = looked.frame_locator("iframe.preview")
    await expect(frame.get_by_text("Dear Ann")).to_be_visible()
    await expect(frame.locator("h1")).to_have_css("color", "rgb(26, 127, 75)")
    await expect(frame.locator("img")).to_have_attribute("src", re.compile("^data:image/png;base64,"))
    await expect(looked.locator("main li").nth(1)).to_contain_text("rules.txt")
    assert await looked.locator("main a, main form").count() == 0
    await shot(looked, "draft")
    await expect(tab.get_by_label("Subject")).to_have_value("Spring courses, {{ name }}")
    assert await stage.query("SELECT count(*) FROM job") == [(0,)]
    await tab.get_by_label("Subject").fill("{{ name")
    faulty = await looked_at(tab)
    await expect(faulty.locator(".complaints li")).to_contain_text("Subject: In the subject, line 1, column 1")
    await expect(faulty.locator("main form")).to_have_count(0)
    assert stage.sandbox.connections_total == 0
    await context.close()


async def test_a_draft_is_as_inert_as_a_job_and_stays_in_its_frame(page: Page, site: Site, stage: Stage, canary: Canary):
    account = await stage.account()
    await fill_in(page, site, account, hostile(canary.url), name=EVIL.replace('"', "'"))
    looked = await looked_at(page)
    frame = looked.frame_locator("iframe.preview")
    await expect(frame.locator("#end")).to_contain_text("onerror")
    for clicked in ("#end", "#send", "#top", "#new", "#script", "#own"):
        await frame.locator(clicked).click()
    await looked.wait_for_timeout(500)
    assert looked.url == f"{site.url}/accounts/{account}/send/preview"
    assert await looked.evaluate("[window.taken ?? null, document.title]") == [None, "Preview · Postroom"]
    assert await looked.evaluate("document.querySelectorAll('main script, main img').length") == 0
    assert len(page.context.pages) == 2
    assert canary.heard == []


async def test_a_look_at_a_draft_that_was_asked_for_from_elsewhere_is_not_given(site: Site, stage: Stage):
    account = await stage.account()
    operator = await site.operator()
    token = re.search(r'name="form_token" value="([0-9a-f]+)"', (await operator.get(f"/accounts/{account}/send")).text)[1]
    for sent, headers in (("0" * 64, {}), (token, {"Sec-Fetch-Site": "cross-site"})):
        answer = await operator.post(f"/accounts/{account}/send/preview", files={"form_token": (None, sent)}, headers=headers)
        assert answer.status_code == 403
    assert (await operator.post(f"/accounts/{account}/send/preview", files={"form_token": (None, token)})).status_code == 422


async def test_the_source_can_be_saved_as_the_gateway_gets_it(site: Site, stage: Stage):
    account = await stage.account()
    job = await stage.submit(account, rows(100))
    answer = await (await site.operator()).get(f"/accounts/{account}/jobs/{job.id}/recipients/3/source")
    assert answer.headers["content-disposition"] == f'attachment; filename="job-{job.id}-recipient-3.eml"'
    assert b"\r\nTo: person3@list.example\r\n" in answer.content


async def test_who_gets_no_message_has_the_reason_and_can_be_tried_on_nobody(site: Site, stage: Stage):
    account = await stage.account()
    people = [one.__class__(one.row_no, one.address, {"name": ""}) for one in rows(100)]
    job = await stage.submit(account, people, content=CONTENT)
    operator = await site.operator()
    text = (await operator.get(f"/accounts/{account}/jobs/{job.id}/preview")).text
    assert "This recipient gets no message." in text
    assert "is blank." in text
    assert "Send the test" not in text
    assert (await operator.get(f"/accounts/{account}/jobs/{job.id}/recipients/1/source")).status_code == 409


async def test_a_test_that_was_asked_for_from_elsewhere_or_for_another_accounts_job_is_not_sent(site: Site, stage: Stage):
    account, other = await stage.account(), await stage.account("Other")
    job = await stage.submit(account, rows(100))
    operator = await site.operator()
    base = f"/accounts/{account}/jobs/{job.id}"
    token = re.search(r'name="form_token" value="([0-9a-f]+)"', (await operator.get(f"{base}/preview")).text)[1]
    form = {"to": "ann@club.example", "form_token": token}
    for data, headers in ((form | {"form_token": "0" * 64}, {}), (form, {"Sec-Fetch-Site": "cross-site"})):
        assert (await operator.post(f"{base}/recipients/1/tests", data=data, headers=headers)).status_code == 403
    for path in (f"/accounts/{other}/jobs/{job.id}/preview", f"{base}/preview?position=101", f"{base}/recipients/101/message"):
        assert (await operator.get(path)).status_code == 404
    assert (await operator.post(f"/accounts/{other}/jobs/{job.id}/recipients/1/tests", data=form)).status_code == 404
    assert (await site.client().get(f"{base}/preview")).status_code == 401
    assert stage.sandbox.accepted == 0


async def test_a_gateway_that_cannot_be_used_is_said_on_the_page(site: Site, stage: Stage):
    account = await stage.account(port=9)
    job = await stage.submit(account, rows(100))
    operator = await site.operator()
    base = f"/accounts/{account}/jobs/{job.id}"
    token = re.search(r'name="form_token" value="([0-9a-f]+)"', (await operator.get(f"{base}/preview")).text)[1]
    form = {"to": "ann@club.example", "form_token": token, "form_key": "k"}
    sent = await operator.post(f"{base}/recipients/1/tests", data=form)
    assert sent.status_code == 303
    answer = await operator.get(sent.headers["location"])
    assert "127.0.0.1:9 cannot be used" in answer.text
    assert ">ann@club.example</textarea>" in answer.text.replace("\n", "")
