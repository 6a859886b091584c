"""The API as a program meets it: jobs created, read, approved and cancelled over HTTP, on a real server and database."""

from __future__ import annotations

import asyncio
import json

import pytest

from contest import book_first
from postroom.domain.outcome import Evidence, Kind, Outcome

from .serving import MESSAGE, csv_of, job_of, listed, upload

JOB_KEYS = [
    "id", "status", "status_label", "reason", "sentence", "recipient_count", "sent", "failed", "skipped", "unconfirmed", "unsent",
    "excluded", "queue_position", "queue", "created_at", "created_by", "approved_by", "approved_at", "started_at", "ended_at",
    "subject", "digest", "per_second", "seconds_left", "field_policy", "preflight",
    "limit_per_s", "slowed_to_per_s", "slowed_because", "retries_until", "waits_for",
    "paused", "alarm", "continues", "continued_by", "corrects", "corrected_by", "contradictions"]
RECIPIENT_KEYS = ["position", "row", "email", "fields", "state", "reason", "code", "enhanced_code", "reply", "evidence",
                  "attempts", "at"]


def adds_up(job) -> bool:
    return sum(job[name] for name in ("sent", "failed", "skipped", "unconfirmed", "unsent")) == job["recipient_count"]


async def test_a_job_is_created_from_json_and_shown_with_exactly_the_promised_keys(site):
    api = await site.api(await site.account())
    answer = await api.post("/jobs", json=job_of(100))
    job = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/api/v1/jobs/{job['id']}"
    assert list(job) == JOB_KEYS
    assert (job["status"], job["status_label"], job["recipient_count"]) == ("pending_approval", "Pending approval", 100)
    assert job["created_by"] == "key website"
    assert adds_up(job)
    assert (await api.get(f"/jobs/{job['id']}")).json() == job


async def test_a_list_that_only_its_file_name_tells_about_is_read_as_that(site):
    api = await site.api(await site.account())
    lists = {"list.csv": b"email,name\na@b.example,A\n",
             "list.ndjson": b'{"email": "a@b.example", "fields": {"name": "A"}}\n'}
    for filename, recipients in lists.items():
        answer = await api.post("/jobs", files={
            "message": (None, json.dumps({"message": MESSAGE}), "application/json"),
            "recipients": (filename, recipients, "application/octet-stream")})
        assert (answer.status_code, answer.json()["recipient_count"]) == (201, 1)


async def test_ninety_nine_recipients_need_no_approval(site):
    api = await site.api(await site.account())
    job = (await api.post("/jobs", json=job_of(99))).json()
    assert job["status"] == "sending"
    assert job["approved_by"] is None


async def test_rows_that_are_left_out_are_counted_by_reason_and_listed(site):
    api = await site.api(await site.account())
    rows = [*listed(3), {"email": "PERSON1@list.example"}, {"email": "no address"}, {"email": None}]
    job = (await api.post("/jobs", json=job_of(0, recipients=rows))).json()
    assert job["recipient_count"] == 3
    assert job["excluded"] == {"duplicate": 1, "unusable": 2, "suppressed": 0}
    listing = (await api.get(f"/jobs/{job['id']}/exclusions")).json()
    assert [(row["row"], row["kind"]) for row in listing["items"]] == [(4, "duplicate"), (5, "unusable"), (6, "unusable")]
    assert all(row["reason"] for row in listing["items"])


async def test_a_csv_file_is_taken_in_the_charset_that_its_part_names(site):
    api = await site.api(await site.account())
    answer = await upload(api, "email;name\nzoe@list.example;Zoë\n".encode("cp1252"), "text/csv; charset=windows-1252")
    assert answer.status_code == 201, answer.text
    ledger = (await api.get(f"/jobs/{answer.json()['id']}/recipients")).json()["items"]
    assert list(ledger[0]) == RECIPIENT_KEYS
    assert (ledger[0]["row"], ledger[0]["email"], ledger[0]["fields"]) == (2, "zoe@list.example", {"name": "Zoë"})
    attempts = await api.get(f"/jobs/{answer.json()['id']}/recipients/1/attempts")
    assert attempts.json() == {"position": 1, "email": "zoe@list.example", "items": []}
    assert (await api.get(f"/jobs/{answer.json()['id']}/recipients/2/attempts")).status_code == 404


async def test_newline_delimited_json_is_taken(site):
    api = await site.api(await site.account())
    lines = b"\n".join(json.dumps(row).encode() for row in listed(250))
    answer = await upload(api, lines, "application/x-ndjson", {"message": MESSAGE, "duplicates": "send"})
    assert answer.json()["recipient_count"] == 250


async def test_a_large_file_passes_through_whole(site):
    api = await site.api(await site.account())
    answer = await upload(api, csv_of(20_000))
    assert answer.json()["recipient_count"] == 20_000


