"""Approve, cancel, submit and complete, all at once: one wins, and the loser is told so."""

from __future__ import annotations

from collections import Counter
from functools import partial

from acting import acting
from contest import hand_off_everything
from postroom.domain.job import Status
from postroom.errors import Conflict
from postroom.flow.job import finish, report
from postroom.flow.job.approve import approve
from postroom.ledger.job.jobs import JobOverview
from proofs.races import at_once
from stage import Stage

LANES = "SELECT count(*) FROM procrastinate_jobs WHERE task_name = 'deliver' AND (args ->> 'job_id')::bigint = %s"
VERBS = "SELECT verb FROM job_event WHERE job_id = %s ORDER BY id"


async def verbs(stage: Stage, job_id: int) -> list[str]:
    return [row[0] for row in await stage.query(VERBS, job_id)]


async def test_of_cancel_and_complete_exactly_one_ends_the_job(stage: Stage) -> None:
    account = await stage.account()
    endings: Counter[Status] = Counter()
    for _ in range(200):
        job = await stage.submit(account, 1)
        await hand_off_everything(stage.pool, account, job.id)
        completed, cancelled = await at_once(partial(finish.complete, stage.pool, account, job.id),
                                             partial(finish.cancel, stage.pool, acting(account, "boss"), job.id))
        view = (await report.report(stage.pool, acting(account), job.id)).job
        endings[view.status] += 1
        assert (view.sent, view.unsent) == (1, 0)
        assert len([verb for verb in await verbs(stage, job.id) if verb in ("complete", "cancel")]) == 1
        if view.status is Status.COMPLETED:
            assert completed is True
            assert isinstance(cancelled, Conflict), "the cancel lost, and says so"
            assert "already Completed: 1 sent" in str(cancelled)
        else:
            assert view.status is Status.CANCELLED
            assert completed is False
            assert isinstance(cancelled, JobOverview)
    assert sum(endings.values()) == 200


async def test_twenty_approvals_at_once_are_one_approval_and_one_start(stage: Stage) -> None:
    account = await stage.account(connections=3)
    job = await stage.checked(account, 100)
    answers = await at_once(*(
        partial(approve, stage.pool, acting(account, f"boss {n}"), job.id, digest=job.digest) for n in range(20)))
    assert {type(answer) for answer in answers} == {JobOverview}
    assert {answer.status for answer in answers} == {Status.SENDING}
    assert len({answer.approved_by for answer in answers}) == 1, "everybody is told who it was"
    assert await stage.query("SELECT count(*) FROM approval WHERE job_id = %s", job.id) == [(1,)]
    assert await verbs(stage, job.id) == ["submit", "approve", "start"]
    assert await stage.query(LANES, job.id) == [(3,)]


async def test_of_approve_and_cancel_the_cancel_always_has_the_last_word(stage: Stage) -> None:
    account = await stage.account()
    ways: Counter[str] = Counter()
    for _ in range(60):
        job = await stage.checked(account, 100)
        approved, cancelled = await at_once(partial(approve, stage.pool, acting(account, "boss"), job.id, digest=job.digest),
                                            partial(finish.cancel, stage.pool, acting(account, "other boss"), job.id))
        assert isinstance(cancelled, JobOverview)
        assert cancelled.status is Status.CANCELLED
        if isinstance(approved, Conflict):
            assert await verbs(stage, job.id) == ["submit", "cancel"]
            assert await stage.query("SELECT 1 FROM approval WHERE job_id = %s", job.id) == []
            assert await stage.query(LANES, job.id) == [(0,)]
        else:
            assert approved.status in (Status.SENDING, Status.CANCELLED)
            assert await verbs(stage, job.id) == ["submit", "approve", "start", "cancel"]
        ways[type(approved).__name__] += 1
        assert (await report.report(stage.pool, acting(account), job.id)).job.unsent == 100
    assert sum(ways.values()) == 60


async def test_of_twenty_small_jobs_submitted_at_once_exactly_one_is_sending(stage: Stage) -> None:
    account = await stage.account()
    jobs = await at_once(*(partial(stage.submit, account, 5) for _ in range(20)))
    assert {type(job) for job in jobs} == {JobOverview}
    views = [(await report.report(stage.pool, acting(account), job.id)).job for job in jobs]
    assert Counter(view.status for view in views) == {Status.SENDING: 1, Status.QUEUED: 19}
    assert sorted(view.queue_position for view in views if view.queue_position) == list(range(1, 20))


async def test_of_approvals_at_once_the_queue_is_in_the_order_in_which_they_were_granted(stage: Stage) -> None:
    account = await stage.account()
    active = await stage.submit(account, 1)
    jobs = [await stage.checked(account, 100) for _ in range(15)]
    await at_once(*(partial(approve, stage.pool, acting(account, "boss"), job.id, digest=job.digest) for job in jobs))
    granted = [row[0] for row in await stage.query("SELECT job_id FROM job_event WHERE verb = 'approve' ORDER BY id")]
    queued = [row[0] for row in await stage.query("SELECT id FROM job WHERE status = 'queued' ORDER BY queue_no")]
    assert queued == granted
    await finish.cancel(stage.pool, acting(account, "boss"), active.id)
    assert (await report.report(stage.pool, acting(account), granted[0])).job.status is Status.SENDING


async def test_of_twenty_cancels_at_once_one_is_recorded_and_all_are_answered(stage: Stage) -> None:
    account = await stage.account()
    job, following = await stage.submit(account, 50), await stage.submit(account, 1)
    answers = await at_once(*(partial(finish.cancel, stage.pool, acting(account, f"boss {n}"), job.id) for n in range(20)))
    assert {answer.status for answer in answers} == {Status.CANCELLED}
    assert await verbs(stage, job.id) == ["submit", "start", "cancel"]
    assert await verbs(stage, following.id) == ["submit", "start"], "the next one was started once"
