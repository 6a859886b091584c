"""What a program decides about a job on its way and after its end: pause, continuation, settlement."""

from __future__ import annotations

import json

from contest import book_first, comes_to_light
from postroom.domain.outcome import Evidence, Kind, Outcome
from postroom.ledger.delivery.windows import Claim, Window

from .serving import Site, job_of


async def doubted(site: Site, account_id: int, *, doubts: int = 2, count: int = 5) -> int:
    """A sending job whose first recipients are unconfirmed."""
    return (await held_and_doubted(site, account_id, doubts=doubts, count=count))[0]


async def held_and_doubted(site: Site, account_id: int, *, doubts: int = 2,
                           count: int = 5) -> tuple[int, list[tuple[Claim, Window]]]:
    """The same, and the windows that held them."""
    api = await site.api(account_id, "maker")
    job_id = (await api.post("/jobs", json=job_of(count))).json()["id"]
    return job_id, await book_first(site.pool, account_id, job_id, {
        at: Outcome(at, 1, Kind.UNCONFIRMED, Evidence.CONNECTION_LOST, reply="The connection was lost.")
        for at in range(1, doubts + 1)})


async def test_a_job_is_paused_and_resumed_and_says_who_since_when_and_why(site):
    api = await site.api(await site.account())
    path = f"/jobs/{(await api.post('/jobs', json=job_of(5))).json()['id']}"
    first = await api.put(f"{path}/pause", json={"reason": "The date may be wrong."})
    assert first.status_code == 200
    assert (first.json()["paused"]["by"], first.json()["paused"]["reason"]) == ("key website", "The date may be wrong.")
    assert first.json()["paused"]["since"] in (await api.get(path)).text
    assert first.json()["sentence"].startswith("Paused by key website since ")
    assert (await api.put(f"{path}/pause")).json() == first.json(), "the first one stays"
    for _ in range(2):
        answer = await api.delete(f"{path}/pause")
        assert (answer.status_code, answer.json()["paused"], answer.json()["status"]) == (200, None, "sending")
    await api.put(f"{path}/cancellation")
    for method in ("PUT", "DELETE"):
        answer = await api.request(method, f"{path}/pause")
        assert (answer.status_code, answer.headers["content-type"]) == (409, "application/problem+json")


async def test_the_rest_is_continued_by_a_new_job_and_both_name_each_other(site):
    api = await site.api(await site.account())
    job_id = (await api.post("/jobs", json=job_of(5))).json()["id"]
    early = await api.post(f"/jobs/{job_id}/continuation", json={"which": "unsent"})
    assert (early.status_code, early.json()["job_id"]) == (409, job_id)
    await api.put(f"/jobs/{job_id}/cancellation")
    made = await api.post(f"/jobs/{job_id}/continuation", json={"which": "unsent"}, headers={"Idempotency-Key": "rest"})
    assert made.status_code == 201
    assert made.headers["location"] == f"/api/v1/jobs/{made.json()['id']}"
    assert made.json()["continues"] == {"job": job_id, "which": "unsent"}
    assert (await api.get(f"/jobs/{job_id}")).json()["continued_by"] == [{"job": made.json()["id"], "which": "unsent"}]
    again = await api.post(f"/jobs/{job_id}/continuation", json={"which": "unsent"}, headers={"Idempotency-Key": "rest"})
    assert again.json()["id"] == made.json()["id"]
    twice = await api.post(f"/jobs/{job_id}/continuation", json={"which": "unsent"})
    assert (twice.status_code, twice.json()["job_id"]) == (409, made.json()["id"])
    other = await api.post(f"/jobs/{job_id}/continuation", json={"which": "failed"}, headers={"Idempotency-Key": "rest"})
    assert (other.status_code, other.json()["errors"][0]["header"]) == (422, "Idempotency-Key")


async def test_what_was_changed_before_it_was_sent_is_not_continued_and_both_jobs_name_each_other(site, stage):
    account_id = await site.account()
    api = await site.api(account_id)
    job = await stage.checked(account_id, 3, waits_at_gate=True)
    await api.put(f"/jobs/{job.id}/cancellation")
    made = await stage.submit(account_id, 3, waits_at_gate=True, corrects=job.id)
    assert (await api.get(f"/jobs/{job.id}")).json()["corrected_by"] == made.id
    assert (await api.get(f"/jobs/{made.id}")).json()["corrects"] == job.id
    refused = await api.post(f"/jobs/{job.id}/continuation", json={"which": "unsent"})
    assert (refused.status_code, refused.json()["job_id"]) == (409, made.id)


