"""The sweep puts right whatever a crash left, and is harmless where nothing is wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from acting import acting
from contest import claimed, hand_off_everything, turned
from postroom.domain.job import Status
from postroom.flow.delivery.recover import missing_lanes, sweep
from postroom.flow.job import finish, report
from postroom.ledger.delivery import windows
from postroom.ledger.delivery.windows import SendingJob
from postroom.ledger.job import jobs
from proofs.checker import LATEST_OUTCOMES
from proofs.races import all_sent
from stage import Stage

LANES = "SELECT count(*) FROM procrastinate_jobs WHERE (args ->> 'job_id')::bigint = %s"
LEASE_IS_OVER = """UPDATE chunk SET lease_until = clock_timestamp() - interval '1 second'
                   WHERE job_id = %s AND owner IS NOT NULL RETURNING 1"""
WAIT_IS_OVER = "UPDATE job_condition SET until = clock_timestamp() - interval '1 second' WHERE job_id = %s RETURNING 1"


async def lanes(stage: Stage, job_id: int) -> int:
    return int((await stage.query(LANES, job_id))[0][0])


async def swept(stage: Stage, give_up_s: float = 60) -> None:
    await sweep(stage.pool, give_up_s=give_up_s, lease_s=30)


async def status(stage: Stage, account: int, job_id: int) -> Status:
    return (await report.report(stage.pool, acting(account), job_id)).job.status


async def waits(stage: Stage, account: int, job_id: int, reason: str = "The gateway is away.") -> None:
    async with stage.pool.connection() as conn:
        await jobs.set_condition(conn, account, job_id, "gateway", reason=reason, delay_s=60)


@pytest.mark.parametrize(("waiting", "probing", "claimable", "live", "missing"), [
    (False, False, 10, 0, 4),
    (False, False, 10, 3, 1),
    (False, False, 10, 4, 0),
    (False, False, 10, 9, 0),
    (False, False, 1, 0, 1),
    (False, False, 0, 0, 0),
    (True, True, 10, 0, 0),
    (False, True, 10, 0, 1),
    (False, True, 10, 1, 0),
])
def test_a_job_lacks_lanes_up_to_its_own_number_or_one_to_probe_or_none_while_it_waits(
        waiting: bool, probing: bool, claimable: int, live: int, missing: int) -> None:
    job = SendingJob(1, 1, 4, claimable, False, waiting, probing, None, None)
    assert missing_lanes(job, live) == missing


async def test_a_healthy_job_is_left_as_it_is(stage: Stage) -> None:
    account = await stage.account(connections=3)
    job = await stage.submit(account, 30)
    before = await stage.query("SELECT * FROM procrastinate_jobs ORDER BY id")
    await swept(stage)
    assert await stage.query("SELECT * FROM procrastinate_jobs ORDER BY id") == before
    assert await status(stage, account, job.id) is Status.SENDING


async def test_lanes_that_were_lost_are_put_back_but_not_for_chunks_that_somebody_holds(stage: Stage) -> None:
    account = await stage.account(connections=1)
    job = await stage.submit(account, 2)
    await stage.query("DELETE FROM procrastinate_jobs RETURNING 1")
    assert await claimed(stage.pool, account, job.id)
    assert await claimed(stage.pool, account, job.id)
    await swept(stage)
    assert await lanes(stage, job.id) == 0
    await stage.query(LEASE_IS_OVER, job.id)
    await swept(stage)
    assert await lanes(stage, job.id) == 1


async def test_a_job_that_waits_gets_no_lane_and_one_to_probe_when_the_wait_is_over(stage: Stage) -> None:
    account = await stage.account(connections=4)
    job = await stage.submit(account, 40)
    await stage.query("DELETE FROM procrastinate_jobs RETURNING 1")
    await waits(stage, account, job.id)
    await swept(stage)
    assert await lanes(stage, job.id) == 0
    await stage.query(WAIT_IS_OVER, job.id)
    await swept(stage)
    await swept(stage)
    assert await lanes(stage, job.id) == 1


async def test_many_lanes_that_meet_the_same_trouble_count_as_one_try(stage: Stage) -> None:
    account = await stage.account()
    job = await stage.submit(account, 40)
    for n in range(5):
        await waits(stage, account, job.id, f"Try {n}.")
    async with stage.pool.connection() as conn:
        assert await jobs.condition_times(conn, account, job.id, "gateway") == 1
        await stage.query(WAIT_IS_OVER, job.id)
        await waits(stage, account, job.id, "Second.")
        assert await jobs.condition_times(conn, account, job.id, "gateway") == 2


async def test_a_job_that_was_done_but_never_completed_is_completed_and_the_next_one_starts(stage: Stage) -> None:
    account = await stage.account()
    job, following = await stage.submit(account, 10), await stage.submit(account, 10)
    await hand_off_everything(stage.pool, account, job.id)
    assert await status(stage, account, job.id) is Status.SENDING
    await swept(stage)
    assert await status(stage, account, job.id) is Status.COMPLETED
    assert await status(stage, account, following.id) is Status.SENDING


async def test_a_gateway_that_was_waited_for_too_long_fails_the_job_with_the_reason_and_its_unsent_intact(stage: Stage) -> None:
    account = await stage.account()
    job, following = await stage.submit(account, 10), await stage.submit(account, 10)
    await waits(stage, account, job.id)
    await swept(stage, give_up_s=60)
    assert await status(stage, account, job.id) is Status.SENDING
    await swept(stage, give_up_s=0)
    failed = (await report.report(stage.pool, acting(account), job.id)).job
    assert (failed.status, failed.unsent) == (Status.FAILED, 10)
    assert (failed.reason or "").endswith("The gateway is away.")
    assert await status(stage, account, following.id) is Status.SENDING


async def test_a_gateway_that_only_ever_throttles_is_given_up_too(stage: Stage) -> None:
    account = await stage.account()
    job = await stage.submit(account, 10)
    async with stage.pool.connection() as conn:
        await jobs.set_condition(conn, account, job.id, "gateway", reason="It takes nothing for now.", delay_s=60)
    await swept(stage, give_up_s=60)
    assert await status(stage, account, job.id) is Status.SENDING
    await swept(stage, give_up_s=0)
    assert await status(stage, account, job.id) is Status.FAILED, "or one address could hold up the account's queue for ever"


async def test_the_open_window_of_a_worker_that_vanished_after_a_cancel_becomes_doubt(stage: Stage) -> None:
    account = await stage.account(connections=1)
    job = await stage.submit(account, 8)
    claim = await claimed(stage.pool, account, job.id)
    assert claim
    window = await turned(stage.pool, claim, [], 50)
    assert window
    await finish.cancel(stage.pool, acting(account, "boss"), job.id)
    await swept(stage)
    view = (await report.report(stage.pool, acting(account), job.id)).job
    assert view.in_hand == 1, "its lease still runs: it may yet say what it knows"
    await stage.query(LEASE_IS_OVER, job.id)
    await swept(stage)
    view = (await report.report(stage.pool, acting(account), job.id)).job
    assert (view.status, view.in_hand, view.unconfirmed, view.unsent) == (
        Status.CANCELLED, 0, len(window.recipients), 8 - len(window.recipients))
    async with stage.pool.connection() as conn:  # and the one who was thought to be gone says what it knows after all
        await windows.settle_window(conn, claim, window.window_no, all_sent(window))
    view = (await report.report(stage.pool, acting(account), job.id)).job
    assert (view.unconfirmed, view.sent) == (0, len(window.recipients))
    told = {row[1] for row in await stage.query(LATEST_OUTCOMES, account, job.id)}
    assert told == {"sent"}


async def test_a_job_whose_time_has_come_starts_by_itself_and_not_before(stage: Stage) -> None:
    account = await stage.account()
    job = await stage.submit(account, 10, not_before=datetime.now(UTC) + timedelta(days=1))
    await swept(stage)
    assert await status(stage, account, job.id) is Status.QUEUED
    passing = await stage.submit(account, 1)
    assert passing.status is Status.SENDING, "a job whose time has not come lets others pass"
    await hand_off_everything(stage.pool, account, passing.id)
    await swept(stage)
    assert await status(stage, account, job.id) is Status.QUEUED
    await stage.query("UPDATE job SET not_before = clock_timestamp() - interval '1 second' WHERE id = %s RETURNING 1", job.id)
    await swept(stage)
    assert await status(stage, account, job.id) is Status.SENDING


async def test_a_clock_that_was_set_is_told_in_the_trail_of_what_is_being_sent(stage: Stage) -> None:
    account = await stage.account()
    job, waiting = await stage.submit(account, 10), await stage.submit(account, 10)
    told = "SELECT job_id, reason FROM job_event WHERE verb = 'clock' ORDER BY id"
    await swept(stage)
    assert await stage.query(told) == []
    await stage.query("UPDATE installation SET seen_at = seen_at - interval '1 day' RETURNING 1")  # as a clock set forward does
    await swept(stage)
    await stage.query("UPDATE installation SET seen_at = seen_at + interval '2 h' RETURNING 1")
    await swept(stage)
    [(forward, by), (back, less)] = await stage.query(told)
    assert forward == back == job.id != waiting.id
    assert by.startswith("For 1 day, 0:00:0")
    assert by.endswith(" no worker looked at the database, or its clock was set forward by that. "
                       "This time counts against nobody's patience.")
    assert less.startswith("The database's clock was set back by ")
