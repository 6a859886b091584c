"""What a message can be when a program sends it, which files go with it, and what is said where its check refuses it."""

from __future__ import annotations

import os

import pytest

from acting import acting
from postroom.doors.api.requests import NEW_JOB_EXAMPLE
from postroom.flow.account.accounts import change_account
from postroom.flow.job.report import content_of

from .serving import MESSAGE, PNG, csv_of, in_base64, job_of, listed, upload


async def test_the_example_of_the_description_makes_a_job(site):
    api = await site.api(await site.account())
    answer = await api.post("/jobs", json=NEW_JOB_EXAMPLE)
    assert answer.status_code == 201, answer.text


@pytest.mark.parametrize(("source", "written"), [
    ("html", '<p>Hello {{ name }} <img src="cid:logo.png"></p>'), ("markdown", "Hello {{ name }} ![Logo](cid:logo.png)"),
    ("mjml", '<mjml><mj-body><mj-section><mj-column><mj-image src="cid:logo.png"/><mj-text>Hello {{ name }}</mj-text></mj-column>'
             "</mj-section></mj-body></mjml>")])
async def test_a_message_has_a_preheader_a_body_in_one_of_three_languages_and_files(site, source, written):
    account_id = await site.account()
    api = await site.api(account_id)
    message = {"subject": "News", "preheader": "For {{ name }}", source: written, "from": MESSAGE["from"], "attachments": [
        {"name": "logo.png", "content": in_base64(PNG)}, {"name": "rules.txt", "content": in_base64(b"Be kind.")}]}
    answer = await api.post("/jobs", json=job_of(3, message=message, field_policy="blank"))
    assert (answer.status_code, answer.json()["field_policy"]) == (201, "blank"), answer.text
    content = await content_of(site.pool, acting(account_id), answer.json()["id"])
    assert (getattr(content, source), content.preheader) == (written, "For {{ name }}")
    assert [(one.name, one.content_type, bool(one.content_id)) for one in content.attachments] == [
        ("logo.png", "image/png", True), ("rules.txt", "text/plain", False)]


async def test_a_message_says_whether_its_sheets_are_inlined(site):
    account_id = await site.account()
    api = await site.api(account_id)
    html = "<style>p { top: 0 }</style><p>Hello"
    for asked, made in (({}, '<p style="top: 0">'), ({"inline_css": True}, '<p style="top: 0">'), ({"inline_css": False}, "<p>")):
        asked = {"subject": "News", "html": html, "from": MESSAGE["from"], **asked}
        answer = await api.post("/previews", json={"message": asked, "recipients": listed(1)})
        assert made in answer.json()["html"], answer.text
    answer = await api.post("/previews", json={"message": {**MESSAGE, "inline_css": "no"}, "recipients": listed(1)})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "#/message/inline_css")


async def test_a_message_has_header_fields_of_its_own_and_one_that_may_not_be_is_named(site):
    account_id = await site.account()
    api = await site.api(account_id)
    own = {"X-SES-CONFIGURATION-SET": "news", "X-Campaign": "Frühling"}
    answer = await api.post("/jobs", json=job_of(3, message={**MESSAGE, "headers": own}))
    assert answer.status_code == 201, answer.text
    assert (await content_of(site.pool, acting(account_id), answer.json()["id"])).headers == tuple(own.items())
    shown = (await api.get(f"/jobs/{answer.json()['id']}/recipients/1/message")).json()
    assert shown["headers"] == own
    assert "\r\nX-SES-CONFIGURATION-SET: news\r\n" in shown["source"]
    for wrong in ({"Bcc": "eve@list.example"}, {"X-A": "a\r\nBcc: eve@list.example"}, {f"X-{n}": "a" for n in range(21)},
                  {"X-A": 1}):
        answer = await api.post("/jobs", json=job_of(3, message={**MESSAGE, "headers": wrong}))
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"].startswith("#/message/headers"), answer.text


async def test_files_come_as_parts_too_beside_those_in_the_message(site):
    account_id = await site.account()
    api = await site.api(account_id)
    message = {**MESSAGE, "attachments": [{"name": "a.txt", "content": in_base64(b"A")}]}
    answer = await upload(api, csv_of(3), message={"message": message}, files=[("b.txt", b"B"), ("ü ß.txt", b"C")])
    assert answer.status_code == 201, answer.text
    content = await content_of(site.pool, acting(account_id), answer.json()["id"])
    assert [one.name for one in content.attachments] == ["a.txt", "b.txt", "ü ß.txt"]


