"""The unsubscribe page, as mailbox providers, scanners of links and people come to it."""

from __future__ import annotations

import asyncio
import logging
import random
from base64 import urlsafe_b64encode
from contextlib import suppress

import httpx
import pytest
import structlog
from playwright.async_api import expect

from postroom.doors import limits, logs
from postroom.message.wire.token import Tokens
from proofs.installation import eventually

from .browsing import shot
from .serving import Site, job_of

ONE_CLICK = {"List-Unsubscribe": "One-Click"}
EVIL = '</bdi><script src="//evil.example/x.js"></script><img src=x onerror=alert(1)>'


async def tokens_of_a_job(site: Site, name: str = "Club") -> Tokens:
    """Of a job to person1 ... person100."""
    account_id = await site.account(name)
    job = (await (await site.api(account_id)).post("/jobs", json=job_of(100))).json()
    async with site.pool.connection() as conn:
        (key,) = await (await conn.execute("SELECT token_key FROM account WHERE id = %s", (account_id,))).fetchone()
    return Tokens(key, job["id"])


async def suppressed(site: Site) -> list[str]:
    async with site.pool.connection() as conn:
        return [key for (key,) in await (await conn.execute("SELECT address_key FROM suppression ORDER BY 1")).fetchall()]


def kept_to_itself(answer: httpx.Response) -> None:
    """Nothing is stored anywhere, nothing is told to anybody, nobody is sent on."""
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert not answer.headers.keys() & {"set-cookie", "location", "refresh"}
    assert "<script" not in answer.text
    assert "//" not in answer.text.replace("<!doctype", ""), "nothing is fetched from elsewhere"


FORM = "application/x-www-form-urlencoded"
AS_IT_COMES = {
    "urlencoded": {"data": ONE_CLICK},
    "multipart": {"files": {"List-Unsubscribe": (None, "One-Click")}},
    "a line end behind it": {"content": b"List-Unsubscribe=One-Click\r\n", "headers": {"Content-Type": FORM}},
    "a bare line feed behind it": {"content": b"List-Unsubscribe=One-Click\n",
                                   "headers": {"Content-Type": f"{FORM}; charset=UTF-8"}},
    "no content type": {"content": b"List-Unsubscribe=One-Click"},
    "nothing at all": {},
    "an empty form": {"content": b"", "headers": {"Content-Type": FORM}},
    "an empty multipart": {"content": b"", "headers": {"Content-Type": "multipart/form-data; boundary=x"}},
    "multipart without its boundary": {"content": b"List-Unsubscribe=One-Click",
                                       "headers": {"Content-Type": "multipart/form-data"}},
    "multipart with bare line feeds": {
        "content": b'--x\nContent-Disposition: form-data; name="List-Unsubscribe"\n\nOne-Click\n--x--\n',
        "headers": {"Content-Type": "multipart/form-data; boundary=x"}},
    "as plain text": {"content": b"List-Unsubscribe=One-Click", "headers": {"Content-Type": "text/plain"}},
    "in JSON": {"json": ONE_CLICK},
    "in lower case": {"data": {"list-unsubscribe": "one-click"}},
    "in the query": {"params": ONE_CLICK},
    "with other fields": {"data": {f"f{n}": "x" for n in range(30)} | ONE_CLICK},
}


@pytest.mark.parametrize("body", AS_IT_COMES.values(), ids=AS_IT_COMES.keys())
async def test_a_mailbox_provider_unsubscribes_with_one_post_however_it_writes_it_and_as_often_as_it_likes(site, body):
    path = "/u/" + (await tokens_of_a_job(site)).unsubscribe(5)
    answers = [await site.client().post(path, **body) for _ in range(3)]
    for answer in answers:
        assert answer.status_code == 200
        assert "You are unsubscribed" in answer.text
        kept_to_itself(answer)
    assert len({answer.text for answer in answers}) == 1
    assert await suppressed(site) == ["person5@list.example"]