UNREADABLE = {
    "encoding": ("email,name\nzoe@list.example,Zoë\n".encode("cp1252"), 2, None),
    "two columns of addresses": (b"mother,father\na@list.example,b@list.example\n", 1, "mother"),
    "no address column": (b"name\nZoe\n", 1, "email"),
    "cells": (b"email,name\na@list.example,b,c\n", 2, None),
    "NUL": (b"email,name\na@list.example,\0\n", 2, None),
    "10 MB in a field": (b"email,name\na@list.example," + b"x" * 10_000_000 + b"\n", 2, None),
    "empty": (b"", 1, None),
}


async def test_a_list_that_cannot_be_read_is_refused_with_row_and_column_and_nothing_is_created(site):
    api = await site.api(await site.account())
    for what, (recipients, row, column) in UNREADABLE.items():
        answer = await upload(api, recipients)
        error = answer.json()["errors"][0]
        assert (answer.status_code, error.get("row"), error.get("column")) == (422, row, column), what
    assert (await api.get("/jobs")).json()["items"] == []


async def test_a_list_of_nobody_is_refused(site):
    api = await site.api(await site.account())
    assert (await api.post("/jobs", json=job_of(0))).status_code == 422
    assert (await upload(api, b"email\n")).status_code == 422
    assert (await api.post("/jobs", json={"message": MESSAGE})).json()["errors"][0]["pointer"] == "#/recipients"
    assert (await api.post("/jobs", json={"message": MESSAGE, "contacts": True})).status_code == 422


async def test_every_fault_of_a_message_is_said_with_its_place(site):
    api = await site.api(await site.account())
    wrong = {"subject": " ", "from": {"address": "nobody"}}
    problem = (await api.post("/jobs", json=job_of(1, message=wrong))).json()
    assert {error["pointer"] for error in problem["errors"]} == {"#/message/subject", "#/message/text", "#/message/from/address"}
    problem = (await api.post("/jobs", json=job_of(1, gatway="main"))).json()
    assert problem["errors"][0]["pointer"] == "#/gatway"
    problem = (await api.post("/jobs", json=job_of(1, message={**MESSAGE, "text": "a\0b"}))).json()
    assert problem["errors"][0]["pointer"] == "#/message/text"


async def test_the_same_request_again_answers_with_the_same_job(site):
    api = await site.api(await site.account())
    first = await api.post("/jobs", json=job_of(100), headers={"Idempotency-Key": '"order-7"'})
    spelt_otherwise = json.dumps(dict(reversed(job_of(100).items())), indent=2)
    again = await api.post("/jobs", content=spelt_otherwise,
                           headers={"Idempotency-Key": "order-7", "Content-Type": "application/json"})
    assert again.json()["id"] == first.json()["id"]
    assert len((await api.get("/jobs")).json()["items"]) == 1


async def test_the_same_file_again_is_the_same_request_and_another_file_is_refused(site):
    api = await site.api(await site.account())
    key = {"Idempotency-Key": "upload-1"}
    first = await upload(api, csv_of(100), headers=key)
    again = await upload(api, csv_of(100), headers=key)
    assert again.json()["id"] == first.json()["id"]
    other_file = await upload(api, csv_of(100), headers=key, files=[("a.txt", b"A")])
    for other in (await upload(api, csv_of(101), headers=key), other_file):
        assert other.status_code == 422
        assert other.json()["errors"][0]["header"] == "Idempotency-Key"


async def test_of_two_equal_requests_at_once_one_makes_the_job(site):
    api = await site.api(await site.account())
    answers = await asyncio.gather(*(api.post("/jobs", json=job_of(500), headers={"Idempotency-Key": "k"}) for _ in range(4)))
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 201}) == 1
    assert len((await api.get("/jobs")).json()["items"]) == 1


async def test_approving_twice_answers_the_same(site):
    account_id = await site.account()
    api, job = await site.api(account_id), await site.job(account_id)
    first = await api.put(f"/jobs/{job['id']}/approval", json={"digest": job["digest"]})
    again = await api.put(f"/jobs/{job['id']}/approval")
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json()["status"] == "sending"
    assert first.json()["approved_by"] == "key website"
    assert again.json()["approved_at"] == first.json()["approved_at"]


async def test_an_approval_of_something_else_is_refused(site):
    api = await site.api(await site.account())
    job = (await api.post("/jobs", json=job_of(100))).json()
    answer = await api.put(f"/jobs/{job['id']}/approval", json={"digest": "00" * 32})
    assert answer.status_code == 409
    assert answer.json()["job_id"] == job["id"]
    assert (await api.get(f"/jobs/{job['id']}")).json()["status"] == "pending_approval"
    assert (await api.put(f"/jobs/{job['id']}/approval", json={"digest": "xyz"})).status_code == 422