async def test_unconfirmed_recipients_are_listed_with_what_is_known_of_them_and_settled(site):
    account_id = await site.account()
    api, job_id = await site.api(account_id), await doubted(site, account_id)
    listing = (await api.get(f"/jobs/{job_id}/recipients", params={"state": "unconfirmed"})).json()["items"]
    assert [(row["position"], row["evidence"], row["attempts"], row["reason"]) for row in listing] == [
        (at, "connection_lost", 1, "The connection was lost.") for at in (1, 2)]
    answer = await api.post(f"/jobs/{job_id}/settlements", json={"decision": "assume_sent", "positions": [2], "note": "It came."})
    told = answer.json()
    assert (answer.status_code, told["decision"], told["continuation"]) == (200, "assume_sent", None)
    assert (told["job"]["sent"], told["job"]["unconfirmed"]) == (1, 1)
    settled = (await api.get(f"/jobs/{job_id}/recipients", params={"state": "sent"})).json()["items"]
    assert [(row["position"], row["evidence"], row["reason"]) for row in settled] == [
        (2, "person", "Assumed sent by key website. It came.")]
    told = (await api.post(f"/jobs/{job_id}/settlements", json={"decision": "send_again"})).json()
    assert (told["job"]["unsent"], told["job"]["unconfirmed"]) == (4, 0)
    assert "twice" in told["warning"]


async def test_what_is_settled_after_the_end_is_sent_by_a_job_of_its_own_and_once_a_key(site):
    account_id = await site.account()
    api, job_id = await site.api(account_id), await doubted(site, account_id)
    await api.put(f"/jobs/{job_id}/cancellation")
    asked = {"decision": "send_again", "positions": None}
    first, again = [await api.post(f"/jobs/{job_id}/settlements", json=asked, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert first.json() == again.json()
    assert first.json()["continuation"]["continues"] == {"job": job_id, "which": "unconfirmed"}
    assert first.json()["continuation"]["recipient_count"] == 2
    assert len((await api.get("/jobs")).json()["items"]) == 2


async def test_what_came_to_light_against_a_person_is_said_and_whom_it_is_about_is_continued(site):
    account_id = await site.account()
    api, (job_id, held) = await site.api(account_id), await held_and_doubted(site, account_id, doubts=2, count=2)
    await api.post(f"/jobs/{job_id}/settlements", json={"decision": "assume_sent"})
    await api.put(f"/jobs/{job_id}/cancellation")
    assert (await api.get(f"/jobs/{job_id}")).json()["contradictions"] == []
    await comes_to_light(site.pool, held, Kind.RELEASED)
    told = (await api.get(f"/jobs/{job_id}")).json()
    assert (told["sent"], told["unsent"]) == (0, 2)
    assert told["contradictions"] == [
        "2 whom a person had assumed sent never got it, as the worker's journal or the gateway proves. They count as Unsent: "
        "this job sends to them, or a continuation of its unsent once it is over."]
    assert (await api.get("/jobs")).json()["items"][0]["contradictions"] == told["contradictions"]
    made = await api.post(f"/jobs/{job_id}/continuation", json={"which": "unsent"})
    assert made.status_code == 201
    listing = (await api.get(f"/jobs/{made.json()['id']}/recipients")).json()["items"]
    assert [row["email"] for row in listing] == ["person1@list.example", "person2@list.example"]


async def test_what_cannot_be_settled_is_said_with_its_place(site):
    account_id = await site.account()
    api, job_id = await site.api(account_id), await doubted(site, account_id)
    answer = await api.post(f"/jobs/{job_id}/settlements", json={"decision": "assume_sent", "positions": [1, 4]})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "#/positions")
    for wrong in ({}, {"decision": "forget"}, {"decision": "assume_sent", "positions": []},
                  {"decision": "assume_sent", "positions": [2**31]}, {"decision": "assume_sent", "note": "a\0"}):
        assert (await api.post(f"/jobs/{job_id}/settlements", json=wrong)).status_code == 422, wrong
    assert (await api.get(f"/jobs/{job_id}")).json()["unconfirmed"] == 2
    await api.post(f"/jobs/{job_id}/settlements", json={"decision": "assume_sent"})
    assert (await api.post(f"/jobs/{job_id}/settlements", json={"decision": "assume_sent"})).status_code == 409


async def test_another_accounts_job_cannot_be_decided_about(site):
    account_id = await site.account("Theirs")
    job_id, mine = await doubted(site, account_id), await site.api(await site.account("Mine"))
    for path, asked in (("continuation", {"which": "unsent"}), ("settlements", {"decision": "assume_sent"})):
        assert (await mine.post(f"/jobs/{job_id}/{path}", json=asked)).status_code == 404


async def test_the_longest_note_is_taken_however_it_is_written(site):
    api = await site.api(await site.account())
    note = "\U0001f600" * 1_000  # twelve octets each in JSON that is ASCII
    for body in (json.dumps({"note": note}), json.dumps({"note": note}, ensure_ascii=False)):
        job_id = (await api.post("/jobs", json=job_of(100))).json()["id"]
        answer = await api.put(f"/jobs/{job_id}/cancellation", content=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["reason"]) == (200, note)
