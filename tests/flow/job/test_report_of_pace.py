"""What people are told when a job is slowed, limited or nearly through: one true sentence, and the numbers behind it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from acting import acting
from desk import Desk
from postroom.doors.shown import Job, job_shown
from postroom.flow.delivery.pacing import Permits, quota_sentence
from postroom.flow.job import report
from postroom.ledger.delivery import pace
from postroom.ledger.job import jobs
from postroom.ledger.job.jobs import JobOverview


@pytest.fixture
def desk(pool, database) -> Desk:
    return Desk(pool, database)


async def started(desk: Desk) -> JobOverview:
    job = await desk.submit(await desk.account(), 40)
    await desk.query("INSERT INTO procrastinate_workers DEFAULT VALUES RETURNING 1")  # as if one ran
    return job


async def told(desk: Desk, job: JobOverview) -> tuple[str, Job]:
    seen = await report.report(desk.pool, acting(job.account_id), job.id)
    return seen.sentence, job_shown(seen)


async def slow_down(desk: Desk, job: JobOverview, measured_per_s: float, *, ago_s: float = 0.0) -> None:
    ((gateway_id,),) = await desk.query("SELECT gateway_id FROM job WHERE id = %s", job.id)
    async with desk.pool.connection() as conn:
        await pace.slow_down(conn, gateway_id, "454 4.7.0 Throttling failure", measured_per_s)
    await desk.query("UPDATE gateway_pace SET slowed_at = slowed_at - make_interval(secs => %s) RETURNING 1", ago_s)


async def test_a_slowed_gateway_is_told_with_its_own_words_and_how_fast_it_goes_by_now(desk: Desk) -> None:
    job = await started(desk)
    await slow_down(desk, job, 1_000.0, ago_s=20.0)
    sentence, shown = await told(desk, job)
    assert sentence.startswith("Slowed to 1,0"), "twice the 500 that it began with"
    assert sentence.endswith(" a second: the gateway says “454 4.7.0 Throttling failure”. 40 of 40 still to go.")
    assert shown.slowed_to_per_s == pytest.approx(1_000, rel=0.1)
    assert shown.slowed_because == "454 4.7.0 Throttling failure"


async def test_a_slowing_that_is_over_is_told_no_more(desk: Desk) -> None:
    job = await started(desk)
    await slow_down(desk, job, 20.0, ago_s=60.0)
    sentence, shown = await told(desk, job)
    assert sentence == "Sending: 40 of 40 still to go."
    assert (shown.slowed_to_per_s, shown.slowed_because) == (None, None)


async def test_a_gateways_own_limit_is_told_and_ends_what_it_was_slowed_to(desk: Desk) -> None:
    job = await started(desk)
    await desk.query("UPDATE gateway SET messages_per_s = 2.5 RETURNING 1")
    sentence, shown = await told(desk, job)
    assert sentence == "Sending within the gateway's limit of 2.5 a second: 40 of 40 still to go."
    assert shown.limit_per_s == 2.5
    await slow_down(desk, job, 100.0)
    assert (await told(desk, job))[0].startswith("Slowed to 1.3 a second: ")
    await slow_down(desk, job, 100.0, ago_s=30.0)
    assert (await told(desk, job))[0] == sentence


@pytest.mark.parametrize(("permits", "what"), [
    (Permits(0, 3_600.0, "quota", 10_000), "quota of the gateway (10,000)"),
    (Permits(0, 3_600.0, "quota", 200, warming_up=True), "warm-up limit of the gateway (200)")])
async def test_a_quota_that_is_used_up_says_when_it_goes_on(desk: Desk, permits: Permits, what: str) -> None:
    job = await started(desk)
    async with desk.pool.connection() as conn:
        await jobs.set_condition(conn, job.account_id, job.id, "quota", reason=quota_sentence(permits), delay_s=permits.wait_s)
    assert (await told(desk, job))[0] == f"Today's {what} is used up; sending goes on at 00:00 UTC."


async def test_the_last_retries_say_when_they_are_tried_and_when_they_are_given_up(desk: Desk) -> None:
    job = await started(desk)
    due = datetime.now(UTC) + timedelta(minutes=5)
    await desk.query("UPDATE chunk SET available_at = %s RETURNING 1", due)
    until = due + timedelta(minutes=30)
    await desk.query("INSERT INTO job_condition (account_id, job_id, kind, reason, until) VALUES (%s, %s, 'retries', 'few', %s) "
                     "RETURNING 1", job.account_id, job.id, until)
    sentence, shown = await told(desk, job)
    assert sentence == (f"Waiting until {due:%H:%M:%S} UTC to try 40 again that the gateway refused for now. "
                        f"Patience with them ends at {until:%H:%M:%S} UTC.")
    assert shown.retries_until == until
    assert shown.reason is None, "it holds nothing back"
