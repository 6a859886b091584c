"""Every way in which a request can fail is answered by a problem (RFC 9457), and nothing larger than allowed is taken in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from postroom.doors import app
from postroom.doors.api import routes
from postroom.ledger.database import db

from .serving import Site, job_of, served, upload


@pytest.fixture
async def site(pool, database) -> AsyncIterator[Site]:
    async with served(pool, database, upload_max_mb=1) as site:
        yield site


def is_problem(answer, status: int) -> bool:
    body = answer.json()
    return (answer.status_code == status == body["status"] and answer.headers["content-type"] == "application/problem+json"
            and bool(body["title"]) and bool(body["detail"]))


async def test_without_a_key_nothing_is_told(site):
    for headers in ({}, {"Authorization": "Bearer postroom_wrong"}, {"Authorization": "Basic eDp5"}, {"Authorization": "Bearer"}):
        client = site.client(headers=headers)
        for method, path in (("GET", "/jobs"), ("POST", "/jobs"), ("GET", "/jobs/1"), ("PUT", "/jobs/1/approval")):
            answer = await client.request(method, f"/api/v1{path}")
            assert is_problem(answer, 401)
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert ("unknown" in answer.json()["detail"]) == (headers.get("Authorization") == "Bearer postroom_wrong")
    assert is_problem(await client.get("/api/v1/jobs?odd=1"), 401)


WRONG_ADDRESSES = [
    ("GET", "/nothing", 404), ("GET", "/jobs/abc", 404), ("GET", f"/jobs/{2**70}", 404), ("GET", "/jobs/0", 404),
    ("DELETE", "/jobs", 405), ("POST", "/jobs/1/approval", 405), ("GET", "/jobs?limit=0", 422), ("GET", "/jobs?since=soon", 422),
    ("GET", "/jobs?cursor=x", 422)]


async def test_an_address_or_a_parameter_that_is_wrong_is_a_problem(site):
    api = await site.api(await site.account())
    for method, path, status in WRONG_ADDRESSES:
        assert is_problem(await api.request(method, path), status), path


async def test_a_number_is_written_in_digits_and_nothing_else(site):
    api = await site.api(await site.account())
    job = (await api.post("/jobs", json=job_of(1))).json()["id"]
    assert (await api.get(f"/jobs/{job}")).status_code == 200
    for spelt in (f"%20{job}", f"+{job}", f"{job}.0", f"0_{job}", "%D9%A1", "%EF%BC%91", "%00", "%ff"):
        assert is_problem(await api.get(f"/jobs/{spelt}"), 404), spelt
        for parameter in ("limit", "cursor"):
            assert is_problem(await api.get(f"/jobs?{parameter}={spelt}"), 422), (parameter, spelt)


async def test_a_time_that_cannot_be_kept_or_is_none_is_refused_and_an_extreme_one_is_taken(site):
    api = await site.api(await site.account())
    for time in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2030-01-01T00:00:00\0Z", "1700000000", 1_700_000_000):
        answer = await api.post("/jobs", json=job_of(1, not_before=time))
        assert is_problem(answer, 422), time
        assert answer.json()["errors"][0]["pointer"] == "#/not_before"
    answer = await api.post("/jobs", json=job_of(1, not_before="0001-01-01T00:00:00Z"))
    assert is_problem(answer, 422)
    assert "has passed" in answer.json()["errors"][0]["detail"]
    assert (await api.post("/jobs", json=job_of(1, not_before="9999-12-31T23:59:59.999999Z"))).status_code == 201
    for time in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"):
        assert (await api.get("/jobs", params={"since": time, "until": time})).status_code == 200
    for time in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"):
        assert (await api.get("/jobs", params={"since": time, "until": time})).status_code == 200
    assert is_problem(await api.get("/jobs?since=1700000000"), 422)
    page = await (await site.operator()).get(f"/accounts/{await site.account('Other')}/jobs?until=9999-12-31")
    assert page.status_code == 422


HALF_A_CHARACTER = [
    (rb'{"\ud800": 1}', "application/x-ndjson"), (rb'{"email": "a@b.example", "fields": {"\ud800": []}}', "application/x-ndjson"),
    (b"+2AA-,x\na@b.example,c@d.example\n", "text/csv; charset=utf-7")]


async def test_what_no_answer_can_carry_is_quoted_as_a_question_mark(site):
    api = await site.api(await site.account())
    for recipients, content_type in HALF_A_CHARACTER:
        answer = await upload(api, recipients, content_type)
        assert is_problem(answer, 422), recipients
        assert answer.json()["errors"][0]["column"] == "?"


async def test_a_method_that_an_address_does_not_take_is_told_all_that_it_takes(site):
    api = await site.api(await site.account())
    for path, allowed in (("/jobs", "GET, POST"), ("/jobs/1/pause", "DELETE, PUT"), ("/jobs/1", "GET")):
        for method in ("PATCH", "TRACE", "ODD"):
            answer = await api.request(method, path)
            assert is_problem(answer, 405)
            assert answer.headers["allow"] == allowed
    assert is_problem(await api.get("/jobs/"), 404)


async def test_a_parameter_that_an_operation_does_not_have_is_a_problem_everywhere_and_those_of_its_description_are_none(site):
    api = await site.api(await site.account())
    described = (await site.client().get("/api/v1/openapi.json")).json()["paths"]
    for path, operations in described.items():
        where = path.format(job_id=1, position=1)
        for method, operation in operations.items():
            answer = await api.request(method, where, params={"status_": "unconfirmed"}, json={})
            assert is_problem(answer, 422), (method, path)
            assert answer.json()["errors"] == [
                {"detail": "status_: There is nothing of this name here.", "parameter": "status_"}]
            own = [one["name"] for one in operation.get("parameters", []) if one["in"] == "query"]
            if own:
                assert "nothing of this name" not in (await api.request(method, where, params=dict.fromkeys(own, "1"))).text
    job = (await api.post("/jobs", json=job_of(1))).json()
    assert is_problem(await api.get(f"/jobs/{job['id']}/recipients?status=unconfirmed"), 422)


IN_PLAIN_WORDS = [
    ({"message": {"subject": 1, "from": "The Club"}}, {
        "#/message/subject": "message.subject: Text is needed here.",
        "#/message/from": "message.from: An object is needed here."}),
    ({"message": {"subject": "x", "odd": 1, "from": {"address": "a@b.example", "name": "\0"}}}, {
        "#/message/odd": "message.odd: There is nothing of this name here.",
        "#/message/from/name": "message.from.name: The text contains a NUL character."}),
    ([], {"#": "The body: An object is needed here."}),
    ({"duplicates": "guess", "contacts": "true", "not_before": "soon", "gateway": "x" * 1001, "recipients": 1}, {
        "#/message": "message: This is missing.", "#/duplicates": "duplicates: It is one of 'exclude', 'skip' or 'send'.",
        "#/contacts": "contacts: It is either true or false.", "#/recipients": "recipients: A list is needed here.",
        "#/gateway": "gateway: It is too long: at most 1,000.",
        "#/not_before": "not_before: A time is needed here, such as 2030-01-31T09:00:00Z."})]


async def test_what_is_wrong_with_a_body_or_a_parameter_is_said_in_plain_words_at_its_place(site):
    api = await site.api(await site.account())
    for body, told in IN_PLAIN_WORDS:
        errors = (await api.post("/jobs", json=body)).json()["errors"]
        assert {one["pointer"]: one["detail"] for one in errors} == told
    for query, words in (("limit=0", "The smallest that it can be is 1."), ("limit=many", "A whole number is needed here."),
                         ("status=odd", "It is one of 'pending_approval', 'queued',"), ("since=2030-01-01T00:00:00", "its zone"),
                         ("cursor=x", "does not have the form")):
        assert words in (await api.get(f"/jobs?{query}")).json()["detail"], query
    answer = await api.post("/jobs/1/settlements", json={"decision": "guess", "positions": [0, 1.5, "3"]})
    assert [one["detail"] for one in answer.json()["errors"]] == [
        "decision: It is one of 'assume_sent' or 'send_again'.", "positions.0: The smallest that it can be is 1."]


UNREADABLE_BODIES = [
    (b"{", "application/json", 400), (b"[]", "application/json", 422), (b'{"message": NaN}', "application/json", 400),
    (b'{"a": "\xff"}', "application/json", 400), (b"[" * 100_000, "application/json", 400), (b"x", "text/plain", 415),
    (b"x", "multipart/form-data", 400), (b"x", "multipart/form-data; boundary=b", 400),
    (b'--b\r\nContent-Disposition: form-data; name="message"\r\n\r\n{}', "multipart/form-data; boundary=b", 400),
    (b'--b\r\nContent-Disposition: form-data; name="odd"\r\n\r\n{}\r\n--b--\r\n', "multipart/form-data; boundary=b", 422),
    (b"--b\r\n\r\n{}\r\n--b--\r\n", "multipart/form-data; boundary=b", 400),
    (b'--b\r\nContent-Disposition: form-data; name="message"\r\n\r\n{}\r\n' * 2 + b"--b--\r\n",
     "multipart/form-data; boundary=b", 400)]


async def test_a_body_that_cannot_be_read_is_a_problem(site):
    api = await site.api(await site.account())
    for body, content_type, status in UNREADABLE_BODIES:
        assert is_problem(await api.post("/jobs", content=body, headers={"Content-Type": content_type}), status), body[:80]


async def test_a_body_that_is_too_large_is_refused_however_it_is_sent(site):
    api = await site.api(await site.account())

    async def without_a_length() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b" " * 65_536

    json_type = {"Content-Type": "application/json"}
    assert is_problem(await api.post("/jobs", content=b" " * 2**21, headers=json_type), 413)
    assert is_problem(await api.post("/jobs", content=without_a_length(), headers=json_type), 413)
    assert is_problem(await api.put("/jobs/1/cancellation", content=b" " * 2**17, headers=json_type), 413)


async def test_a_note_that_cannot_be_kept_is_refused(site):
    api = await site.api(await site.account())
    for note in (b"x" * 2000, b"a\\u0000b", b"half a \\ud800 character"):
        answer = await api.put("/jobs/1/cancellation", content=b'{"note": "' + note + b'"}',
                               headers={"Content-Type": "application/json"})
        assert is_problem(answer, 422), answer.text


async def test_whoever_hangs_up_in_the_middle_of_an_upload_leaves_nothing_behind(site, caplog):
    api = await site.api(await site.account())
    for path in ("/api/v1/jobs", "/accounts/1/send"):
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
        cookie = (await site.client().get(await site.link())).headers["set-cookie"].split(";")[0]
        head = (f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {api.headers['authorization']}\r\nCookie: {cookie}\r\n"
                "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 1000\r\n\r\n")
        writer.write(head.encode() + b'--b\r\nContent-Disposition: form-data; name="recipients"\r\n\r\nemail\r\n')
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.transport.abort()
        assert await reader.read() == b""
    await asyncio.sleep(0.1)
    assert (await api.get("/jobs")).json()["items"] == []
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


async def test_too_many_recipients_in_json_are_told_to_come_as_a_file(pool, database):
    async with served(pool, database) as site:
        api = await site.api(await site.account())
        assert is_problem(await api.post("/jobs", json=job_of(10_001)), 422)


async def test_a_bug_is_a_problem_that_tells_nothing_and_is_logged_once(site, monkeypatch, capsys, caplog):
    async def broken(*_args, **_more):
        raise RuntimeError("secret detail")

    api = await site.api(await site.account())
    monkeypatch.setattr(routes, "reports", broken)
    answer = await api.get("/jobs")
    assert is_problem(answer, 500)
    assert "secret" not in answer.text
    assert capsys.readouterr().out.count("a request failed") == 1
    assert "AttributeError" not in caplog.text


async def test_without_its_database_the_process_says_so_and_is_not_healthy(database, monkeypatch):
    monkeypatch.setattr(app, "HEALTH_KEPT_S", 0.0)
    async with await db.open_pool(database, size_max=2, name="going away", unsafe=True) as pool, served(pool, database) as site:
        api = await site.api(await site.account())
        assert (await site.client().get("/healthz")).json() == {"status": "ok", "database": "ok"}
        await pool.close()
        assert is_problem(await site.client().get("/healthz"), 503)
        answer = await api.get("/jobs")
        assert is_problem(answer, 503)
        assert answer.headers["retry-after"]
        assert (await site.client().get("/")).status_code == 401


async def test_the_description_has_an_example_for_every_operation(site):
    described = (await site.client().get("/api/v1/openapi.json")).json()
    schemas = described["components"]["schemas"]
    assert described["openapi"].startswith("3.1")
    assert described["servers"] == [{"url": "/api/v1"}]
    assert {"/jobs", "/jobs/{job_id}", "/jobs/{job_id}/preflight", "/jobs/{job_id}/approval"} <= set(described["paths"])
    for path, operations in described["paths"].items():
        for operation in operations.values():
            answer = next(answer for code, answer in operation["responses"].items() if code.startswith("2"))
            content = next(iter(answer["content"].values()))
            names = [content["schema"].get("$ref", "").rsplit("/", 1)[-1]]
            items = schemas.get(names[0], {}).get("properties", {}).get("items", {}).get("items", {})
            names.append(items.get("$ref", "").rsplit("/", 1)[-1])
            assert "example" in content or any("examples" in schemas.get(name, {}) for name in names), path
            assert operation["security"]
            if path != "/jobs" or "requestBody" in operation:
                assert {"401", "422", "503"} <= set(operation["responses"])
    taken = described["paths"]["/jobs"]["post"]["requestBody"]["content"]
    assert set(taken) == {"application/json", "multipart/form-data"}
    assert set(taken["multipart/form-data"]["schema"]["properties"]) == {"message", "recipients", "attachment"}


async def test_no_address_is_led_to_whatever_host_the_client_named(site):
    for path in ("/sign-in/?token=t", "/api/v1", "/api/v1/jobs/", "/accounts/1/jobs/?token=t", "/static"):
        answer = await site.client(headers={"Host": "elsewhere.example"}).get(path)
        assert (answer.status_code in (401, 404), "location" in answer.headers) == (True, False), path


async def test_the_description_names_what_is_sent_and_answered_and_where_a_key_is_made(site):
    described = (await site.client().get("/api/v1/openapi.json")).json()
    shown = described["components"]["schemas"]["PreviewShown"]["properties"]
    assert "from" in shown
    assert "sender" not in shown
    assert "postroom key create --name NAME" in described["components"]["securitySchemes"]["HTTPBearer"]["description"]
    for path in ("/jobs", "/jobs/{job_id}/continuation", "/jobs/{job_id}/settlements"):
        operation = described["paths"][path]["post"]
        assert {"400", "413"} <= set(operation["responses"])
        assert ("header", "Idempotency-Key") in [(one["in"], one["name"]) for one in operation["parameters"]]
    assert "415" in described["paths"]["/jobs"]["post"]["responses"]


async def test_the_description_is_valid(site):
    OpenAPIV31SpecValidator((await site.client().get("/api/v1/openapi.json")).json()).validate()
