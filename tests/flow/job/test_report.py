"""What people are told: numbers of one instant, a place in the queue, and one true sentence."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from acting import acting
from contest import claimed, hand_off_everything, turned
from postroom.domain.audience import IncomingRow
from postroom.domain.job import QUEUE_SENTENCE, Status
from postroom.errors import InvalidInput, NotFound
from postroom.flow.audience.suppressions import suppress
from postroom.flow.job import finish, report
from postroom.flow.job.approve import approve
from postroom.flow.job.pause import pause, resume
from postroom.gateway.sandbox.script import Refusal, Script
from postroom.ledger.job import jobs
from proofs.races import all_sent
from stage import CONTENT, Stage, rows, staged


async def test_each_status_has_a_sentence_that_says_why_nothing_moves(stage: Stage) -> None:
    account = await stage.account()

    async def sentence(job_id: int) -> str:
        return (await report.report(stage.pool, acting(account), job_id)).sentence

    waiting = await stage.submit(account, 1_000)
    assert await sentence(waiting.id) == ("No worker is running, so the check before the approval waits: "
                                          "0 of 1,000 recipients so far. Start one: postroom worker.")
    await stage.check(waiting)
    assert await sentence(waiting.id) == "Waiting for a person to approve it: 1,000 recipients. No emails have been sent."
    active, queued, doomed = [await stage.submit(account, count) for count in (10, 20, 30)]
    assert await sentence(active.id) == "No worker is running, so 10 of 10 wait. Start one: postroom worker."
    await stage.query("INSERT INTO procrastinate_workers DEFAULT VALUES RETURNING 1")
    assert await sentence(active.id) == "Sending: 10 of 10 still to go."
    assert await sentence(queued.id) == f"{QUEUE_SENTENCE} Position 1 in the queue."
    later = datetime.now(UTC) + timedelta(days=1)
    scheduled = await stage.submit(account, 5, not_before=later)
    assert await sentence(scheduled.id) == f"Scheduled: it does not start before {later:%Y-%m-%d %H:%M} UTC."
    async with stage.pool.connection() as conn:
        await jobs.set_condition(conn, account, active.id, "gateway", reason="The gateway is away.", delay_s=60)
    assert (await sentence(active.id)).startswith("The gateway is away. Trying again at ")
    behind = f"Your send is queued. It waits for job {active.id}, which"
    assert await sentence(queued.id) == f"{behind} waits for its gateway. Position 1 in the queue."
    await pause(stage.pool, acting(account, "boss"), active.id)
    assert await sentence(queued.id) == f"{behind} is paused. Position 1 in the queue."
    told = {one.job.id: one.waits_for for one in await report.reports(stage.pool, acting(account))}
    assert (told[queued.id], told[scheduled.id]) == ("job", "time")
    await resume(stage.pool, acting(account, "boss"), active.id)
    await finish.fail(stage.pool, account, doomed.id, reason="The gateway never came.")
    assert await sentence(doomed.id) == "Stopped: The gateway never came. 30 recipients were not sent and stay unsent."
    await finish.cancel(stage.pool, acting(account, "boss"), waiting.id, note="a slip")
    assert await sentence(waiting.id) == "0 had been sent before; 1,000 were not sent and stay unsent. Note: a slip"
    await hand_off_everything(stage.pool, account, active.id)
    await finish.complete(stage.pool, account, active.id)
    assert await sentence(active.id) == "All recipients are processed."


async def test_a_place_in_the_queue_says_what_it_waits_for_and_estimates_when(stage: Stage) -> None:
    account = await stage.account(connections=1)
    active, second, third = [await stage.submit(account, 40) for _ in range(3)]
    no_estimate = (await report.report(stage.pool, acting(account), second.id)).queue
    assert no_estimate
    assert no_estimate.starts_in_s is None, "nothing has been sent yet, so nothing is guessed"
    claim = await claimed(stage.pool, account, active.id)
    assert claim
    window = await turned(stage.pool, claim, [], 5)
    assert window
    await turned(stage.pool, claim, all_sent(window), 0)
    near, far = [(await report.report(stage.pool, acting(account), job.id)).queue for job in (second, third)]
    assert near
    assert far
    assert (near.position, far.position) == (1, 2)
    assert near.waits_for
    assert (near.waits_for.id, near.waits_for.unsent) == (active.id, 35)
    assert 0 < (near.starts_in_s or 0) < (far.starts_in_s or 0)
    moving = await report.report(stage.pool, acting(account), active.id)
    assert moving.per_second
    assert moving.seconds_left
    async with stage.pool.connection() as conn:
        await jobs.set_condition(conn, account, active.id, "gateway", reason="It is away.", delay_s=60)
    assert (await report.report(stage.pool, acting(account), active.id)).seconds_left is None, "while it waits nobody knows"


async def test_another_accounts_job_is_not_found_by_any_question(stage: Stage) -> None:
    mine, theirs = await stage.account("Mine"), await stage.account("Theirs")
    job = await stage.submit(theirs, 3)
    for ask in (report.report, report.progress, report.content_of, report.recipient_page, report.exclusion_page):
        with pytest.raises(NotFound, match=f"There is no job {job.id} in this account"):
            await ask(stage.pool, acting(mine), job.id)
    assert await report.trail(stage.pool, acting(mine), job.id) == []
    assert await report.history(stage.pool, acting(mine)) == []


async def test_whoever_watches_is_told_of_every_change_and_of_the_end(stage: Stage) -> None:
    account = await stage.account()
    job = await stage.checked(account, 100)
    seen: list[Status] = []

    async def watch() -> None:
        async for told in report.watch(stage.pool, acting(account), job.id):
            seen.append(told.job.status)  # noqa: PERF401 - looked at while it grows

    watching = asyncio.create_task(watch())
    await asyncio.sleep(3 * report.WATCH_EVERY_S)
    assert seen == [Status.PENDING_APPROVAL], "nothing has changed, so nothing is said"
    await approve(stage.pool, acting(account, "boss"), job.id, digest=job.digest)
    async with stage.worker():
        await stage.over(account, job.id)
    await asyncio.wait_for(watching, 10)
    assert (seen[0], seen[-1]) == (Status.PENDING_APPROVAL, Status.COMPLETED)


async def test_the_history_is_paged_newest_first_and_filtered(stage: Stage) -> None:
    account = await stage.account()
    made = [(await stage.submit(account, 1 if n % 2 else 100)).id for n in range(6)]
    first = await report.history(stage.pool, acting(account), limit=4)
    rest = await report.history(stage.pool, acting(account), limit=4, before=first[-1].id)
    assert [job.id for job in (*first, *rest)] == made[::-1]
    waiting = await report.history(stage.pool, acting(account), status=Status.PENDING_APPROVAL)
    assert [job.id for job in waiting] == made[::-1][1::2]
    assert await report.history(stage.pool, acting(account), since=datetime.now(UTC) + timedelta(minutes=1)) == []
    assert len(await report.history(stage.pool, acting(account), until=datetime.now(UTC) + timedelta(minutes=1))) == 6
    whole = {told.job.id: told for told in await report.reports(stage.pool, acting(account))}
    for job_id in made:
        assert whole[job_id] == await report.report(stage.pool, acting(account), job_id), \
            "a page says what the job's own page says"
    for limit in (0, report.PAGE_MAX + 1):
        with pytest.raises(InvalidInput, match="1 to 1,000"):
            await report.history(stage.pool, acting(account), limit=limit)


async def test_the_recipients_of_each_class_can_be_paged_and_say_what_became_of_them(stage: Stage) -> None:
    account = await stage.account()
    listed = [*rows(4), IncomingRow(6, "PERSON1@list.example", {"name": "again"}), IncomingRow(7, "nowhere", {})]
    job = await stage.submit(account, listed, duplicates="skip", unusable_addresses="fail")
    assert job.recipient_count == 6
    await suppress(stage.pool, acting(account), ["person2@list.example"])
    async with stage.worker():
        await stage.over(account, job.id)

    async def page(kind: str | None, **options: int):
        return await report.recipient_page(stage.pool, acting(account), job.id, recipient_class=kind, **options)

    assert [row.address for row in await page("sent")] == [f"person{n}@list.example" for n in (1, 3, 4)]
    assert sorted((row.row_no, row.evidence) for row in await page("skipped")) == [(3, "suppression"), (6, "freeze")]
    (failed,) = await page("failed")
    assert (failed.row_no, failed.address, report.state_of(failed)) == (7, "nowhere", "failed")
    assert failed.reply
    assert await page("unsent") == await page("unconfirmed") == []
    first = await page(None, limit=4)
    assert [row.position for row in (*first, *await page(None, after=first[-1].position))] == [1, 2, 3, 4, 5, 6]
    with pytest.raises(InvalidInput, match='not "lost"'):
        await page("lost")


async def test_a_recipient_is_found_by_its_address_however_it_is_spelt_and_whatever_became_of_it(stage: Stage) -> None:
    account = await stage.account()
    listed = [*rows(3), IncomingRow(5, "Jörg@Bücher.example", {"name": "J"}), IncomingRow(6, "PERSON1@list.example", {}),
              IncomingRow(7, "no where", {}), IncomingRow(8, "", {})]
    job = await stage.submit(account, listed, duplicates="skip", unusable_addresses="fail")
    other = await stage.submit(account, 2)

    async def found(address: str, **options: object) -> list[int]:
        found = await report.recipient_page(stage.pool, acting(account), job.id, address=address, **options)
        return [row.position for row in found]

    assert await found(" Person2@LIST.example") == await found("person2@list.example", recipient_class="unsent") == [2]
    assert await found("person2@list.example", recipient_class="sent") == []
    assert await found("jörg@xn--bcher-kva.example") == [4]
    assert await found("person1@list.example") == [1, 5]
    assert await found("person1@list.example", limit=1) == [1]
    assert await found("person1@list.example", after=1) == await found("person1@list.example", recipient_class="skipped") == [5]
    assert (await found("no where"), await found(""), await found("nowhere")) == ([6], [7], [])
    assert await found("no where", recipient_class="failed") == [6]
    assert await found("person99@list.example") == await found("person") == []
    [elsewhere] = await report.recipient_page(stage.pool, acting(account), other.id, address="person2@list.example")
    assert elsewhere.position == 2
    with pytest.raises(InvalidInput, match="NUL"):
        await found("person\0@list.example")


async def test_what_was_left_out_before_the_freeze_is_listed_with_row_value_and_reason(stage: Stage) -> None:
    account = await stage.account()
    await suppress(stage.pool, acting(account), ["person2@list.example"], reason="Asked by letter.")
    job = await stage.submit(account, [*rows(2), IncomingRow(4, "Person1@list.example", {}), IncomingRow(5, "nowhere", {})])
    found = await report.exclusion_page(stage.pool, acting(account), job.id)
    assert [(one.row_no, one.kind, one.value) for one in found] == [
        (3, "suppressed", "person2@list.example"), (4, "duplicate", "Person1@list.example"), (5, "unusable", "nowhere")]
    assert found[0].reason == "Asked by letter."
    assert all(one.reason for one in found)


async def test_the_trail_names_every_move_and_who_made_it(stage: Stage) -> None:
    account = await stage.account()
    job = await stage.checked(account, 100)
    await approve(stage.pool, acting(account, "boss"), job.id, digest=job.digest)
    await finish.cancel(stage.pool, acting(account, "other boss"), job.id, note="wrong list")
    trail = await report.trail(stage.pool, acting(account), job.id)
    assert [(one.verb, one.to_status, one.by) for one in trail] == [
        ("submit", "pending_approval", "tester"), ("approve", "queued", "boss"), ("start", "sending", "postroom"),
        ("cancel", "cancelled", "other boss")]
    assert trail[-1].reason == "wrong list"
    assert await report.content_of(stage.pool, acting(account), job.id) == CONTENT


async def test_all_attempts_of_a_recipient_are_listed_in_their_order(pool, database) -> None:
    refuse = {"person2@list.example": Refusal("rcpt", 450, "4.2.1 Mailbox busy", times=2)}
    async with staged(pool, database, Script(refuse=refuse)) as stage:
        account = await stage.account()
        async with stage.worker(retry_base_s=0.001):
            job = await stage.started(account, 3)
            await stage.over(account, job.id)
    address, told = await report.outcomes_of(pool, acting(account), job.id, 2)
    assert address == "person2@list.example"
    assert [(one.attempt_no, one.kind, one.code) for one in told] == [(1, "refused", 450), (2, "refused", 450), (3, "sent", 250)]
    with pytest.raises(NotFound, match="There is no recipient 4"):
        await report.outcomes_of(pool, acting(account), job.id, 4)


async def test_a_speed_is_measured_without_the_pauses_and_is_none_while_nothing_moves(stage: Stage) -> None:
    account = await stage.account(connections=1)
    job = await stage.submit(account, 10)
    claim = await claimed(stage.pool, account, job.id)
    assert claim
    window = await turned(stage.pool, claim, [], 5)
    assert window
    await turned(stage.pool, claim, all_sent(window), 0)
    for since_s, verb in ((7_200, "start"), (7_100, "pause"), (3_600, "pause"), (90, "resume")):
        await stage.query("INSERT INTO job_event (account_id, job_id, verb, from_status, to_status, by, at) VALUES (%s, %s, %s, "
                          "'sending', 'sending', 'boss', now() - make_interval(secs => %s)) RETURNING 1",
                          account, job.id, verb, since_s)
    await stage.query("UPDATE job SET started_at = now() - interval '2 hours' WHERE id = %s RETURNING 1", job.id)
    told = await report.report(stage.pool, acting(account), job.id)
    per_second = (10 - told.job.unsent) / 190
    assert told.per_second == pytest.approx(per_second, rel=0.1)
    assert told.seconds_left == pytest.approx(told.job.unsent / per_second, rel=0.1)
    assert (await report.reports(stage.pool, acting(account)))[0].per_second == pytest.approx(per_second, rel=0.1)
    await pause(stage.pool, acting(account, "boss"), job.id)
    assert (await report.report(stage.pool, acting(account), job.id)).per_second is None


async def test_what_holds_a_job_up_is_named(stage: Stage) -> None:
    account = await stage.account(threshold=20)

    async def waits_for(job_id: int) -> str | None:
        return (await report.report(stage.pool, acting(account), job_id)).waits_for

    waiting, active = await stage.submit(account, 20), await stage.submit(account, 10)
    scheduled = await stage.submit(account, 10, not_before=datetime.now(UTC) + timedelta(hours=1))
    assert [await waits_for(one.id) for one in (waiting, active, scheduled)] == ["worker", "worker", "time"]
    await stage.query("INSERT INTO procrastinate_workers DEFAULT VALUES RETURNING 1")
    assert [await waits_for(one.id) for one in (waiting, active)] == [None, None]
    async with stage.pool.connection() as conn:
        await jobs.set_condition(conn, account, active.id, "quota", reason="The day's quota is used up.", delay_s=60)
    assert await waits_for(active.id) == "quota"
