"""Half characters in what a browser, or what passes for one, sends to the pages: a sentence or U+FFFD, and none is kept."""

from __future__ import annotations

import re
from collections.abc import Mapping

import httpx
import pytest

from acting import acting
from postroom.flow.job.report import history, trail

from .serving import Site

BOUNDARY = "edge"
# Of U+D800 and of an emoji, and stray octets: as a form encodes them, and bare.
ENCODED = [b"%ED%A0%80", b"%FF", b"%F0%9F%98", b"%D8%3D", b"a%C3", b"%ED%A0%BD%ED%B8%80"]
BARE = [b"\xed\xa0\x80", b"\xff", b"\xf0\x9f\x98"]
# A request in parts names its charset; some of those that Python knows give half characters, or fail in their own way.
NAMED = [("utf-8", b"\xed\xa0\x80"), ("utf-8", b"\xff"), ("unicode_escape", rb"\ud800"), ("utf-7", b"+2AA-"),
         ("undefined", b"a"), ("punycode", b"\xff"), ("idna", b"xn--\xff"), ("hex", b"6")]
# In this order: after the end of a job some of them would say no more than that.
FORMS = [("pause", {"reason"}), ("approval", {"digest"}), ("recipients/1/tests", {"to"}), ("resumption", {"x"}),
         ("settlements", {"decision"}), ("settlements", {"position"}), ("settlements", {"decision", "position", "after"}),
         ("cancellation", {"x"}), ("continuation", {"which"})]
FIELDS = ["subject", "preheader", "from_name", "from_address", "reply_to", "body_format", "body", "text", "source", "encoding",
          "duplicates", "unusable_addresses", "field_policy", "gateway", "not_before", "form_key"]
IN_THE_ACCOUNT = {
    "jobs?status={}": 422, "jobs?since={}": 422, "jobs?until={}": 422, "jobs?before={}": 422, "jobs?{}=1": 200, "jobs/{}": 404,
    "jobs/1/{}": 404, "jobs/1/recipients?state={}": 422, "jobs/1/recipients?address={}": 200,
    "jobs/1/recipients?address={}@list.example": 200, "jobs/1/recipients?after={}": 422, "jobs/1/recipients/{}/attempts": 404,
    "jobs/1/recipients/{}/source": 404, "jobs/1/exclusions?after={}": 422, "jobs/1/preview?position={}": 422, "{}/jobs": 404}
ELSEWHERE = {"/{}": 404, "/u/{}": 200, "/static/{}": 404, "/accounts?account={}": 422, "/accounts/{}/jobs": 404,
             "/sign-in?token={}": 401, "/sign-in?next=/{}": 401}


async def submitted(client: httpx.AsyncClient, where: str, fields: Mapping[str, bytes],
                    charset: str | None = None) -> httpx.Response:
    """A form as it is, or in parts where a charset is named. Its answer is one that anybody can read."""
    if charset is None:
        kind = "application/x-www-form-urlencoded"
        body = b"&".join(b"%s=%s" % (name.encode(), value) for name, value in fields.items())
    else:
        kind = f"multipart/form-data; charset={charset}; boundary={BOUNDARY}"
        body = b"".join(f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + value + b"\r\n"
                        for name, value in fields.items()) + f"--{BOUNDARY}--\r\n".encode()
    return readable(await client.post(where, content=body, headers={"Content-Type": kind}))


def readable(answer: httpx.Response) -> httpx.Response:
    assert answer.status_code < 500, (answer.request.url, answer.request.content)
    assert answer.status_code == 303 or "<h1" in answer.content.decode("utf-8")
    return answer


async def waiting(site: Site) -> tuple[httpx.AsyncClient, int, bytes]:
    """(the operator, an account whose job 1 waits at its gate, the token of the operator's forms)."""
    account_id = await site.account(threshold=3)
    await site.job(account_id, 3)
    operator = await site.operator()
    token = re.search(r'name="form_token" value="([0-9a-f]+)"', (await operator.get(f"/accounts/{account_id}/jobs/1")).text)
    assert token is not None
    return operator, account_id, token[1].encode()


@pytest.mark.parametrize(("charset", "half"), [*((None, half) for half in ENCODED + BARE), *NAMED])
async def test_no_form_fails_by_half_a_character_or_keeps_it(site: Site, charset: str | None, half: bytes) -> None:
    operator, account_id, token = await waiting(site)
    for noun, names in FORMS:
        where = f"/accounts/{account_id}/jobs/1/{noun}"
        answer = await submitted(operator, where, {"form_token": token, **dict.fromkeys(names, half)}, charset)
        assert answer.status_code in (303, 409, 422), (noun, names)
        assert (await submitted(operator, where, {"form_token": half}, charset)).status_code in (403, 422), noun
    assert (await submitted(operator, "/sign-out", {"form_token": half}, charset)).status_code in (403, 422)
    assert (await submitted(operator, "/u/x", {"List-Unsubscribe": half}, charset)).status_code == 200  # it is not read
    reasons = [one.reason for one in await trail(site.pool, acting(account_id), 1) if one.verb == "pause"]
    if half in ENCODED:
        assert len(reasons) == 1
        assert "\ufffd" in str(reasons[0]), "it says that something was lost"


@pytest.mark.parametrize("half", BARE)
@pytest.mark.parametrize("noun", ["send", "send/preview"])
async def test_no_message_is_written_with_half_a_character(site: Site, noun: str, half: bytes) -> None:
    operator, account_id, token = await waiting(site)
    form = {"form_token": token, "subject": b"Hi", "from_address": b"news@club.example", "text": b"Hello", "source": b"contacts"}
    for name in FIELDS:
        answer = await submitted(operator, f"/accounts/{account_id}/{noun}", {**form, name: half}, "utf-8")
        assert answer.status_code == 422, name
        assert f"{name}&#34; is not valid UTF-8" in answer.text
    assert len(await history(site.pool, acting(account_id))) == 1


@pytest.mark.parametrize(("encoding", "half"), [("unicode_escape", rb"\ud800"), ("utf-7", b"+2AA-"), ("utf-8", b"\xed\xa0\x80"),
                                                ("undefined", b"a"), ("punycode", b"\xff"), ("hex", b"6")])
async def test_no_list_is_read_with_half_a_character(site: Site, encoding: str, half: bytes) -> None:
    operator, account_id, token = await waiting(site)
    form = {"form_token": token.decode(), "subject": "News for {{ name }}", "from_address": "news@club.example", "text": "Hello",
            "encoding": encoding}
    for noun in ("send", "send/preview"):
        answer = readable(await operator.post(f"/accounts/{account_id}/{noun}", data=form, files={
            "recipients": ("list.csv", b"email,name\na@list.example," + half + b"\n", "text/csv")}))
        assert answer.status_code == 422
    assert len(await history(site.pool, acting(account_id))) == 1


@pytest.mark.parametrize("half", ENCODED)
async def test_every_address_with_half_a_character_is_answered_with_a_page(site: Site, half: bytes) -> None:
    operator, account_id, _ = await waiting(site)
    for place, status in IN_THE_ACCOUNT.items():
        answer = readable(await operator.get(f"/accounts/{account_id}/{place.format(half.decode())}"))
        assert answer.status_code == status, place
    nobody = site.client()
    for place, status in ELSEWHERE.items():
        client = operator if "account" in place else nobody
        assert readable(await client.get(place.format(half.decode()))).status_code == status, place
