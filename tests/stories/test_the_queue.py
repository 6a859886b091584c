"""One active send per account, first approved first sent; accounts never wait for one another."""

from __future__ import annotations

from itertools import pairwise

from acting import acting
from postroom.domain.job import QUEUE_SENTENCE, Status
from postroom.flow.job import report
from postroom.flow.job.approve import approve
from postroom.flow.job.finish import cancel
from postroom.gateway.sandbox.script import Answer, Script
from stage import Stage, eventually


async def test_three_jobs_go_in_the_order_of_their_approval_and_another_account_is_not_held_up(stage: Stage) -> None:
    stage.sandbox.script = Script(dot=Answer(delay_s=0.01))
    account, other = await stage.account(connections=2), await stage.account("Other", connections=2)
    async with stage.worker():
        a, b, c = [await stage.checked(account, 120) for _ in range(3)]
        for job in (b, a, c):
            await approve(stage.pool, acting(account, "boss"), job.id, digest=job.digest)
        first, second, third = [await report.report(stage.pool, acting(account), job.id) for job in (b, a, c)]
        assert [one.job.status for one in (first, second, third)] == [Status.SENDING, Status.QUEUED, Status.QUEUED]
        assert second.queue
        assert third.queue
        assert (second.queue.position, third.queue.position) == (1, 2)
        assert second.queue.waits_for
        assert second.queue.waits_for.id == b.id
        assert second.sentence == f"{QUEUE_SENTENCE} Position 1 in the queue."
        not_held_up = await stage.over(other, (await stage.started(other, 20)).id)
        assert (await report.report(stage.pool, acting(account), c.id)).job.status is Status.QUEUED

        await stage.until(account, b.id, Status.COMPLETED)
        moved_up = await report.report(stage.pool, acting(account), c.id)
        assert moved_up.queue
        assert moved_up.queue.position == 1
        for job in (a, c):
            await stage.over(account, job.id)
    assert not_held_up.sent == 20
    times = await stage.query("SELECT id, started_at, ended_at FROM job WHERE account_id = %s ORDER BY started_at", account)
    assert [row[0] for row in times] == [b.id, a.id, c.id]
    assert all(before[2] <= after[1] for before, after in pairwise(times)), "one began before the last ended"
    for job in (a, b, c):
        assert (await stage.sides(account, job.id)).counts == (120, 0, 0, 0, 0)


async def test_who_waits_for_a_slow_gateway_holds_no_place_that_others_need(stage: Stage) -> None:
    slow, other = await stage.account("Slow", connections=2), await stage.account("Other", connections=1)
    await stage.query("UPDATE gateway SET messages_per_s = 1 WHERE account_id = %s RETURNING 1", slow)
    async with stage.worker(concurrency=2):
        large = await stage.started(slow, 99)
        await stage.until_accepted(2)
        assert (await stage.over(other, (await stage.started(other, 1)).id)).sent == 1
        assert (await report.report(stage.pool, acting(slow), large.id)).job.sent < 16
        await cancel(stage.pool, acting(slow, "boss"), large.id)
        await stage.over(slow, large.id)
    await stage.sides(slow, large.id)


async def test_hundreds_of_small_jobs_in_twenty_accounts_are_not_starved_by_a_large_one(stage: Stage) -> None:
    large = await stage.account("Large", connections=4)
    crowd = [await stage.account(f"Account {n}", connections=2) for n in range(20)]
    # As many sessions as the large job alone would take: without taking turns nobody else would be served until it is over.
    big = await stage.started(large, 6_000)
    small = [(account, (await stage.submit(account, 1)).id) for _ in range(20) for account in crowd]
    async with stage.worker(concurrency=4):
        big_done = await stage.over(large, big.id)

        async def all_over() -> bool:
            return not await stage.query("SELECT 1 FROM job WHERE ended_at IS NULL LIMIT 1")
        await eventually(all_over)
    assert big_done.sent == 6_000
    assert len(small) == 400
    assert await stage.query("SELECT status, count(*), sum(recipient_count) FROM job GROUP BY 1") == [("completed", 401, 6_400)]
    assert stage.sandbox.accepted == 6_400
    for account, job_id in (*small[:20], *small[-20:], (large, big.id)):
        assert (await stage.sides(account, job_id)).numbers.unsent == 0
    meanwhile = await stage.query(
        "SELECT count(*), count(DISTINCT account_id) FROM job WHERE recipient_count = 1 AND ended_at < %s", big_done.ended_at)
    assert meanwhile[0][1] == len(crowd), "some account waited for another's large job"
