"""Lists as people have them, through the API, the page and the command: how they were read is said wherever they come in."""

from __future__ import annotations

import json
import re
from html import unescape

import pytest

from flow.audience.exports import EXPORTS

from .serving import Site, csv_of, listed

CONTENT = {"message": {"subject": "News", "text": "Hello\n", "from": {"address": "news@club.example"}}}
FORM = {"subject": "News", "text": "Hello\n", "from_address": "news@club.example", "source": "file"}
MIXED = (b"First,E-mail 1 - Value,Status,\nAnn,ann@list.example,subscribed,\nBob,bob@list.example,Unsubscribed,\n"
         b"Cleo,cleo@list.example\nBob,BOB@list.example,subscribed,\n")
HOW = ['The addresses are those of the column "E-mail 1 - Value", found by what stands in it.',
       'Not to be mailed by what their own row says in the column "Status", and left out: row 3.',
       "Fewer cells than there are headings, and what is missing is blank: row 4."]


async def upload(api, recipients: bytes, content_type: str, filename: str = "list.csv", **options):
    return await api.post("/jobs", files=[("message", (None, json.dumps(CONTENT | options), "application/json")),
                                          ("recipients", (filename, recipients, content_type))])


async def remarks(api, job_id: int) -> list[str]:
    found = (await api.get(f"/jobs/{job_id}/preflight")).json()["findings"]
    return [one["told"] for one in found if one["kind"] == "list_remark"]


async def form_of(site: Site):
    """(the operator, the account, how to post the form with these values and a file)."""
    client, account_id = await site.operator(), await site.account(threshold=1)
    token = re.search(r'name="form_token" value="([^"]+)"', (await client.get(f"/accounts/{account_id}/send")).text)[1]

    async def post(file: bytes = b"", action: str = "", **values: str):
        return await client.post(f"/accounts/{account_id}/send{action}", data={**FORM, "form_token": token, **values},
                                 files={"recipients": ("list.csv", file, "text/csv")})

    return client, account_id, post


@pytest.mark.parametrize("content_type", [
    "text/csv", "application/vnd.ms-excel", "text/plain", "application/octet-stream", "application/csv", "text/x-csv",
    "text/comma-separated-values", "text/csv; charset=UTF-8", "application/x-unknown"])
@pytest.mark.parametrize("filename", ["list.csv", "LIST.CSV", "list.txt", "list"])
async def test_a_csv_file_is_taken_whatever_a_client_calls_it(site, content_type, filename):
    answer = await upload(await site.api(await site.account()), csv_of(3), content_type, filename)
    assert (answer.status_code, answer.json()["recipient_count"]) == (201, 3)


@pytest.mark.parametrize(("content_type", "filename"), [
    ("application/x-ndjson", "list"), ("application/ndjson", "list"), ("application/jsonl", "list.txt"),
    ("application/octet-stream", "list.ndjson"), ("text/plain", "list.jsonl")])
async def test_ndjson_is_known_by_its_type_or_its_name(site, content_type, filename):
    lines = b"\n".join(json.dumps(row).encode() for row in listed(3))
    api = await site.api(await site.account())
    assert (await upload(api, lines, content_type, filename)).json()["recipient_count"] == 3
    refused = await upload(api, lines, content_type, filename, email_column="email")
    assert refused.json()["errors"][0]["pointer"] == "#/email_column"


async def test_the_exports_of_known_programs_come_in_through_the_api_and_the_page(site):
    """Everybody of each list, or a reason; here that all ways in come to the same."""
    _, account_id, post = await form_of(site)
    api = await site.api(account_id)
    for name, export in EXPORTS.items():
        chosen = {"email_column": export.email_column} if export.email_column else {}
        answer = await upload(api, export.octets, f"application/vnd.ms-excel; charset={export.encoding}", **chosen)
        page = await post(export.octets, encoding=export.encoding, **chosen)
        if export.refused or not export.people:
            assert (answer.status_code, page.status_code) == (422, 422), name
            told = answer.json()["errors"][0]["detail"] if export.refused else answer.json()["detail"]
            assert (export.refused or "Nobody is left") in told, name
            assert (export.refused or "Row 2 of the list says") in unescape(page.text), name
            continue
        for job_id in (answer.json()["id"], int(page.headers["location"].rpartition("/")[2])):
            listed = (await api.get(f"/jobs/{job_id}/recipients")).json()["items"]
            assert [one["email"] for one in listed] == list(export.people), name
            assert export.column in " ".join(await remarks(api, job_id)), name


async def test_json_that_calls_itself_csv_is_refused_by_its_name(site):
    answer = await upload(await site.api(await site.account()), b'[{"email": "a@list.example"}]', "text/csv")
    assert answer.status_code == 422
    assert "The file is JSON." in answer.text


