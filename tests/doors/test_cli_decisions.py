"""The command line: pausing a job, continuing its rest, settling its doubts."""

from __future__ import annotations

import json

from acting import acting
from contest import book_first, comes_to_light
from postroom.domain.outcome import Evidence, Kind, Outcome
from postroom.flow.job import finish
from postroom.ledger.delivery.windows import Claim, Window
from postroom.ledger.job.jobs import JobOverview
from stage import Stage

from .test_cli import one_sentence


async def doubted(stage: Stage) -> JobOverview:
    return (await held_and_doubted(stage))[0]


async def held_and_doubted(stage: Stage) -> tuple[JobOverview, list[tuple[Claim, Window]]]:
    account = await stage.account(port=25)
    job = await stage.submit(account, 5)
    return job, await book_first(stage.pool, account, job.id, {
        at: Outcome(at, 1, Kind.UNCONFIRMED, Evidence.CONNECTION_LOST, reply="The connection was lost.") for at in (1, 2, 3)})


async def test_a_job_is_paused_and_resumed(stage: Stage, cli) -> None:
    job = await stage.submit(await stage.account(port=25), 3)
    ended = await cli("jobs", "pause", str(job.id), "--reason", "The date is wrong.")
    assert ended.status == 0
    assert "Paused by cli" in ended.out
    assert "The date is wrong. 3 of 3 wait; nothing is sent until somebody resumes it." in ended.out
    assert "The date is wrong." in (await cli("jobs", "show", str(job.id))).out
    assert "Sending, paused" in (await cli("jobs", "list")).out
    told = json.loads((await cli("jobs", "resume", str(job.id), "--json")).out)
    assert (told["paused"], told["status"]) == (None, "sending")
    assert "paused" not in (await cli("jobs", "list")).out


async def test_the_rest_is_continued_and_both_jobs_say_so(stage: Stage, cli) -> None:
    account = await stage.account(port=25)
    job = await stage.submit(account, 3)
    one_sentence(await cli("jobs", "continue", str(job.id)), "once it is over")
    await finish.cancel(stage.pool, acting(account, "boss"), job.id)
    one_sentence(await cli("jobs", "continue", str(job.id), "--failed"), "no failed recipients")
    made = json.loads((await cli("jobs", "continue", str(job.id), "--json")).out)
    assert (made["continues"], made["recipient_count"]) == ({"job": job.id, "which": "unsent"}, 3)
    assert f"Job {made['id']} continues what it left unsent." in (await cli("jobs", "show", str(job.id))).out
    assert f"It continues what job {job.id} left unsent." in (await cli("jobs", "show", str(made["id"]))).out


async def test_what_was_changed_before_it_was_sent_is_continued_by_no_command_and_both_jobs_say_why(stage: Stage, cli) -> None:
    account = await stage.account(port=25)
    job = await stage.checked(account, 3, waits_at_gate=True)
    await finish.cancel_at_gate(stage.pool, acting(account, "boss"), job.id, note="Changed before it was sent.")
    made = await stage.submit(account, 3, waits_at_gate=True, corrects=job.id)
    one_sentence(await cli("jobs", "continue", str(job.id)), f"job {made.id} took its place")
    assert f"Job {made.id} took its place." in (await cli("jobs", "show", str(job.id))).out
    assert f"It takes the place of job {job.id}" in (await cli("jobs", "show", str(made.id))).out


async def test_doubts_are_settled_singly_and_all_at_once_with_the_warning(stage: Stage, cli) -> None:
    job = await doubted(stage)
    ended = await cli("jobs", "settle", str(job.id), "--assume-sent", "--position", "1", "--position", "3")
    assert ended.status == 0
    assert ended.out.startswith("Settled: 2. Nobody can know")
    await finish.cancel(stage.pool, acting(job.account_id, "boss"), job.id)
    told = json.loads((await cli("jobs", "settle", str(job.id), "--send-again", "--note", "No copy.", "--json")).out)
    assert (told["settled"], told["job"]["unconfirmed"], told["continuation"]["recipient_count"]) == (1, 0, 1)
    assert "twice" in told["warning"]
    assert "To be sent again in job" in (await cli("jobs", "show", str(job.id))).out


async def test_who_never_got_it_although_a_person_assumed_so_is_told_of_with_the_command_that_reaches_them(
        stage: Stage, cli) -> None:
    job, held = await held_and_doubted(stage)
    await cli("jobs", "settle", str(job.id), "--assume-sent")
    await comes_to_light(stage.pool, held, Kind.RELEASED)
    told = await cli("jobs", "show", str(job.id))
    assert "\n3 whom a person had assumed sent never got it" in told.out
    assert "jobs continue" not in told.out
    await finish.cancel(stage.pool, acting(job.account_id, "boss"), job.id)
    told = await cli("jobs", "show", str(job.id))
    offer = f"Continue the 5 unsent: postroom jobs continue {job.id}"
    assert offer in told.out
    assert (await cli(*offer.partition("postroom ")[2].split())).status == 0
    assert "jobs continue" not in (await cli("jobs", "show", str(job.id))).out


async def test_a_decision_has_to_be_named_and_every_position_be_unconfirmed(stage: Stage, cli) -> None:
    job = await doubted(stage)
    for options in ((), ("--assume-sent", "--send-again")):
        one_sentence(await cli("jobs", "settle", str(job.id), *options), "--assume-sent", "--send-again")
    one_sentence(await cli("jobs", "settle", str(job.id), "--assume-sent", "--position", "5"), "no. 5 is not unconfirmed")
