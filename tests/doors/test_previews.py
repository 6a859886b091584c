"""Looking at a message and trying it out, as programs and terminals do it."""

from __future__ import annotations

import json
import re
from email import message_from_bytes, policy

import pytest

from acting import acting
from postroom.flow.audience import suppressions
from postroom.gateway.sandbox.script import Refusal, Script
from stage import Stage, rows

from .serving import MESSAGE, csv_of, job_of, listed, served

PREVIEW_KEYS = ["position", "email", "subject", "from", "html", "text", "source", "size", "attachments", "headers",
                "blank_fields", "unknown_fields", "reason", "note", "remarks", "list_remarks"]


def is_problem(answer, status: int) -> bool:
    return (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


async def jobs_of(api) -> list[dict]:
    return (await api.get("/jobs")).json()["items"]


# -- the API ---------------------------------------------------------------------------------------------------------------


async def test_a_recipients_message_is_shown_whole_in_json_and_each_part_alone(site):
    api = await site.api(await site.account())
    job = (await api.post("/jobs", json=job_of(100))).json()
    where = f"/jobs/{job['id']}/recipients/7/message"
    shown = (await api.get(where)).json()
    assert list(shown) == PREVIEW_KEYS
    assert (shown["email"], shown["subject"], shown["from"], shown["text"]) == (
        "person7@list.example", "News for Person 7", "The Club <news@club.example>", "Hello Person 7\n")
    html, text, source = [await api.get(where, params={"as": form}) for form in ("html", "text", "source")]
    assert (html.text, html.headers["content-type"]) == (shown["html"], "text/html; charset=utf-8")
    assert {"sandbox", "default-src 'none'", "img-src data:"} <= set(html.headers["content-security-policy"].split("; "))
    assert (text.text, text.headers["content-type"]) == ("Hello Person 7\n", "text/plain; charset=utf-8")
    assert source.headers["content-type"] == "message/rfc822"
    assert message_from_bytes(source.content, policy=policy.default)["To"] == "person7@list.example"
    assert {one.headers["x-content-type-options"] for one in (html, text, source)} == {"nosniff"}
    assert is_problem(await api.get(where, params={"as": "pdf"}), 422)


async def test_who_gets_no_message_has_the_reason_and_a_part_that_is_not_there_is_not_found(site):
    api = await site.api(await site.account())
    people = [{"email": "ann@list.example", "fields": {"name": ""}}, *listed(100)]
    message = {name: value for name, value in MESSAGE.items() if name != "html"}
    job = (await api.post("/jobs", json=job_of(0, message=message, recipients=people))).json()
    where = f"/jobs/{job['id']}/recipients"
    shown = (await api.get(f"{where}/1/message")).json()
    assert (shown["reason"], shown["blank_fields"]) == ('The message cannot be made: The field "name" is blank.', ["name"])
    answer = await api.get(f"{where}/1/message", params={"as": "source"})
    assert is_problem(answer, 409)
    assert "is blank" in answer.json()["detail"]
    assert is_problem(await api.get(f"{where}/2/message", params={"as": "html"}), 404)


async def test_another_accounts_key_sees_no_message_and_sends_no_test(site):
    api, other = await site.api(await site.account()), await site.api(await site.account("Other"))
    job = (await api.post("/jobs", json=job_of(100))).json()
    test = {"to": ["ann@club.example"]}
    assert is_problem(await other.get(f"/jobs/{job['id']}/recipients/1/message"), 404)
    assert is_problem(await other.post(f"/jobs/{job['id']}/tests", json=test), 404)
    assert is_problem(await api.get(f"/jobs/{job['id']}/recipients/101/message"), 404)
    assert is_problem(await api.post(f"/jobs/{job['id']}/tests", json=test | {"position": 101}), 404)


async def test_a_draft_is_shown_from_json_and_from_a_file_and_no_job_comes_of_it(site):
    api = await site.api(await site.account())
    by_json = await api.post("/previews", params={"position": 3}, json=job_of(5))
    by_file = await api.post("/previews", params={"position": 3}, files={
        "message": (None, json.dumps({"message": MESSAGE}), "application/json"),
        "recipients": ("list.csv", csv_of(5), "text/csv")})
    for answer in (by_json, by_file):
        assert answer.status_code == 200, answer.text
        assert (answer.json()["email"], answer.json()["text"]) == ("person3@list.example", "Hello Person 3\n")
    assert (await api.post("/previews", params={"as": "text"}, json=job_of(5))).text == "Hello Person 1\n"
    assert await jobs_of(api) == []


async def test_a_list_as_large_as_a_send_may_have_can_be_looked_at(site):
    api = await site.api(await site.account())
    answer = await api.post("/previews", params={"position": 5000}, json=job_of(5000))
    assert answer.json()["email"] == "person5000@list.example"


async def test_what_is_wrong_with_a_draft_is_a_problem_that_names_the_place(site):
    api = await site.api(await site.account())
    broken = {**MESSAGE, "text": "Hello\n{{ name"}
    for body, pointer in ((job_of(1, message=broken), "#/message/text"), (job_of(1) | {"gateway": "none"}, "#/gateway")):
        answer = await api.post("/previews", json=body)
        assert is_problem(answer, 422)
        assert answer.json()["errors"][0]["pointer"] == pointer
    assert "line 2, column 1" in (await api.post("/previews", json=job_of(1, message=broken))).json()["detail"]
    beyond = await api.post("/previews", params={"position": 6}, json=job_of(5))
    assert is_problem(beyond, 422)
    assert beyond.json()["errors"][0]["parameter"] == "position"


async def test_a_test_message_answers_with_what_the_gateway_said_and_counts_nowhere(site, stage: Stage):
    stage.sandbox.script = Script(refuse={"bob@club.example": Refusal("rcpt", 550, "5.1.1 No such mailbox")})
    api = await site.api(account_id := await stage.account())
    job = (await api.post("/jobs", json=job_of(100))).json()
    answer = await api.post(f"/jobs/{job['id']}/tests", json={"to": ["ann@club.example", "bob@club.example"], "position": 7})
    assert answer.status_code == 200, answer.text
    ann, bob = answer.json()["answers"]
    assert (answer.json()["position"], ann["to"], ann["result"], ann["code"]) == (7, "ann@club.example", "accepted", 250)
    assert bob == {"to": "bob@club.example", "result": "refused", "code": 550, "enhanced_code": "5.1.1",
                   "reply": "5.1.1 No such mailbox", "reason": None}
    assert message_from_bytes(stage.sandbox.contents[0], policy=policy.default)["Subject"] == "[Test] News for Person 7"
    assert (await api.get(f"/jobs/{job['id']}")).json() == (job | {"sentence": job["sentence"]})
    await suppressions.suppress(stage.pool, acting(account_id), ["ann@club.example"])
    answer = await api.post(f"/jobs/{job['id']}/tests", json={"to": ["ann@club.example"]})
    assert is_problem(answer, 422)
    [error] = answer.json()["errors"]
    assert error["pointer"] == "#/to"
    assert "ann@club.example opted out" in error["detail"]


async def test_who_sent_as_many_tests_as_an_hour_has_is_told_so_at_each_door_and_the_trail_has_those_that_went_out(
        site, cli, stage: Stage):
    api, operator = await site.api(account_id := await stage.account()), await site.operator()
    job = (await api.post("/jobs", json=job_of(100))).json()
    page = f"/accounts/{account_id}/jobs/{job['id']}"
    ten = [f"desk{n}@club.example" for n in range(10)]
    for _ in range(9):
        assert (await api.post(f"/jobs/{job['id']}/tests", json={"to": ten})).status_code == 200
    assert (await cli("test", str(job["id"]), *[word for one in ten[:9] for word in ("--to", one)])).status == 0
    words = "An account sends at most 100 test messages an hour. It goes on after "
    answer = await api.post(f"/jobs/{job['id']}/tests", json={"to": ten[:2]})
    assert is_problem(answer, 409)
    assert words in answer.json()["detail"]
    token = re.search(r'name="form_token" value="([0-9a-f]+)"', (await operator.get(f"{page}/preview")).text)[1]
    sent = await operator.post(f"{page}/recipients/1/tests", data={"to": "\n".join(ten[:2]), "form_token": token})
    refused = (await operator.get(sent.headers["location"])).text
    assert (sent.status_code, words in refused, "desk1@club.example</textarea>" in refused) == (303, True, True)
    ended = await cli("test", str(job["id"]), "--to", ten[0], "--to", ten[1])
    assert (ended.status, words in ended.err) == (1, True)
    shown = json.loads((await cli("jobs", "show", str(job["id"]), "--json")).out)["trail"]
    assert [one["verb"] for one in shown] == ["submit", *["test", "tested"] * 10]
    assert {one["to"] for one in shown} == {"pending_approval"}
    assert [(one["by"], one["reason"]) for one in shown[1:3]] == [
        ("key website", "Tried a test to 10 addresses."), ("key website", "Of the test: 10 accepted by the gateway.")]
    assert "(test) by <bdi>key website</bdi>: <bdi>Tried a test to 10 addresses.</bdi>" in (await operator.get(page)).text
    assert stage.sandbox.accepted == 99


@pytest.mark.parametrize("to", [[], [f"a{n}@club.example" for n in range(11)], ["nobody"], "ann@club.example", None])
async def test_a_test_message_to_nobody_to_too_many_or_to_no_address_is_refused(site, to):
    api = await site.api(await site.account())
    job = (await api.post("/jobs", json=job_of(100))).json()
    assert is_problem(await api.post(f"/jobs/{job['id']}/tests", json={"to": to}), 422)


async def test_a_gateway_that_cannot_be_used_is_named_to_its_own_account(site):
    api = await site.api(await site.account(port=9))
    job = (await api.post("/jobs", json=job_of(100))).json()
    answer = await api.post(f"/jobs/{job['id']}/tests", json={"to": ["ann@club.example"]})
    assert is_problem(answer, 503)
    assert "127.0.0.1:9 cannot be used" in answer.json()["detail"]


# -- the command line ------------------------------------------------------------------------------------------------------


async def test_the_command_shows_a_message_and_prints_its_parts_as_they_are(cli, stage: Stage):
    account = await stage.account()
    job = await stage.submit(account, rows(100))
    whole = await cli("preview", str(job.id), "--position", "7")
    assert whole.status == 0
    assert whole.out.splitlines() == ["To: person7@list.example", "From: The Club <news@club.example>",
                                      "Subject: News for Person 7", "", "Hello Person 7", ""]
    assert (await cli("preview", str(job.id), "--as", "html")).out.startswith("<p>Hello Person 1</p>")
    source = (await cli("preview", str(job.id), "--as", "source")).out
    assert message_from_bytes(source.encode(), policy=policy.default)["Subject"] == "News for Person 1"
    assert json.loads((await cli("preview", str(job.id), "--json")).out)["from"] == "The Club <news@club.example>"
    beyond = await cli("preview", str(job.id), "--position", "101")
    assert (beyond.status, beyond.err) == (1, f"postroom: Job {job.id} has no recipient 101.\n")


async def test_the_command_sends_a_test_and_ends_well_only_if_everybody_got_it(cli, stage: Stage):
    stage.sandbox.script = Script(refuse={"bob@club.example": Refusal("rcpt", 550, "5.1.1 No such mailbox")})
    job = await stage.submit(await stage.account(), rows(100))
    good = await cli("test", str(job.id), "--to", "ann@club.example")
    assert (good.status, "accepted" in good.out) == (0, True)
    mixed = await cli("test", str(job.id), "--to", "ann@club.example", "--to", "bob@club.example", "--position", "2")
    assert mixed.status == 1
    assert "5.1.1 No such mailbox" in mixed.out
    wrong = await cli("test", str(job.id), "--to", "nobody")
    assert (wrong.status, '"nobody": There is no @' in wrong.err) == (2, True)
    assert stage.sandbox.accepted == 2


async def test_what_a_message_holds_cannot_steer_the_terminal(cli, stage: Stage):
    content = {"subject": "News", "html": None, "text": "Dear {{ name }}\n"}
    evil = [{**one, "fields": {"name": "\x1b]0;taken\x07"}} for one in listed(100)]
    async with served(stage.pool, stage.url) as site:
        api = await site.api(await stage.account())
        job = (await api.post("/jobs", json=job_of(0, message={**MESSAGE, **content}, recipients=evil))).json()
    ended = await cli("preview", str(job["id"]))
    assert "Dear" in ended.out
    assert not set("\x1b\x07") & set(ended.out)