async def test_how_a_list_was_read_is_with_the_job_and_who_is_out_by_their_own_row_stays_out(site):
    """Bob stands there twice: out is who is out in one of the rows."""
    api = await site.api(await site.account(threshold=1))
    job = (await upload(api, MIXED, "text/csv")).json()
    assert (job["recipient_count"], job["excluded"]) == (2, {"duplicate": 0, "unusable": 0, "suppressed": 2})
    assert await remarks(api, job["id"]) == HOW
    excluded = (await api.get(f"/jobs/{job['id']}/exclusions")).json()["items"]
    assert [(one["row"], one["reason"]) for one in excluded] == [
        (row, 'Row 3 of the list says "Unsubscribed" in the column "Status".') for row in (3, 5)]


async def test_by_choice_they_are_mailed_all_the_same(site):
    api = await site.api(await site.account())
    job = (await upload(api, MIXED, "text/csv", opted_out_rows="send")).json()
    assert (job["recipient_count"], job["excluded"]["suppressed"]) == (3, 0)
    assert "mailed all the same, as was chosen: row 3." in (await remarks(api, job["id"]))[1]


async def test_the_column_of_the_addresses_is_chosen_by_name(site):
    api = await site.api(await site.account())
    two = b"mother,father\nm@list.example,f@list.example\n"
    refused = await upload(api, two, "text/csv")
    assert refused.status_code == 422
    assert 'Addresses stand in "mother", "father". Choose the column that is meant' in refused.text.replace('\\"', '"')
    job = (await upload(api, two, "text/csv", email_column="father")).json()
    (row,) = (await api.get(f"/jobs/{job['id']}/recipients")).json()["items"]
    assert (row["email"], row["fields"]) == ("f@list.example", {"mother": "m@list.example"})
    for body in ({"recipients": listed(1)}, {"contacts": True}):
        answer = await api.post("/jobs", json={**CONTENT, **body, "email_column": "father"})
        assert answer.json()["errors"][0]["pointer"] == "#/email_column"


async def test_where_nobody_is_left_it_is_said_how_the_list_was_read(site):
    answer = await upload(await site.api(await site.account()), b"email,Work\nnobody,a@list.example\n", "text/csv")
    assert 'Addresses stand in "Work" too; nobody is mailed there.' in answer.json()["detail"]


async def test_where_nobody_is_left_the_page_says_how_the_list_was_read_too(site):
    _, _, post = await form_of(site)
    page = unescape((await post(b"Name,Email,Kontakt\nA,letter,a@list.example\n")).text)
    assert "There is no @ in the address" in page
    assert 'Addresses stand in "Kontakt" too; nobody is mailed there.' in page


async def test_a_preview_shows_how_the_list_is_read(site):
    api = await site.api(await site.account())
    answer = await api.post("/previews", files=[("message", (None, json.dumps(CONTENT), "application/json")),
                                                ("recipients", ("list.csv", MIXED, "text/csv"))])
    assert answer.json()["list_remarks"] == HOW


async def test_the_page_shows_the_first_rows_before_and_how_the_list_was_read_at_the_gate(site):
    client, _, post = await form_of(site)
    look = unescape((await post(MIXED, "/preview")).text)
    assert all(one in look for one in HOW)
    assert "The first rows of the list" in look
    assert all(f"<bdi>{name}</bdi>" in look for name in ("Ann", "Bob", "Cleo"))
    made = await post(MIXED)
    assert made.status_code == 303, made.text
    gate = unescape((await client.get(made.headers["location"])).text)
    assert "How the list was read" in gate
    assert all(one in gate for one in HOW)
    chosen = await post(MIXED, opted_out_rows="send")
    assert "mailed all the same, as was chosen" in unescape((await client.get(chosen.headers["location"])).text)


async def test_on_the_page_the_column_is_chosen_where_two_could_be_meant(site):
    client, _, post = await form_of(site)
    two = b"mother,father\nm@list.example,f@list.example\n"
    refused = await post(two)
    assert refused.status_code == 422
    assert 'Addresses stand in "mother", "father".' in unescape(refused.text)
    assert 'name="email_column"' in refused.text
    made = await post(two, email_column="Father")
    assert "f@list.example" in (await client.get(f"{made.headers['location']}/recipients")).text


async def test_addresses_are_pasted_into_the_page(site):
    client, _, post = await form_of(site)
    assert "Paste the addresses here" in (await post(source="pasted", pasted=" \n")).text
    made = await post(source="pasted", pasted='Ann Lee <ann@list.example>, "Ray, Bob" <bob@list.example>\r\nnobody\r\n')
    assert made.status_code == 303, made.text
    page = (await client.get(f"{made.headers['location']}/recipients")).text
    assert "ann@list.example" in page
    assert "bob@list.example" in page
    assert "nobody" in (await client.get(f"{made.headers['location']}/exclusions")).text
    refused = await post(source="pasted", pasted="<b>ann</b> & co", subject="")
    assert "&lt;b&gt;ann&lt;/b&gt; &amp; co</textarea>" in refused.text, "what was pasted stays"
