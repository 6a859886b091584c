"""The command line: a job's recipients, one by one, and what became of each."""

from __future__ import annotations

import json

from contest import book_first
from postroom.domain.audience import IncomingRow
from postroom.domain.outcome import Evidence, Kind, Outcome
from postroom.doors.cli import recipients
from postroom.ledger.job.jobs import JobOverview
from stage import Stage, rows

from .test_cli import one_sentence


async def booked(stage: Stage) -> JobOverview:
    """One is sent, one failed, one unconfirmed, one unsent, and one has no address."""
    account = await stage.account(port=25)
    job = await stage.submit(account, [*rows(4), IncomingRow(6, "no\x1b[2Jwhere", {})], unusable_addresses="fail")
    await book_first(stage.pool, account, job.id, {
        1: Outcome(1, 1, Kind.SENT, Evidence.REPLY, 250, "2.0.0", "2.0.0 Ok"),
        2: Outcome(2, 1, Kind.FAILED, Evidence.REPLY, 550, "5.1.1", "No such \x1b[2Juser"),
        3: Outcome(3, 1, Kind.UNCONFIRMED, Evidence.CONNECTION_LOST, reply="The connection was lost.")})
    return job


async def test_each_is_told_with_its_state_its_attempts_and_the_reason_in_the_gateways_words(stage: Stage, cli) -> None:
    job = await booked(stage)
    told = (await cli("jobs", "recipients", str(job.id))).out
    head, *lines = [line.split() for line in told.splitlines()]
    assert head == ["No.", "Address", "State", "Attempts", "When", "Reason"]
    assert [(line[0], line[2], line[3]) for line in lines] == [
        ("1", "sent", "1"), ("2", "failed", "1"), ("3", "unconfirmed", "1"), ("4", "unsent", "0"), ("5", "failed", "0")]
    for words in ("250 “2.0.0 Ok”", "The gateway refused this recipient. 550 5.1.1 “No such \N{REPLACEMENT CHARACTER}[2Juser”",
                  "The connection was lost."):
        assert words in told
    assert "\x1b" not in told


async def test_they_are_found_by_state_and_by_address(stage: Stage, cli) -> None:
    job = await booked(stage)

    async def found(*options: str) -> list[int]:
        return [one["position"] for one in json.loads((await cli("jobs", "recipients", str(job.id), *options, "--json")).out)]

    assert await found("--state", "failed") == [2, 5]
    assert await found("--address", "PERSON3@list.example") == await found("--state", "unconfirmed") == [3]
    assert await found("--address", "person3@list.example", "--state", "sent") == []
    assert (await cli("jobs", "recipients", str(job.id), "--address", "ann@b.example")).out == "No recipient matches.\n"
    one_sentence(await cli("jobs", "recipients", str(job.id), "--state", "lost"), 'not "lost"')
    one_sentence(await cli("jobs", "recipients", "999", "--json"), "There is no job 999")
    shown = (await cli("jobs", "show", str(job.id))).out
    for state in ("failed", "unconfirmed"):
        assert f"postroom jobs recipients {job.id} --state {state}" in shown
    assert "--state" not in (await cli("jobs", "show", str((await stage.submit(job.account_id, 2)).id))).out


async def test_many_pages_are_one_list_and_one_document(stage: Stage, cli, monkeypatch) -> None:
    monkeypatch.setattr(recipients, "ROWS_PER_PAGE", 2)
    job = await booked(stage)
    listed = json.loads((await cli("jobs", "recipients", str(job.id), "--json")).out)
    assert [one["position"] for one in listed] == [1, 2, 3, 4, 5]
    assert listed[1]["reply"] == "No such \x1b[2Juser"
    lines = [line.split() for line in (await cli("jobs", "recipients", str(job.id))).out.splitlines()]
    assert [line[0] for line in lines if line[0] != "No."] == ["1", "2", "3", "4", "5"]
