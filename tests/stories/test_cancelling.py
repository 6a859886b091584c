"""Cancel: at once, in each status that knows it, and afterwards it is certain who got the message."""

from __future__ import annotations

import asyncio
import time

import pytest

from acting import acting
from postroom.domain.job import Status
from postroom.errors import Conflict
from postroom.flow.job.approve import approve
from postroom.flow.job.continuation import continue_the_rest
from postroom.flow.job.finish import cancel
from postroom.gateway.sandbox.script import Answer, Script
from stage import Stage, eventually

SETTLED_S = 1.0  # long enough for a whole sweep, and for hundreds of messages if anything were still sending


async def test_a_job_that_is_cancelled_before_its_approval_never_meets_the_gateway(stage: Stage) -> None:
    account = await stage.account()
    async with stage.worker():
        job = await stage.submit(account, 100)
        cancelled = await cancel(stage.pool, acting(account, "boss"), job.id, note="wrong list")
        assert (cancelled.status, cancelled.reason, cancelled.unsent) == (Status.CANCELLED, "wrong list", 100)
        with pytest.raises(Conflict):
            await approve(stage.pool, acting(account, "boss"), job.id, digest=job.digest)
        await asyncio.sleep(SETTLED_S)
    assert (await stage.sides(account, job.id)).counts == (0, 0, 0, 0, 100)
    assert stage.sandbox.accepted == 0


async def test_a_queued_job_that_is_cancelled_never_starts_and_the_one_behind_it_moves_up(stage: Stage) -> None:
    stage.sandbox.script = Script(dot=Answer(delay_s=0.01))
    account = await stage.account(connections=2)
    async with stage.worker():
        active, waiting, behind = [await stage.started(account, count) for count in (99, 150, 10)]
        assert (await cancel(stage.pool, acting(account, "boss"), waiting.id)).status is Status.CANCELLED
        for job in (active, behind):
            assert (await stage.over(account, job.id)).status is Status.COMPLETED
    assert (await stage.sides(account, waiting.id)).counts == (0, 0, 0, 0, 150)
    assert stage.sandbox.accepted == 109


async def test_a_cancel_while_sending_stops_after_the_message_that_each_session_has_in_hand(
        stage: Stage, record_property) -> None:
    stage.sandbox.script = Script(dot=Answer(delay_s=0.02))
    account = await stage.account(connections=4)
    async with stage.worker_process():
        job = await stage.started(account, 1_000)
        await stage.until_accepted(80)
        clicked_at = time.time()
        cancelled = await cancel(stage.pool, acting(account, "boss"), job.id)
        answered_at = time.time()
        assert cancelled.status is Status.CANCELLED
        after = await stage.until(account, job.id, Status.CANCELLED)
        await asyncio.sleep(SETTLED_S)
    sides = await stage.sides(account, job.id)
    last_s = max(0.0, stage.sandbox.mail_at - answered_at)
    begun = sum(record.mail_t > answered_at for record in stage.sandbox.records)
    record_property("seconds_from_the_cancels_answer_to_the_last_new_mail_command", round(last_s, 4))
    print(f"the cancel was answered after {(answered_at - clicked_at) * 1000:.1f} ms; the last new MAIL came "
          f"{(stage.sandbox.mail_at - answered_at) * 1000:+.1f} ms after the answer; {begun} begun after it were accepted")
    assert begun <= 4, "more than one message per open session was begun after the answer"
    assert sides.counts == (after.sent, 0, 0, 0, 1_000 - after.sent), "the numbers moved after everything was settled"
    assert sides.numbers.sent == len(sides.taken)
    assert 80 <= sides.numbers.sent < 1_000


async def test_what_waits_for_an_answer_when_a_job_is_cancelled_is_called_lost_by_nobody_while_its_worker_lives(
        stage: Stage) -> None:
    """Its rest can be continued when the gateway has answered, and then it is all of the rest."""
    stage.sandbox.script = Script(dot=Answer(delay_s=3.5))
    account = await stage.account(connections=1)
    async with stage.worker(lease_s=1):
        job = await stage.started(account, 40)
        await eventually(lambda: in_hand(stage, account, job.id))
        await cancel(stage.pool, acting(account, "boss"), job.id)
        await asyncio.sleep(2.5)  # the lease, and a sweep
        assert await in_hand(stage, account, job.id) > 0
        with pytest.raises(Conflict, match="in hand"):
            await continue_the_rest(stage.pool, stage.deployment, acting(account, "boss"), job.id, which="unsent")
        await stage.over(account, job.id)
    sides = await stage.sides(account, job.id)
    assert sides.counts == (1, 0, 0, 0, 39)
    rest = await continue_the_rest(stage.pool, stage.deployment, acting(account, "boss"), job.id, which="unsent")
    assert rest.recipient_count == 39


async def in_hand(stage: Stage, account: int, job_id: int) -> int:
    return len(await stage.open_windows(account, job_id))


async def test_the_next_job_begins_when_the_active_one_is_cancelled(stage: Stage) -> None:
    stage.sandbox.script = Script(dot=Answer(delay_s=0.02))
    account = await stage.account(connections=4)
    async with stage.worker():
        job, following = await stage.started(account, 1_000), await stage.started(account, 5)
        await stage.until_accepted(20)
        await cancel(stage.pool, acting(account, "boss"), job.id)
        await stage.until(account, job.id, Status.CANCELLED)
        await stage.over(account, following.id)
    sides = await stage.sides(account, job.id)
    assert sides.numbers.sent + sides.numbers.unsent == 1_000
    assert (await stage.sides(account, following.id)).counts == (5, 0, 0, 0, 0)


async def test_a_cancel_after_the_end_says_how_it_ended_and_changes_nothing(stage: Stage) -> None:
    account = await stage.account()
    async with stage.worker():
        job = await stage.started(account, 3)
        await stage.over(account, job.id)
        with pytest.raises(Conflict, match="already Completed: 3 sent"):
            await cancel(stage.pool, acting(account, "boss"), job.id)
    assert (await stage.sides(account, job.id)).counts == (3, 0, 0, 0, 0)


async def test_a_cancel_that_is_repeated_answers_the_same(stage: Stage) -> None:
    account = await stage.account()
    job = await stage.submit(account, 100)
    first = await cancel(stage.pool, acting(account, "boss"), job.id)
    assert await cancel(stage.pool, acting(account, "somebody else"), job.id) == first
