"""One account does its worst, and others are answered: what is bounded, in what, and what whoever goes beyond it is told."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator

import httpx
import pytest
import structlog

from acting import acting
from postroom.bounded.processes import Processes
from postroom.doors import connections, limits, logs
from postroom.doors.web.session import COOKIES
from postroom.flow.account import keys
from postroom.ledger.job import recipients
from postroom.tasks import end

from .serving import MESSAGE, Site, csv_of, in_base64, job_of, listed, served, upload

ENDLESS = "{% for i in (1..10000) %}{% for j in (1..10000) %}x{% endfor %}{% endfor %}"


@pytest.fixture
async def bounded(pool, database) -> AsyncIterator[Site]:
    """A site as `postroom serve` has it."""
    with contextlib.closing(Processes(2)) as processes:
        async with served(pool, database, processes) as site:
            yield site


@contextlib.asynccontextmanager
async def connected(site: Site) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def ended(reader: asyncio.StreamReader) -> bytes:
    """What comes until the other side ends."""
    with contextlib.suppress(ConnectionError):
        return await reader.read()
    return b""


# -- templates, lists, JSON --------------------------------------------------------------------------------------------


async def test_jobs_previews_and_tests_come_through_bounded_processes_as_they_are(bounded):
    account_id = await bounded.account(threshold=3)
    api = await bounded.api(account_id)
    made = await upload(api, csv_of(3), files=[("a.txt", b"A file")])
    assert (made.status_code, made.json()["recipient_count"]) == (201, 3)
    small = await api.post("/jobs", json=job_of(2))
    assert (small.status_code, small.json()["status"]) == (201, "sending")
    draft = (await api.post("/previews", json=job_of(2), params={"position": 2})).json()
    assert (draft["subject"], draft["email"]) == ("News for Person 2", "person2@list.example")
    stored = (await api.get(f"/jobs/{made.json()['id']}/recipients/1/message")).json()
    assert (stored["text"], [one["name"] for one in stored["attachments"]]) == ("Hello Person 1\n", ["a.txt"])
    assert (await api.post(f"/jobs/{small.json()['id']}/tests", json={"to": ["me@club.example"]})).status_code == 503
    await api.put(f"/jobs/{small.json()['id']}/cancellation")
    again = await api.post(f"/jobs/{small.json()['id']}/continuation", json={"which": "unsent"})
    assert (again.status_code, again.json()["recipient_count"]) == (201, 2)


@pytest.mark.parametrize(("asked", "told"), [
    ({"message": {**MESSAGE, "html": "{{ nobody"}}, "In the html, line 1, column 1"),
    ({"message": {**MESSAGE, "attachments": [[]] * 5_000}}, "attachments"),
    ({"recipients": [[]] * 5_000}, "Row 1 is not an object"),
    ({"recipients": [{"email": "a@b.example", "fields": {"a": []}}]}, 'the field "a" is neither text'),
    ({"contacts": True}, 'Give either "recipients" or "contacts"'),
])
async def test_what_is_wrong_is_said_from_there_as_from_here(bounded, asked, told):
    api = await bounded.api(await bounded.account())
    answer = await api.post("/jobs", json={"message": MESSAGE, "recipients": listed(1), **asked})
    assert answer.status_code == 422
    assert any(told in one["detail"] for one in answer.json()["errors"])
    assert len(answer.json()["errors"]) <= 20


@pytest.mark.parametrize("body", [b"[" * 100_000, b"[[],[]" + b",[]" * 300_000, b'{"a":' * 50_000])
async def test_json_of_nothing_but_brackets_is_refused(bounded, body):
    api = await bounded.api(await bounded.account())
    answer = await api.post("/jobs", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)


async def test_others_are_answered_while_a_template_takes_all_the_time_that_it_gets(bounded):
    mine, other = [await bounded.api(await bounded.account(name)) for name in ("Mine", "Other")]
    slow = asyncio.create_task(mine.post("/previews", json={
        "message": {**MESSAGE, "markdown": "*a_ " * 60_000, "html": None}, "recipients": listed(1)}))
    while not slow.done():
        assert (await other.post("/jobs", json=job_of(1))).status_code == 201
        assert (await other.get("/jobs")).status_code == 200
    answer = await slow
    assert answer.status_code == 200


async def test_a_template_without_end_is_ended_and_said(bounded):
    api = await bounded.api(await bounded.account())
    answer = await api.post("/previews", json={"message": {**MESSAGE, "text": ENDLESS}, "recipients": listed(1)})
    assert answer.status_code == 200
    assert "The message cannot be made" in answer.json()["reason"]


# -- requests ----------------------------------------------------------------------------------------------------------


async def test_a_body_that_comes_too_slowly_is_refused(site, monkeypatch):
    monkeypatch.setattr(limits, "BODY_S", 0.3)
    async with asyncio.timeout(30), connected(site) as (reader, writer):
        writer.write(b"POST /sign-out HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\na")
        assert (await reader.readline()).startswith(b"HTTP/1.1 408")


async def test_a_list_that_comes_too_slowly_is_refused(site, monkeypatch):
    monkeypatch.setattr(limits, "BODY_S", 0.3)
    api = await site.api(await site.account())
    async with asyncio.timeout(30), connected(site) as (reader, writer):
        writer.write(f"POST /api/v1/jobs HTTP/1.1\r\nHost: a\r\nAuthorization: {api.headers['authorization']}\r\n"
                     "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{".encode())
        answer = await ended(reader)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"The request came too slowly." in answer


async def test_of_one_account_few_requests_are_at_work_the_others_wait_and_too_many_are_refused(site, monkeypatch):
    monkeypatch.setattr(limits, "PUT_OFF_S", 0.0)
    account_id = await site.account()
    keys = [await site.api(account_id, name) for name in ("one", "two", "three")]
    other = await site.api(await site.account("Other"))
    job_id = (await keys[0].post("/jobs", json=job_of(100))).json()["id"]
    most = limits.KNOWN_EACH + limits.KNOWN_WAITING
    async with site.pool.connection() as conn, conn.transaction():
        await conn.execute("SELECT FROM account FOR UPDATE")
        asked = [asyncio.create_task(keys[n % 3].put(f"/jobs/{job_id}/pause")) for n in range(most + 3)]
        done, waiting = await asyncio.wait(asked, timeout=20, return_when=asyncio.FIRST_COMPLETED)
        while len(done) < 3:
            more, waiting = await asyncio.wait(waiting, timeout=20, return_when=asyncio.FIRST_COMPLETED)
            done |= more
        refused = [task.result() for task in done]
        assert {answer.status_code for answer in refused} == {429}
        assert refused[0].headers["retry-after"] == "1"
        assert "too many requests" in refused[0].json()["detail"]
        assert (await other.get("/jobs")).status_code == 200, "another account is answered meanwhile"
    assert [answer.status_code for answer in await asyncio.gather(*waiting)] == [200] * most


async def test_a_key_that_was_revoked_takes_no_place_of_its_account_any_more(site, monkeypatch):
    monkeypatch.setattr(limits, "PUT_OFF_S", 0.0)
    account_id = await site.account()
    good, bad = await site.api(account_id, "good"), await site.api(account_id, "bad")
    assert (await bad.get("/jobs")).status_code == 200
    revoked = next(key for key in await keys.keys(site.pool, acting(account_id)) if key.name == "bad")
    await keys.revoke_key(site.pool, acting(account_id), revoked.id)
    assert (await bad.get("/jobs")).status_code == 401
    monkeypatch.setattr(limits, "REST_S", 3_600.0)  # whoever is not let in keeps its place
    kept = [asyncio.create_task(bad.get("/jobs")) for _ in range(limits.KNOWN_EACH)]
    try:
        assert (await good.get("/jobs")).status_code == 200
    finally:
        await asyncio.gather(*map(end, kept))


async def test_a_page_for_whoever_has_too_many_under_way_is_a_page(site, monkeypatch):
    monkeypatch.setattr(limits, "PUT_OFF_S", 0.0)
    monkeypatch.setattr(site.app, "middleware_stack", None)
    monkeypatch.setattr(limits, "ANONYMOUS_EACH", 0)
    monkeypatch.setattr(limits, "ANONYMOUS_WAITING", 0)
    answer = await site.client().get("/u/x")
    assert (answer.status_code, answer.headers["content-type"]) == (429, "text/html; charset=utf-8")
    assert "Too much at once" in answer.text


async def test_an_account_has_so_many_streams_with_all_its_keys_and_another_account_has_its_own(site, monkeypatch):
    monkeypatch.setattr(limits, "PUT_OFF_S", 0.0)
    one, two = [await site.api(account, name) for account in [await site.account()] for name in ("one", "two")]
    other = await site.api(await site.account("Other"))
    jobs = {api: (await api.post("/jobs", json=job_of(100))).json()["id"] for api in (one, other)}
    jobs[two] = jobs[one]
    lines = []
    async with contextlib.AsyncExitStack() as streams:

        async def opened(api: httpx.AsyncClient) -> int:
            answer = await streams.enter_async_context(api.stream("GET", f"/jobs/{jobs[api]}/events"))
            if answer.status_code == 200:
                lines.append(answer.aiter_lines())  # or the stream would end with it
                assert (await anext(lines[-1])).startswith("event: job")
            return answer.status_code

        mine = [one, two] * (limits.STREAMS_EACH // 2)
        assert [await opened(api) for api in mine] == [200] * limits.STREAMS_EACH
        assert [await opened(api) for api in (one, two, other)] == [429, 429, 200]
        assert (await one.get(f"/jobs/{jobs[one]}")).status_code == 200, "streams take no place of other requests"


async def test_an_address_has_so_many_streams_whoever_asks_for_them(site, monkeypatch):
    monkeypatch.setattr(limits, "PUT_OFF_S", 0.0)
    monkeypatch.setattr(limits, "ADDRESS_STREAMS", 2)
    accounts = [await site.account(name) for name in ("One", "Two", "Three")]
    monkeypatch.setattr(site.app, "middleware_stack", None)
    apis = [await site.api(account_id) for account_id in accounts]
    jobs = [(await api.post("/jobs", json=job_of(100))).json()["id"] for api in apis]
    async with contextlib.AsyncExitStack() as streams:
        answers = [await streams.enter_async_context(api.stream("GET", f"/jobs/{job_id}/events"))
                   for api, job_id in zip(apis, jobs, strict=True)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]


async def test_a_page_of_large_rows_ends_early_and_the_pages_together_have_all_of_them(site, monkeypatch):
    monkeypatch.setattr(recipients, "PAGE_OCTETS", 10_000)
    account_id = await site.account()
    api = await site.api(account_id)
    rows = [{"email": f"p{n}@list.example", "fields": {"name": "x" * 3_000}} for n in range(100)]
    made = await api.post("/jobs", json={"message": MESSAGE, "recipients": rows})
    found, cursor, pages = [], None, 0
    while True:
        page = (await api.get(f"/jobs/{made.json()['id']}/recipients", params={"cursor": cursor} if cursor else {})).json()
        found += [one["email"] for one in page["items"]]
        pages, cursor = pages + 1, page["next_cursor"]
        if cursor is None:
            break
        assert len(page["items"]) == 4
    assert found == [row["email"] for row in rows]
    assert pages == 26
    operator = await site.operator()
    shown = await operator.get(f"/accounts/{account_id}/jobs/{made.json()['id']}/recipients")
    assert ("p3@list.example" in shown.text, "p4@list.example" in shown.text) == (True, False)
    assert "after=4" in shown.text


# -- connections -------------------------------------------------------------------------------------------------------


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_S", 0.3)
    monkeypatch.setattr(connections, "UNREAD_S", 0.3)
    monkeypatch.setattr(connections, "LOOK_EVERY_S", 0.05)


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: "])
async def test_a_connection_that_says_nothing_or_stops_within_its_header_ends(hasty, site, sent):
    async with asyncio.timeout(20), connected(site) as (reader, writer):
        writer.write(sent)
        assert await ended(reader) == b""


async def test_one_that_says_its_header_a_letter_at_a_time_ends_too(hasty, site):
    async def say(writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.02)

    async with asyncio.timeout(20), connected(site) as (reader, writer):
        saying = asyncio.create_task(say(writer))
        try:
            assert await ended(reader) == b""
        finally:
            await end(saying)


async def test_one_that_was_answered_and_says_no_more_ends_and_one_that_goes_on_does_not(hasty, site):
    request = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"

    async def goes_on_for_a_second(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """False where a busy machine made us say nothing for too long."""
        began = spoke = time.monotonic()
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while (now := time.monotonic()) - began < 1.0:
                spoke = now
                writer.write(request)
                assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200")
                await asyncio.sleep(0.05)
            return True
        assert time.monotonic() - spoke > connections.HEAD_S / 2
        return False

    async with asyncio.timeout(60):
        went_on = False
        while not went_on:
            async with connected(site) as (reader, writer):
                went_on = await goes_on_for_a_second(reader, writer)
                assert await ended(reader) == b""


async def test_an_answer_that_nobody_takes_is_not_kept(hasty, site):
    api = await site.api(await site.account())
    file = {"name": "large.bin", "content": in_base64(b"\0" * 9_000_000)}
    made = await api.post("/jobs", json=job_of(100, message={**MESSAGE, "attachments": [file]}))
    path = f"/api/v1/jobs/{made.json()['id']}/recipients/1/message"
    async with asyncio.timeout(30), connected(site) as (_reader, writer):
        writer.write(f"GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: {api.headers['authorization']}\r\n\r\n".encode())
        writer.transport.pause_reading()
        port = writer.get_extra_info("sockname")[1]
        while any(one.client[1] == port for one in site.connections()):  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.05)


async def test_silent_connections_give_way_to_whoever_says_something(site, monkeypatch):
    monkeypatch.setattr(connections, "CONNECTIONS_MAX", 10)
    async with asyncio.timeout(30), contextlib.AsyncExitStack() as silent:
        first, *_others = [(await silent.enter_async_context(connected(site)))[0] for _ in range(30)]
        assert await ended(first) == b"", "the oldest of them ended"
        assert (await site.client().get("/healthz")).status_code == 200
        assert len(site.connections()) <= 11


async def test_whoever_comes_at_once_with_many_from_one_address_is_answered_in_turns(site, monkeypatch):
    monkeypatch.setattr(connections, "SLICE_S", 1e-9)  # so that one has its turn at a time
    monkeypatch.setattr(connections.Connection, "is_a_proxy", False)
    api = await site.api(await site.account())
    answers = await asyncio.gather(*(api.get("/jobs") for _ in range(40)), api.post("/jobs", json=job_of(300)))
    assert {answer.status_code for answer in answers} == {200, 201}


class Coming:
    """Stands for a connection, where only the order matters in which they have their turns."""

    is_being_answered = False

    def __init__(self, name: str, address: str, taken: list[str], *, is_a_proxy: bool = False) -> None:
        self.name, self.address, self.is_a_proxy, self._taken = name, address, is_a_proxy, taken
        self.incoming = b"something"

    def take(self) -> None:
        self._taken.append(self.name)
        self.incoming = b""


async def test_those_who_wait_to_be_taken_apart_have_their_turns_address_by_address(monkeypatch):
    monkeypatch.setattr(connections, "SLICE_S", 1e-9)
    monkeypatch.setattr(connections, "REST_S", 3_600.0)  # the turns come by hand
    mine, other = "192.0.2.1", "192.0.2.2"
    queue, taken = connections._Queue(asyncio.get_running_loop()), []
    for name, address in (("first", mine), ("second", mine), ("third", mine), ("other", other), ("proxied", mine)):
        queue.come(Coming(name, address, taken, is_a_proxy=name == "proxied"))
    assert taken == ["first"], "nobody has to wait where nobody was there before"
    for _ in range(4):
        queue._turn()
    assert taken == ["first", "second", "other", "proxied", "third"]


@pytest.mark.parametrize(("address", "trusted", "is_one"), [
    ("127.0.0.1", "127.0.0.1", True), ("10.1.2.3", "127.0.0.1, 10.0.0.0/8", True), ("::1", "*", True),
    ("192.0.2.1", "127.0.0.1,10.0.0.0/8", False), ("", "127.0.0.1", False), ("192.0.2.1", "proxy.example", False)])
def test_a_proxy_is_whom_uvicorn_trusts(address, trusted, is_one):
    assert connections._is_among(address, trusted) is is_one


@pytest.mark.parametrize("octets", [1, 7])
async def test_a_body_in_chunks_of_a_few_octets_is_refused(site, octets):
    chunk = b"%x\r\n%s\r\n" % (octets, b"a" * octets)
    async with asyncio.timeout(30), connected(site) as (reader, writer):
        writer.write(b"POST /u/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * 3_000)
        answer = await ended(reader)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400")
    assert (await site.client().get("/healthz")).status_code == 200


async def test_requests_that_come_one_behind_the_other_are_answered_in_order_and_no_more_is_read_than_is_needed(site):
    requests = 20_000
    async with asyncio.timeout(60), connected(site) as (reader, writer):
        writer.transport.set_write_buffer_limits(1 << 30)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n" * requests)
        for _ in range(3):
            assert (await reader.readuntil(b"}")).endswith(b'{"status":"ok","database":"ok"}')
        [one] = [one for one in site.connections() if one.client[1] == writer.get_extra_info("sockname")[1]]
        assert len(one.incoming) < 2**20, "what else was said waits where it was said"


async def test_what_is_no_http_fills_no_log(site, capsys):
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    logs.configure()
    try:
        for sent in (b"\xff\xfe nonsense\r\n\r\n",
                     b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n"):
            async with asyncio.timeout(30), connected(site) as (reader, writer):
                writer.write(sent)
                assert (await ended(reader)).startswith(b"HTTP/1.1 ")
    finally:
        structlog.reset_defaults()
        root.handlers[:] = handlers
        root.setLevel(level)
    assert capsys.readouterr().err == ""


async def test_a_header_of_hundreds_of_lines_is_refused(site):
    async with asyncio.timeout(30), connected(site) as (reader, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: a\r\n" + b"a:b\r\n" * 300 + b"\r\n")
        assert (await ended(reader)).startswith(b"HTTP/1.1 400")
    assert (await site.client().get("/healthz", headers=[("x", "y")] * 80)).status_code == 200


async def test_hundreds_of_parameters_are_refused(site):
    api = await site.api(await site.account())
    answer = await api.get("/jobs?" + "&".join(map(str, range(300))))
    assert (answer.status_code, answer.json()["errors"]) == (422, [
        {"detail": "The address has more than 50 parameters.", "parameter": "query"}])


async def test_invented_sessions_have_no_places_of_their_own(site, monkeypatch):
    monkeypatch.setattr(limits, "REST_S", 3_600.0)  # whoever is not let in keeps its place
    account_id = await site.account()
    operator = await site.operator()
    kept = [asyncio.create_task(site.client(cookies={COOKIES[0]: f"invented-{n}"}).get(f"/accounts/{account_id}/jobs"))
            for n in range(limits.ADDRESS_EACH + 1)]
    try:
        assert (await operator.get(f"/accounts/{account_id}/jobs")).status_code == 200
    finally:
        await asyncio.gather(*map(end, kept))


async def test_a_list_in_many_small_chunks_is_taken(site):
    api = await site.api(await site.account())

    async def line_by_line() -> AsyncIterator[bytes]:
        yield b'{"message": {"subject": "News", "text": "News", "from": {"address": "a@club.example"}}, "recipients": ['
        for n in range(5_000):
            yield b'{"email": "p%d@list.example"},' % n
        yield b'{"email": "last@list.example"}]}'

    answer = await api.post("/jobs", content=line_by_line(), headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["recipient_count"]) == (201, 5_001)


async def test_a_key_is_one_key_however_it_is_spelt(site, monkeypatch):
    monkeypatch.setattr(limits, "PUT_OFF_S", 0.0)
    api = await site.api(await site.account())
    job_id = (await api.post("/jobs", json=job_of(100))).json()["id"]
    key = api.headers["authorization"].removeprefix("Bearer ")
    lines = []
    async with contextlib.AsyncExitStack() as streams:
        statuses = []
        for number in range(limits.STREAMS_EACH + 3):
            spelt = [f"Bearer {key}", f"bearer   {key}", f"BEARER {key}"][number % 3]
            answer = await streams.enter_async_context(
                api.stream("GET", f"/jobs/{job_id}/events", headers={"Authorization": spelt, "Cookie": f"a={number}"}))
            statuses.append(answer.status_code)
            lines.append(answer.aiter_lines())
            await anext(lines[-1])
    assert statuses == [200] * limits.STREAMS_EACH + [429] * 3


async def test_whoever_leaves_us_waiting_for_bodies_keeps_nobody_out(site, monkeypatch):
    monkeypatch.setattr(connections, "CONNECTIONS_MAX", 20)
    async with asyncio.timeout(30), contextlib.AsyncExitStack() as waiting:
        for _ in range(30):
            _, writer = await waiting.enter_async_context(connected(site))
            writer.write(b"POST /u/x HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n")
        for _ in range(5):
            assert (await site.client().get("/healthz")).status_code == 200
        assert len(site.connections()) <= 21


async def test_a_page_that_is_refused_before_its_route_keeps_itself_to_itself(site):
    answer = await site.client().post("/sign-out", content=b"x" * 70_000)
    assert (answer.status_code, answer.headers["x-content-type-options"]) == (413, "nosniff")
    assert "Content-Security-Policy" in answer.headers