ON_THE_WIRE = {
    "in chunks": b"HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n"
                 b"1a\r\nList-Unsubscribe=One-Click\r\n0\r\n\r\n",
    "in chunks of nothing": b"HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "once it may go on": b"HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 26\r\n\r\nList-Unsubscribe=One-Click",
    "without a length": b"HTTP/1.1\r\nHost: x\r\n\r\n",
    "by HTTP/1.0": b"HTTP/1.0\r\nContent-Length: 26\r\n\r\nList-Unsubscribe=One-Click",
    "with names in other letter case": b"HTTP/1.1\r\nhOST: x\r\nCONTENT-TYPE: Application/X-WWW-Form-URLEncoded\r\n"
                                       b"content-LENGTH: 26\r\n\r\nLIST-UNSUBSCRIBE=ONE-CLICK",
    "compressed": b"HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00",
    "with cookies of somebody": b"HTTP/1.1\r\nHost: x\r\nCookie: session=abc\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("request_", ON_THE_WIRE.values(), ids=ON_THE_WIRE)
async def test_whatever_http_carries_it_one_post_unsubscribes_and_no_other_method_does(site, request_: bytes):
    path = "/u/" + (await tokens_of_a_job(site)).unsubscribe(5)
    for method, off in (("GET", []), ("HEAD", []), ("OPTIONS", []), ("post", []), ("POST", ["person5@list.example"])):
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
        writer.write(f"{method} {path} ".encode() + request_)
        status = await reader.readline()
        if b" 100 " in status:
            await reader.readline()
            status = await reader.readline()
        writer.close()
        assert await suppressed(site) == off, method
    assert status.split()[1] == b"200"


async def test_whoever_opens_the_link_afterwards_reads_that_it_is_done(site):
    path = "/u/" + (tokens := await tokens_of_a_job(site)).unsubscribe(5)
    await site.client().post(path)
    answer = await site.client().get(path)
    assert "You are unsubscribed" in answer.text
    assert "<form" not in answer.text
    assert "Should <strong>" in (await site.client().get("/u/" + tokens.unsubscribe(6))).text


async def test_the_page_asks_and_shows_no_whole_address(site):
    answer = await site.client().get("/u/" + (await tokens_of_a_job(site)).unsubscribe(5))
    assert answer.status_code == 200
    assert "p…@list.example" in answer.text
    assert "Club" in answer.text
    assert "person5" not in answer.text
    kept_to_itself(answer)


async def test_only_a_post_acts(site):
    """Whatever opens links, looks at them first or guesses at methods takes nobody off."""
    path = "/u/" + (await tokens_of_a_job(site)).unsubscribe(5)
    client = site.client()
    statuses = {}
    for method in ("GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE"):
        answer = await client.request(method, path, params=ONE_CLICK, data=ONE_CLICK)
        statuses[method] = answer.status_code
        assert "set-cookie" not in answer.headers
    assert statuses == {"GET": 200, "HEAD": 200} | dict.fromkeys(("OPTIONS", "PUT", "PATCH", "DELETE", "TRACE"), 405)
    await client.get(path, headers={"Sec-Purpose": "prefetch;prerender"})
    assert await suppressed(site) == []


@pytest.mark.parametrize("octets", [20_000, 2_000_000, 20_000_000])
async def test_a_body_of_any_size_is_thrown_away_and_its_post_acts(site, octets: int):
    path = "/u/" + (await tokens_of_a_job(site)).unsubscribe(5)
    with suppress(httpx.TransportError):  # nobody reads 20 MB to its end
        answer = await site.client().post(path, data=ONE_CLICK | {"more": "x" * octets})
        assert (answer.status_code, "You are unsubscribed" in answer.text) == (200, True)
    await eventually(lambda: suppressed(site))
    assert await suppressed(site) == ["person5@list.example"]


async def test_a_body_that_never_comes_to_its_end_acts_too(site, monkeypatch):
    monkeypatch.setattr(limits, "READ_ON_S", 0.2)
    path = "/u/" + (await tokens_of_a_job(site)).unsubscribe(5)
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nList-".encode())
    assert b" 200 " in await reader.readline()
    writer.close()
    assert await suppressed(site) == ["person5@list.example"]


async def test_a_link_that_names_nobody_blames_its_sender_too(site):
    """Of an account that was deleted nothing is left that could tell its links from others."""
    answer = await site.client().get("/u/x")
    assert "its sender is no longer here, and sends nothing from here any more" in answer.text


async def test_every_token_that_is_none_gets_one_and_the_same_answer(site):
    tokens, chance, client = await tokens_of_a_job(site), random.Random(20261124), site.client()
    genuine = tokens.unsubscribe(5)
    answer_to_a_genuine_one = await client.get("/u/" + genuine)
    unknown = [tokens.unsubscribe(0), tokens.unsubscribe(101), Tokens(bytes(32), 1).unsubscribe(5), tokens.bounce(5),
               genuine[:-1], genuine + "x", genuine + "%3D", genuine.swapcase(), "x", "%00", "%ff", "%E2%98%83", "x" * 4000,
               *(urlsafe_b64encode(chance.randbytes(24)).decode() for _ in range(100))]
    for answers in ([await client.get("/u/" + token) for token in unknown],
                    [await client.post("/u/" + token, data=ONE_CLICK) for token in unknown]):
        told = {(answer.status_code, answer.text, tuple(sorted(answer.headers.keys()))) for answer in answers}
        assert len(told) == 1
        (status, text, headers), = told
        assert (status, headers) == (answer_to_a_genuine_one.status_code, tuple(sorted(answer_to_a_genuine_one.headers.keys())))
        assert "This link does not work" in text
    assert await suppressed(site) == []


async def test_one_accounts_link_leaves_the_other_accounts_list_alone(site):
    first = await tokens_of_a_job(site, "First")
    await tokens_of_a_job(site, "Second")
    await site.client().post("/u/" + first.unsubscribe(5), data=ONE_CLICK)
    async with site.pool.connection() as conn:
        rows = await (await conn.execute("SELECT name FROM suppression JOIN account ON account.id = account_id")).fetchall()
    assert rows == [("First",)]


async def test_an_accounts_name_is_text_and_nothing_else(site):
    path = "/u/" + (await tokens_of_a_job(site, EVIL)).unsubscribe(5)
    for answer in (await site.client().get(path), await site.client().post(path, data=ONE_CLICK)):
        assert "&lt;script src=" in answer.text
        assert "<script" not in answer.text
        assert "<img" not in answer.text


async def test_the_operators_session_plays_no_part(site):
    """The page is the same for whoever opens it, and a form sent from another site works: it has to, by RFC 8058."""
    path = "/u/" + (await tokens_of_a_job(site)).unsubscribe(5)
    operator = await site.operator()
    assert (await operator.get(path)).text == (await site.client().get(path)).text
    elsewhere = {"Origin": "https://mail.example", "Sec-Fetch-Site": "cross-site"}
    answer = await site.client().post(path, data=ONE_CLICK, headers=elsewhere)
    assert answer.status_code == 200
    assert await suppressed(site) == ["person5@list.example"]


async def test_no_log_holds_the_token_even_when_the_page_fails(site, capsys):
    token = (await tokens_of_a_job(site)).unsubscribe(5)
    async with site.pool.connection() as conn:
        await conn.execute("ALTER TABLE suppression RENAME TO lost")
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    logs.configure(logging.DEBUG)
    try:
        answer = await site.client().post("/u/" + token, data=ONE_CLICK)
    finally:
        structlog.reset_defaults()
        root.handlers[:] = handlers
        root.setLevel(level)
    said = capsys.readouterr()
    assert answer.status_code == 500
    assert token not in answer.text
    assert "a request failed" in said.err
    assert "/u/********" in said.err
    assert token not in said.err + said.out


async def test_a_person_unsubscribes_in_a_browser_with_one_button_and_no_script(browser, site):
    """Before, the page is opened and left alone with its scripts on, as scanners with a browser do it."""
    tokens, off = await tokens_of_a_job(site, "The Club for Friends of the Sea"), list[str]()
    for position, name, width, scripts in ((5, "scanner", 1200, True), (6, "desktop", 1200, False), (7, "phone", 360, False)):
        path = site.url + "/u/" + tokens.unsubscribe(position)
        context = await browser.new_context(viewport={"width": width, "height": 640}, java_script_enabled=scripts)
        page = await context.new_page()
        asked: list[str] = []
        page.on("request", lambda request, asked=asked: asked.append(request.url))
        await page.goto(path, wait_until="networkidle")
        await shot(page, f"unsubscribe {name}")
        assert await suppressed(site) == off
        if name != "scanner":
            await page.get_by_role("button", name="Unsubscribe").click()
            await expect(page.get_by_role("heading", name="You are unsubscribed")).to_be_visible()
            await shot(page, f"unsubscribed {name}")
            assert page.url == path
            off.append(f"person{position}@list.example")
            assert await suppressed(site) == off
        await page.goto(path[:-1])
        await expect(page.get_by_role("heading", name="This link does not work")).to_be_visible()
        await shot(page, f"unsubscribe broken {name}")
        assert await context.cookies() == []
        assert all(url.startswith(site.url) for url in asked)
        await context.close()