async def test_cancelling_twice_answers_the_same_and_keeps_the_first_note(site):
    api = await site.api(await site.account())
    job = (await api.post("/jobs", json=job_of(100))).json()
    first = await api.put(f"/jobs/{job['id']}/cancellation", json={"note": "The date is wrong."})
    again = await api.put(f"/jobs/{job['id']}/cancellation")
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json() == again.json()
    assert (first.json()["status"], first.json()["reason"], first.json()["unsent"]) == ("cancelled", "The date is wrong.", 100)


async def test_cancelling_after_the_end_is_a_conflict_with_the_final_counts(site):
    api = await site.api(await site.account())
    # Every row is booked at the freeze, so this job is completed the moment it is created.
    job = (await api.post("/jobs", json=job_of(0, recipients=[{"email": "none"}] * 3, unusable_addresses="fail"))).json()
    assert (job["status"], job["failed"]) == ("completed", 3)
    answer = await api.put(f"/jobs/{job['id']}/cancellation")
    assert answer.status_code == 409
    assert answer.json()["job_id"] == job["id"]
    assert "3 failed" in answer.json()["detail"]


async def test_a_failed_recipient_says_why(site):
    api = await site.api(await site.account())
    job = (await api.post("/jobs", json=job_of(0, recipients=[{"email": "none"}], unusable_addresses="fail"))).json()
    row = (await api.get(f"/jobs/{job['id']}/recipients", params={"state": "failed"})).json()["items"][0]
    assert row["reason"] == "There is no @ in the address."
    assert (row["state"], row["reply"], row["evidence"], row["attempts"]) == ("failed", None, "freeze", 0)


async def test_a_foreign_job_is_as_unknown_as_one_that_never_was(site):
    mine, theirs = await site.api(await site.account("Mine")), await site.api(await site.account("Theirs"))
    job_id = (await mine.post("/jobs", json=job_of(100))).json()["id"]
    for method, path in (("GET", ""), ("GET", "/recipients"), ("GET", "/exclusions"), ("GET", "/events"), ("PUT", "/approval"),
                         ("PUT", "/cancellation"), ("PUT", "/pause"), ("DELETE", "/pause")):
        foreign = await theirs.request(method, f"/jobs/{job_id}{path}")
        unknown = await theirs.request(method, f"/jobs/{job_id + 900}{path}")
        assert foreign.status_code == unknown.status_code == 404
        assert foreign.text == unknown.text.replace(str(job_id + 900), str(job_id))
    assert (await mine.get(f"/jobs/{job_id}")).json()["status"] == "pending_approval"


async def test_a_waiting_job_shows_its_place_and_what_it_waits_for(site):
    api = await site.api(await site.account())
    ids = [(await api.post("/jobs", json=job_of(5))).json()["id"] for _ in range(3)]
    last = (await api.get(f"/jobs/{ids[2]}")).json()
    assert last["status"] == "queued"
    assert last["queue_position"] == last["queue"]["position"] == 2
    assert last["queue"]["sentence"] == (
        "Your send is queued. Sending will start automatically when the current send finishes.")
    page = (await api.get("/jobs")).json()["items"]
    assert [job["id"] for job in page] == ids[::-1]
    assert [job["queue"] and job["queue"]["position"] for job in page] == [2, 1, None]
    assert page[0] == last


async def test_pages_of_jobs_follow_each_other_without_gap_or_overlap(site):
    api = await site.api(await site.account())
    made = [(await api.post("/jobs", json=job_of(1))).json()["id"] for _ in range(5)]
    seen, cursor = [], None
    while True:
        answer = await api.get("/jobs", params={"limit": 2, **({"cursor": cursor} if cursor else {})})
        seen += [job["id"] for job in answer.json()["items"]]
        cursor = answer.json()["next_cursor"]
        assert ('rel="next"' in answer.headers.get("link", "")) is (cursor is not None)
        if cursor is None:
            break
    assert seen == made[::-1]


async def test_jobs_are_filtered_by_status_and_date(site):
    api = await site.api(await site.account())
    for count in (100, 1, 1):
        await api.post("/jobs", json=job_of(count))

    async def count_of(**filters: str) -> int:
        return len((await api.get("/jobs", params=filters)).json()["items"])

    assert await count_of(status="pending_approval") == 1
    assert await count_of(status="queued") == 1
    assert await count_of(since="2020-01-01T00:00:00Z") == 3
    assert await count_of(until="2020-01-01T00:00:00Z") == 0
    assert (await api.get("/jobs", params={"status": "paused"})).json()["errors"][0]["parameter"] == "status"


