"""Pausing a job and letting it go on: in every status that is not over, at once, and with nobody lost or mailed twice."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from acting import acting
from contest import claimed, hand_off_everything, turned
from postroom.domain.access import postroom_itself
from postroom.domain.job import Status
from postroom.errors import Conflict, InvalidInput, NotFound
from postroom.flow.delivery import recover
from postroom.flow.job import approve, finish, report
from postroom.flow.job.pause import pause, resume
from postroom.ledger.delivery import windows
from postroom.ledger.delivery.windows import LeaseLost
from postroom.ledger.job import jobs
from proofs.races import all_sent, at_once
from stage import Stage


async def verbs(stage: Stage, account: int, job_id: int) -> list[tuple[str, str, str | None]]:
    return [(one.verb, one.by, one.reason) for one in await report.trail(stage.pool, acting(account), job_id)
            if one.verb in ("pause", "resume")]


async def lanes(stage: Stage, job_id: int) -> int:
    ((count,),) = await stage.query("SELECT count(*) FROM procrastinate_jobs WHERE (args ->> 'job_id')::bigint = %s "
                                    "AND status = 'todo'", job_id)
    return count


async def test_a_paused_job_says_who_paused_it_since_when_and_why(stage: Stage) -> None:
    account = await stage.account()
    job = await stage.submit(account, 10)
    told = await pause(stage.pool, acting(account, "boss"), job.id, reason="The date is wrong.")
    assert (told.status, told.paused_by, told.paused_because) == (Status.SENDING, "boss", "The date is wrong.")
    assert told.paused_since is not None
    sentence = (await report.report(stage.pool, acting(account), job.id)).sentence
    assert sentence == (f"Paused by boss since {told.paused_since:%H:%M} UTC: The date is wrong. "
                        "10 of 10 wait; nothing is sent until somebody resumes it.")
    told = await resume(stage.pool, acting(account, "clerk"), job.id)
    assert (told.paused_by, told.paused_since, told.paused_because) == (None, None, None)
    assert await verbs(stage, account, job.id) == [("pause", "boss", "The date is wrong."), ("resume", "clerk", None)]


async def test_a_pause_without_a_reason_has_none(stage: Stage) -> None:
    account = await stage.account()
    job = await stage.submit(account, 10)
    await pause(stage.pool, acting(account, "boss"), job.id)
    assert " UTC. 10 of 10 wait" in (await report.report(stage.pool, acting(account), job.id)).sentence


async def test_pausing_again_answers_the_same_and_resuming_what_is_not_paused_does_nothing(stage: Stage) -> None:
    account = await stage.account()
    job = await stage.submit(account, 10)
    assert await resume(stage.pool, acting(account, "clerk"), job.id) == job
    first = await pause(stage.pool, acting(account, "boss"), job.id, reason="lunch")
    assert await pause(stage.pool, acting(account, "clerk"), job.id, reason="a walk") == first
    assert await verbs(stage, account, job.id) == [("pause", "boss", "lunch")]


async def test_what_postroom_finds_in_a_paused_job_is_said_beside_the_persons_reason_and_once(stage: Stage) -> None:
    account = await stage.account()
    job = await stage.submit(account, 10)
    await pause(stage.pool, acting(account, "boss"), job.id, reason="lunch")
    for _ in range(2):
        told = await pause(stage.pool, postroom_itself(account), job.id, reason="The database is older than a journal.")
    assert (told.paused_by, told.paused_because) == ("boss", "lunch. The database is older than a journal.")
    assert await verbs(stage, account, job.id) == [
        ("pause", "boss", "lunch"), ("pause", "postroom", "The database is older than a journal.")]


async def test_a_reason_that_ends_by_itself_gets_no_full_stop(stage: Stage) -> None:
    account = await stage.account()
    job = await stage.submit(account, 10)
    await pause(stage.pool, acting(account, "boss"), job.id, reason="Wrong date?")
    await pause(stage.pool, postroom_itself(account), job.id, reason="The database is older than a journal.")
    assert ": Wrong date? The database is older than a journal. 10 of 10 wait" in (
        await report.report(stage.pool, acting(account), job.id)).sentence


async def test_a_job_that_is_over_or_not_there_cannot_be_paused(stage: Stage) -> None:
    account = await stage.account()
    job = await stage.submit(account, 10)
    with pytest.raises(InvalidInput, match="NUL"):
        await pause(stage.pool, acting(account, "boss"), job.id, reason="a\0b")
    await finish.cancel(stage.pool, acting(account, "boss"), job.id)
    for act in (pause, resume):
        with pytest.raises(Conflict, match=f"Job {job.id} is Cancelled"):
            await act(stage.pool, acting(account, "boss"), job.id)
        with pytest.raises(NotFound):
            await act(stage.pool, acting(await stage.account(act.__name__), "boss"), job.id)


async def test_no_window_opens_after_a_pause_and_what_was_in_hand_is_settled(stage: Stage) -> None:
    account = await stage.account(connections=1)
    job = await stage.submit(account, 40)
    claim = await claimed(stage.pool, account, job.id)
    assert claim is not None
    window = await turned(stage.pool, claim, [], 5)
    assert window is not None
    assert (await pause(stage.pool, acting(account, "boss"), job.id)).in_hand == 1
    assert "What workers had in hand is being settled." in (await report.report(stage.pool, acting(account), job.id)).sentence
    with pytest.raises(LeaseLost):
        await turned(stage.pool, claim, all_sent(window), 5)
    assert await claimed(stage.pool, account, job.id, "another") is None
    async with stage.pool.connection() as conn:
        await windows.settle_window(conn, claim, window.window_no, all_sent(window))
        told = await jobs.view_job(conn, account, job.id)
    assert (told.sent, told.unsent, told.in_hand, told.status) == (5, 35, 0, Status.SENDING)
    await resume(stage.pool, acting(account, "boss"), job.id)
    assert await claimed(stage.pool, account, job.id, "another") is not None, "at once, without waiting for a lease to run out"


async def test_a_chunk_that_was_claimed_but_not_begun_is_free_again_after_a_pause(stage: Stage) -> None:
    account = await stage.account(connections=1)
    job = await stage.submit(account, 10)
    assert await claimed(stage.pool, account, job.id) is not None
    await pause(stage.pool, acting(account, "boss"), job.id)
    await resume(stage.pool, acting(account, "boss"), job.id)
    assert await claimed(stage.pool, account, job.id, "another") is not None


async def test_a_pause_is_told_to_the_workers_in_words_of_its_own(stage: Stage) -> None:
    account = await stage.account()
    job = await stage.submit(account, 10)
    async with await psycopg.AsyncConnection.connect(stage.url, autocommit=True) as listener:
        await listener.execute("LISTEN postroom_job")
        await pause(stage.pool, acting(account, "boss"), job.id)
        (notice,) = [one async for one in listener.notifies(timeout=10, stop_after=1)]
    assert notice.payload == f"{account} {job.id} paused"


async def test_a_paused_job_whose_gateway_is_long_away_is_left_alone_and_tried_once_more_when_it_is_resumed(stage: Stage) -> None:
    account = await stage.account()
    job = await stage.submit(account, 10)
    await stage.query("DELETE FROM procrastinate_jobs RETURNING 1")
    async with stage.pool.connection() as conn:
        await jobs.set_condition(conn, account, job.id, "gateway", reason="It is away.", delay_s=0)
    await stage.query("UPDATE job_condition SET since = now() - interval '3 days', until = now() - interval '70 h' RETURNING 1")
    await pause(stage.pool, acting(account, "boss"), job.id)
    await recover.sweep(stage.pool, give_up_s=86_400, lease_s=30)
    assert (await report.report(stage.pool, acting(account), job.id)).job.status is Status.SENDING
    assert await lanes(stage, job.id) == 0
    await resume(stage.pool, acting(account, "boss"), job.id)
    await recover.sweep(stage.pool, give_up_s=86_400, lease_s=30)
    assert (await report.report(stage.pool, acting(account), job.id)).job.status is Status.SENDING, \
        "it may have been mended meanwhile"
    assert await lanes(stage, job.id) > 0
    async with stage.pool.connection() as conn:
        await jobs.set_condition(conn, account, job.id, "gateway", reason="It is away.", delay_s=0)
    await recover.sweep(stage.pool, give_up_s=86_400, lease_s=30)
    assert (await report.report(stage.pool, acting(account), job.id)).job.status is Status.FAILED


async def test_a_sending_job_that_is_resumed_gets_the_lanes_that_it_lacks_at_once(stage: Stage) -> None:
    account = await stage.account(connections=4)
    job = await stage.submit(account, 50)
    await stage.query("DELETE FROM procrastinate_jobs WHERE id <> (SELECT min(id) FROM procrastinate_jobs) RETURNING 1")
    await pause(stage.pool, acting(account, "boss"), job.id)
    await resume(stage.pool, acting(account, "boss"), job.id)
    assert await lanes(stage, job.id) == 4


async def test_a_queued_job_that_is_paused_keeps_its_place_and_lets_others_pass(stage: Stage) -> None:
    account = await stage.account()
    active, held, other = [await stage.submit(account, count) for count in (1, 2, 3)]
    assert (await pause(stage.pool, acting(account, "boss"), held.id)).queue_position == 1
    await finish.cancel(stage.pool, acting(account, "boss"), active.id)
    now = {one.id: one.status for one in await report.history(stage.pool, acting(account))}
    assert (now[held.id], now[other.id]) == (Status.QUEUED, Status.SENDING)
    assert (await resume(stage.pool, acting(account, "boss"), held.id)).status is Status.QUEUED, "another one is sending"
    await finish.cancel(stage.pool, acting(account, "boss"), other.id)
    assert (await report.report(stage.pool, acting(account), held.id)).job.status is Status.SENDING


async def test_a_queued_job_that_is_resumed_starts_if_it_is_its_turn(stage: Stage) -> None:
    account = await stage.account()
    active, held = [await stage.submit(account, count) for count in (1, 2)]
    await pause(stage.pool, acting(account, "boss"), held.id)
    await finish.cancel(stage.pool, acting(account, "boss"), active.id)
    await recover.sweep(stage.pool, give_up_s=86_400, lease_s=30)
    assert (await report.report(stage.pool, acting(account), held.id)).job.status is Status.QUEUED
    assert (await resume(stage.pool, acting(account, "boss"), held.id)).status is Status.SENDING


async def test_a_job_that_is_paused_at_its_gate_is_queued_paused_when_it_is_approved(stage: Stage) -> None:
    account = await stage.account(threshold=5)
    job = await stage.checked(account, 10)
    await pause(stage.pool, acting(account, "boss"), job.id, reason="not yet")
    told = await approve.approve(stage.pool, acting(account, "boss"), job.id, digest=job.digest)
    assert (told.status, told.paused_because) == (Status.QUEUED, "not yet")
    assert (await resume(stage.pool, acting(account, "boss"), job.id)).status is Status.SENDING


async def test_a_sending_job_that_is_paused_holds_the_queue_and_can_be_cancelled(stage: Stage) -> None:
    account = await stage.account()
    held, waiting = [await stage.submit(account, count) for count in (1, 2)]
    await pause(stage.pool, acting(account, "boss"), held.id)
    await recover.sweep(stage.pool, give_up_s=86_400, lease_s=30)
    assert (await report.report(stage.pool, acting(account), waiting.id)).job.status is Status.QUEUED
    told = await finish.cancel(stage.pool, acting(account, "boss"), held.id)
    assert (told.status, told.paused_by) == (Status.CANCELLED, None)
    assert (await report.report(stage.pool, acting(account), waiting.id)).job.status is Status.SENDING


async def test_of_pauses_resumes_and_a_cancel_at_once_each_leaves_the_job_whole(stage: Stage) -> None:
    account = await stage.account(connections=4)
    for _ in range(20):
        job = await stage.submit(account, 50)

        async def hold(job_id: int = job.id) -> None:
            await pause(stage.pool, acting(account, "boss"), job_id)
            await resume(stage.pool, acting(account, "boss"), job_id)

        async def end(job_id: int = job.id) -> None:
            await finish.cancel(stage.pool, acting(account, "boss"), job_id)

        async def send(job_id: int = job.id) -> None:
            await hand_off_everything(stage.pool, account, job_id)

        ended = await at_once(hold, hold, end, send)
        assert all(one is None or isinstance(one, Conflict | LeaseLost) for one in ended), ended
        assert (await report.report(stage.pool, acting(account), job.id)).job.status is Status.CANCELLED


async def test_a_job_that_is_paused_and_resumed_while_workers_send_reaches_everyone_once(stage: Stage) -> None:
    account = await stage.account(connections=4)
    async with stage.worker():
        job = await stage.started(account, 3_000)
        for accepted in (100, 1_000, 2_000):
            await stage.until_accepted(accepted)
            await pause(stage.pool, acting(account, "boss"), job.id)
            await stage.until(account, job.id, Status.SENDING)  # with nothing in hand
            before = stage.sandbox.accepted
            await asyncio.sleep(1.2)  # a sweep and more
            assert stage.sandbox.accepted == before, "nothing is begun while it is paused"
            await resume(stage.pool, acting(account, "boss"), job.id)
        await stage.over(account, job.id)
    sides = await stage.sides(account, job.id)
    assert len(sides.taken) == 3_000