async def test_what_is_no_file_is_refused_where_it_stands(site):
    api = await site.api(await site.account())
    for content in ("QUJD\n", "QUJ", "QUI=QUI=", "QU-_", "Q Q=", "QÜI=", 7):
        files = [{"name": "good.txt", "content": "QUJD"}, {"name": "bad.txt", "content": content}]
        answer = await api.post("/jobs", json=job_of(1, message={**MESSAGE, "attachments": files}))
        error = answer.json()["errors"][0]
        assert (answer.status_code, error["pointer"]) == (422, "#/message/attachments/1/content"), content
        assert "base64" in error["detail"]
    for files in ([("a/b.txt", b"x")], [("same.txt", b"x"), ("same.txt", b"y")], [(f"{n}.txt", b"x") for n in range(21)]):
        named = [{"name": name, "content": in_base64(octets)} for name, octets in files]
        answer = await api.post("/jobs", json=job_of(1, message={**MESSAGE, "attachments": named}))
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "#/message/attachments"), files
    assert (await upload(api, csv_of(1), files=[("", b"x")])).status_code == 422
    assert (await api.get("/jobs")).json()["items"] == []


async def test_the_largest_files_go_with_ten_thousand_recipients_in_json_and_no_larger_ones_do(site):
    api = await site.api(await site.account())

    async def with_files(octets: bytes, count: int):
        files = [{"name": "large.bin", "content": in_base64(octets)}]
        return await api.post("/jobs", json=job_of(count, message={**MESSAGE, "attachments": files}))

    answer = await with_files(os.urandom(10 * 2**20), 10_000)
    assert (answer.status_code, answer.json()["recipient_count"]) == (201, 10_000)
    answer = await with_files(bytes(10 * 2**20 + 1), 3)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "#/message/attachments")
    assert (await with_files(bytes(30 * 2**20), 3)).status_code == 413
    answer = await upload(api, csv_of(3), files=[(f"{n}.bin", bytes(8 * 2**20)) for n in range(2)])
    assert (answer.status_code, "10 MiB together" in answer.json()["detail"]) == (413, True)


async def test_two_bodies_are_one_too_many_and_an_unknown_policy_is_none(site):
    api = await site.api(await site.account())
    answer = await api.post("/jobs", json=job_of(1, message={**MESSAGE, "markdown": "Hello"}))
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "#/message/markdown")
    answer = await api.post("/jobs", json=job_of(1, field_policy="guess"))
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "#/field_policy")
    answer = await api.post("/jobs", json=job_of(1, message={**MESSAGE, "html": None, "preheader": "Without HTML"}))
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "#/message/preheader")


async def test_a_small_job_that_its_check_refuses_is_not_created_and_each_finding_is_said(site):
    account_id = await site.account()
    await change_account(site.pool, acting(account_id), requires_unsubscribe=True)
    api = await site.api(account_id)
    rows = [*listed(2), {"email": "blank@list.example", "fields": {"name": " "}}]
    answer = await api.post("/jobs", json=job_of(0, recipients=rows, field_policy="refuse"))
    errors = answer.json()["errors"]
    assert answer.status_code == 422
    assert ["unsubscribe" in errors[0]["detail"], "pointer" in errors[0]] == [True, False]
    assert errors[1] == {"detail": "The field “name” is blank. 1 recipient, such as blank@list.example (no. 3).",
                         "pointer": "#/recipients"}
    assert (await api.get("/jobs")).json()["items"] == []
    await change_account(site.pool, acting(account_id), requires_unsubscribe=False)
    job = (await api.post("/jobs", json=job_of(0, recipients=rows, field_policy="blank"))).json()
    found = (await api.get(f"/jobs/{job['id']}/preflight")).json()
    assert ("blank_field", "note", 1) in [(one["kind"], one["effect"], one["count"]) for one in found["findings"]]


async def test_a_job_is_not_approved_before_everyone_was_looked_at_nor_where_that_refuses_it(site):
    account_id = await site.account()
    api = await site.api(account_id)
    job = (await api.post("/jobs", json=job_of(0, recipients=[*listed(100), {"email": "blank@list.example"}],
                                               field_policy="refuse"))).json()
    early = await api.put(f"/jobs/{job['id']}/approval")
    assert (early.status_code, "0 of 101 recipients were checked" in early.json()["detail"]) == (409, True)
    await site.check(account_id, job["id"])
    refused = await api.put(f"/jobs/{job['id']}/approval")
    assert (refused.status_code, "The field “name” is blank." in refused.json()["detail"]) == (409, True)
    assert (await api.get(f"/jobs/{job['id']}")).json()["preflight"]["can_be_approved"] is False


async def test_parts_that_nobody_knows_fill_no_memory(site):
    api = await site.api(await site.account())
    parts = {f"unknown_{n}": (None, b"x" * (2 * 2**20 - 1)) for n in range(5)}
    answer = await api.post("/jobs", files=parts)
    assert (answer.status_code, "8 MiB together" in answer.json()["detail"]) == (413, True)
