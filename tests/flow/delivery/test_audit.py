"""The auditor finds what should be impossible, says it once, and finds nothing where windows merely turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from acting import acting
from contest import claimed, hand_off_everything, turned
from postroom.domain.job import Status
from postroom.flow.delivery.audit import audit
from postroom.flow.job import approve, finish
from postroom.flow.job.pause import resume
from postroom.gateway.sandbox.script import Answer, Script
from postroom.gateway.sandbox.server import Sandbox
from proofs.races import all_sent
from stage import Stage, staged

PLANTED = "UPDATE chunk SET sent = sent - 1, failed = failed + 1 WHERE job_id = %s AND chunk_no = %s RETURNING 1"
CONDITIONS = "SELECT kind, reason FROM job_condition WHERE job_id = %s ORDER BY kind"
EVENTS = "SELECT verb, by FROM job_event WHERE job_id = %s AND verb IN ('pause', 'alarm') ORDER BY id"
AUDITED = "SELECT count(*) FROM chunk WHERE job_id = %s AND audited_at IS NOT NULL"
HALF_A_MINUTE_LATER = """
    WITH idle AS (SELECT chunk_no FROM chunk WHERE job_id = %s FOR UPDATE SKIP LOCKED)
    UPDATE chunk SET audited_at = audited_at - interval '31 seconds'
    WHERE job_id = %s AND chunk_no IN (SELECT chunk_no FROM idle)"""
REASON = ("The numbers of chunk 0 do not add up: it counts 9 sent, 1 failed, 0 skipped and 0 unconfirmed of 25, "
          "but its recipients' outcomes are 10 sent, 0 failed, 0 skipped and 0 unconfirmed of 25.")


@pytest.fixture
async def stage(pool, database, tmp_path) -> AsyncIterator[Stage]:
    """Without the sampling of other stages, which would see the planted differences too."""
    async with Sandbox(keep=True) as sandbox:
        yield Stage(pool, database, sandbox, tmp_path)


async def begun(stage: Stage) -> tuple[int, int]:
    """A job of 100 in chunks of 25, of which the first 10 are sent and 10 more are in hand."""
    account = await stage.account(connections=1)
    job = await stage.started(account, 100)
    claim = await claimed(stage.pool, account, job.id)
    window = await turned(stage.pool, claim, [], 10)
    await turned(stage.pool, claim, all_sent(window), 10)
    assert await stage.query("SELECT n, sent FROM chunk WHERE job_id = %s ORDER BY chunk_no LIMIT 1", job.id) == [(25, 10)]
    return account, job.id


async def half_a_minute_passes(stage: Stage, job_id: int) -> None:
    async with stage.pool.connection() as conn:
        await conn.execute(HALF_A_MINUTE_LATER, (job_id, job_id))


async def without_triggers(stage: Stage, statement: str, *values: object) -> None:
    """As something that gets past everything the database refuses would do it."""
    async with stage.pool.connection() as conn, conn.transaction():
        await conn.execute("SET LOCAL session_replication_role = replica")
        await conn.execute(statement, values)


async def test_a_counter_that_is_not_what_the_outcomes_are_pauses_the_job_and_raises_an_alarm(stage: Stage) -> None:
    _, job_id = await begun(stage)
    assert await audit(stage.pool) == []
    await stage.query(PLANTED, job_id, 0)
    assert await audit(stage.pool) == [], "it was looked at less than half a minute ago"
    await half_a_minute_passes(stage, job_id)
    assert [(one.job_id, one.chunk_no, str(one)) for one in await audit(stage.pool)] == [(job_id, 0, REASON)]
    assert await stage.query(CONDITIONS, job_id) == [("alarm", REASON), ("paused", REASON)]
    assert await stage.query(EVENTS, job_id) == [("pause", "postroom"), ("alarm", "postroom")]


async def test_an_alarm_is_raised_once_and_a_person_who_resumes_is_not_overruled(stage: Stage) -> None:
    account, job_id = await begun(stage)
    await stage.query(PLANTED, job_id, 0)
    assert len(await audit(stage.pool)) == 1
    await resume(stage.pool, acting(account, "boss"), job_id)
    await half_a_minute_passes(stage, job_id)
    assert len(await audit(stage.pool)) == 1, "it is met again"
    assert [row[0] for row in await stage.query(CONDITIONS, job_id)] == ["alarm"]
    assert await stage.query(EVENTS, job_id) == [("pause", "postroom"), ("alarm", "postroom")]


async def test_an_outcome_that_vanished_is_a_difference(stage: Stage) -> None:
    _, job_id = await begun(stage)
    await without_triggers(stage, "DELETE FROM outcome WHERE job_id = %s AND position = 3", job_id)
    [difference] = await audit(stage.pool)
    assert (difference.counted.sent, difference.found.sent) == (10, 9)


async def test_a_recipient_that_vanished_is_a_difference(stage: Stage) -> None:
    _, job_id = await begun(stage)
    await without_triggers(stage, "DELETE FROM recipient WHERE job_id = %s AND position = 24", job_id)
    [difference] = await audit(stage.pool)
    assert (difference.counted.recipients, difference.found.recipients) == (25, 24)


@pytest.mark.parametrize("position", [-1, 0, 101])
async def test_an_outcome_of_nobody_on_the_list_is_a_difference(stage: Stage, position: int) -> None:
    _, job_id = await begun(stage)
    await without_triggers(stage, "INSERT INTO outcome SELECT account_id, id, %s, 1, 'failed', 'worker' FROM job WHERE id = %s",
                           position, job_id)
    [difference] = await audit(stage.pool)
    assert str(difference).endswith("1 outcomes are of nobody on the list.")


async def test_a_chunk_is_compared_when_it_is_finished_and_again_when_the_job_is_over(stage: Stage) -> None:
    account, job_id = await begun(stage)
    await audit(stage.pool)
    assert await stage.query(AUDITED, job_id) == [(1,)], "nobody has touched the other ones"
    await stage.query("UPDATE chunk SET lease_until = clock_timestamp() - interval '1 s' WHERE owner IS NOT NULL RETURNING 1")
    await hand_off_everything(stage.pool, account, job_id)
    await half_a_minute_passes(stage, job_id)
    assert await audit(stage.pool) == []
    await stage.query(PLANTED, job_id, 0)
    await half_a_minute_passes(stage, job_id)
    assert await audit(stage.pool) == [], "what is finished is not looked at for ever"
    assert await finish.complete(stage.pool, account, job_id)
    assert [one.chunk_no for one in await audit(stage.pool)] == [0]
    assert [row[0] for row in await stage.query(CONDITIONS, job_id)] == ["alarm"], "there is nothing left to pause"
    assert await audit(stage.pool) == [], "and then never again"


async def test_a_round_looks_at_five_chunks_and_the_next_one_at_others(stage: Stage) -> None:
    account = await stage.account(connections=2)
    job = await stage.started(account, 200)
    await finish.cancel(stage.pool, acting(account, "boss"), job.id)
    [(chunks,)] = await stage.query("SELECT count(*) FROM chunk WHERE job_id = %s", job.id)
    assert chunks > 5
    await audit(stage.pool)
    assert await stage.query(AUDITED, job.id) == [(5,)]
    await audit(stage.pool)
    assert await stage.query(AUDITED, job.id) == [(chunks,)]


async def test_a_second_auditor_leaves_the_round_to_the_first(stage: Stage) -> None:
    _, job_id = await begun(stage)
    await stage.query(PLANTED, job_id, 0)
    async with stage.pool.connection() as conn, conn.transaction():
        await conn.execute("SELECT pg_advisory_xact_lock(7092042)")
        assert await audit(stage.pool) == []
    assert len(await audit(stage.pool)) == 1


async def test_no_alarm_is_raised_while_windows_turn_and_outcomes_of_every_kind_come_in(pool, database) -> None:
    """2,000 recipients, some refused for now, some for good, some left in doubt, and an auditor that never rests."""
    script = Script(rcpt=Answer(temporary=0.1, permanent=0.1), dot=Answer(drop=0.01, drop_after=0.01))
    async with staged(pool, database, script) as stage:
        account = await stage.account(connections=8)
        job = await stage.checked(account, 2_000)
        auditing = asyncio.create_task(audited_again_and_again(stage, job.id))
        async with stage.worker():
            await approve.approve(stage.pool, acting(account, "boss"), job.id, digest=job.digest)
            await stage.over(account, job.id)
        assert (await stage.sides(account, job.id)).numbers.status is Status.COMPLETED
        assert await stage.query(AUDITED, job.id) != [(0,)]
        assert not auditing.done(), "it ends with the first difference"
        auditing.cancel()


async def audited_again_and_again(stage: Stage, job_id: int) -> None:
    while True:
        assert await audit(stage.pool) == []
        await half_a_minute_passes(stage, job_id)