async def test_the_ledger_is_filtered_and_paged(site):
    api = await site.api(await site.account())
    rows = [*listed(5), {"email": "x"}]
    job_id = (await api.post("/jobs", json=job_of(0, recipients=rows, unusable_addresses="fail"))).json()["id"]
    first = (await api.get(f"/jobs/{job_id}/recipients", params={"state": "unsent", "limit": 3})).json()
    second = (await api.get(f"/jobs/{job_id}/recipients",
                            params={"state": "unsent", "limit": 3, "cursor": first["next_cursor"]})).json()
    assert [row["position"] for row in first["items"] + second["items"]] == [1, 2, 3, 4, 5]
    assert second["next_cursor"] is None
    assert (await api.get(f"/jobs/{job_id}/recipients", params={"state": "lost"})).json()["errors"][0]["parameter"] == "state"
    assert (await api.get(f"/jobs/{job_id}/recipients", params={"cursor": "9" * 20})).status_code == 422


@pytest.mark.parametrize("address", ["ann+news@list.example", "ann+news+more@list.example", "+ann@list.example", "un+usable"])
@pytest.mark.parametrize("plus", ["+", "%2B"])
async def test_a_plus_in_an_address_is_found_however_the_url_has_it(site, address, plus):
    api = await site.api(await site.account())
    rows = [{"email": address}, {"email": "ann@list.example"}, {"email": "ann news@list.example"}]
    job_id = (await api.post("/jobs", json=job_of(0, recipients=rows, unusable_addresses="fail"))).json()["id"]
    found = (await api.get(f"/jobs/{job_id}/recipients?address={address.replace('+', plus)}")).json()["items"]
    assert address in [row["email"] for row in found]
    as_given = (await api.get(f"/jobs/{job_id}/recipients?address=ann%20news@list.example")).json()["items"]
    assert "ann news@list.example" in [row["email"] for row in as_given]


async def test_a_plus_before_the_zone_of_a_time_is_read_as_one(site):
    api = await site.api(await site.account())
    await api.post("/jobs", json=job_of(1))
    for since, count in (("2020-01-31T09:00:00+02:00", 1), ("2020-01-31T09:00+0200", 1), ("2090-01-31T09:00:00+02:00", 0)):
        answer = await api.get(f"/jobs?since={since}")
        assert len(answer.json()["items"]) == count
    assert (await api.get("/jobs?since=2020-01-31+09:00")).status_code == 422, "that is no zone"


async def test_a_recipient_is_looked_up_by_its_address(site):
    api = await site.api(await site.account())
    rows = [*listed(3), {"email": "Person2@LIST.example"}, {"email": "nowhere"}]
    job_id = (await api.post("/jobs", json=job_of(0, recipients=rows, duplicates="skip", unusable_addresses="fail"))).json()["id"]

    async def found(**query: str | int) -> list[tuple[int, str]]:
        answer = await api.get(f"/jobs/{job_id}/recipients", params=query)
        return [(row["position"], row["state"]) for row in answer.json()["items"]]

    assert await found(address="PERSON2@list.example") == [(2, "unsent"), (4, "skipped")]
    assert await found(address="person2@list.example", state="skipped") == [(4, "skipped")]
    assert await found(address="nowhere") == [(5, "failed")]
    assert await found(address="person9@list.example") == []
    first = (await api.get(f"/jobs/{job_id}/recipients", params={"address": "person2@list.example", "limit": 1})).json()
    assert await found(address="person2@list.example", limit=1, cursor=first["next_cursor"]) == [(4, "skipped")]
    [error] = (await api.get(f"/jobs/{job_id}/recipients", params={"address": "a\0@b.example"})).json()["errors"]
    assert error["parameter"] == "address"


async def test_who_stays_unsent_is_told_that_it_is_tried_again_only_as_long_as_that_is_true(site):
    account_id = await site.account()
    api = await site.api(account_id)
    job_id = (await api.post("/jobs", json=job_of(3))).json()["id"]
    await book_first(site.pool, account_id, job_id, {
        1: Outcome(1, 1, Kind.REFUSED, Evidence.REPLY, 450, "4.2.1", "Mailbox busy", retry_in_s=60, refusals=1),
        2: Outcome(2, 1, Kind.RELEASED, Evidence.WORKER)})

    async def reasons() -> list[str]:
        answer = await api.get(f"/jobs/{job_id}/recipients", params={"state": "unsent"})
        return [row["reason"] for row in answer.json()["items"]]

    assert await reasons() == ["The gateway refused it for now; it is tried again while the job is sending.",
                               "Not handed off; it is tried again while the job is sending.", None]
    await api.put(f"/jobs/{job_id}/cancellation")
    assert await reasons() == ["The gateway refused it for now; the job ended before it was tried again.",
                               "Not handed off; the job ended before it was tried again.", None]
