"""The moves of a job as people make them: approve, cancel, the queue; and the loser of each race."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from acting import acting
from desk import Desk
from postroom.domain.job import Status
from postroom.errors import Conflict, InvalidInput, NotFound
from postroom.flow.delivery.recover import sweep
from postroom.flow.job import finish, report
from postroom.flow.job.approve import approve
from postroom.flow.job.finish import cancel
from postroom.flow.job.start import start_idle_queue
from postroom.ledger.database import engine
from postroom.ledger.job import jobs
from postroom.ledger.job.jobs import JobOverview


@pytest.fixture
def desk(pool, database) -> Desk:
    return Desk(pool, database)


async def book_everything(desk: Desk, job_id: int) -> None:
    """As if every recipient had been sent, without a gateway."""
    async with desk.pool.connection() as conn:
        await conn.execute("UPDATE chunk SET sent = n - failed - skipped - unconfirmed WHERE job_id = %s", (job_id,))


async def statuses(desk: Desk) -> list[str]:
    return [row[0] for row in await desk.query("SELECT status FROM job ORDER BY id")]


async def now(desk: Desk, job: JobOverview) -> JobOverview:
    return (await report.report(desk.pool, acting(job.account_id), job.id)).job


async def lanes(desk: Desk) -> dict[int, int]:
    async with desk.pool.connection() as conn:
        return await engine.live_lanes(conn)


# -- the gate -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "status"), [
    (99, Status.SENDING), (100, Status.PENDING_APPROVAL), (101, Status.PENDING_APPROVAL)])
async def test_from_the_threshold_on_a_job_waits_for_a_person(desk: Desk, count: int, status: Status) -> None:
    job = await desk.submit(await desk.account(connections=4), count)
    assert job.status is status
    assert await lanes(desk) == ({job.id: 4} if status is Status.SENDING else {})


async def test_an_approval_is_a_row_with_who_when_and_what(desk: Desk) -> None:
    account = await desk.account(threshold=1)
    job = await desk.checked(account, 3)
    approved = await approve(desk.pool, acting(account, "boss"), job.id, digest=job.digest)
    assert (approved.status, approved.approved_by) == (Status.SENDING, "boss")
    assert await desk.query("SELECT approved_by, digest FROM approval") == [("boss", job.digest)]
    assert [(event.verb, event.by) for event in await report.trail(desk.pool, acting(account), job.id)] == [
        ("submit", "tester"), ("approve", "boss"), ("start", "postroom")]


async def test_approving_twice_changes_nothing_and_answers_the_same(desk: Desk) -> None:
    account = await desk.account(threshold=1)
    job = await desk.checked(account, 3)
    first = await approve(desk.pool, acting(account, "boss"), job.id, digest=job.digest)
    again = await approve(desk.pool, acting(account, "other"), job.id, digest=job.digest)
    assert first == again
    assert await lanes(desk) == {job.id: 3}


async def test_of_two_who_approve_at_once_one_is_written_and_both_are_told_so(desk: Desk) -> None:
    account = await desk.account(threshold=1)
    job = await desk.checked(account, 3)
    views = await asyncio.gather(*(approve(desk.pool, acting(account, by), job.id, digest=job.digest)
                                   for by in ("ann", "bob", "cy")))
    assert len({view.approved_by for view in views}) == 1
    assert await desk.query("SELECT count(*) FROM approval") == [(1,)]
    assert await lanes(desk) == {job.id: 3}


async def test_an_approval_of_something_else_is_refused(desk: Desk) -> None:
    account = await desk.account(threshold=1)
    job, other = await desk.submit(account, 3), await desk.submit(account, 3)
    with pytest.raises(Conflict, match="Load the page again"):
        await approve(desk.pool, acting(account, "boss"), job.id, digest=other.digest)
    assert (await now(desk, job)).status is Status.PENDING_APPROVAL
    assert await desk.query("SELECT count(*) FROM approval") == [(0,)]


async def test_a_job_that_needs_no_approval_cannot_be_given_one(desk: Desk) -> None:
    account = await desk.account()
    job = await desk.submit(account, 3)
    with pytest.raises(Conflict, match="nothing to approve"):
        await approve(desk.pool, acting(account, "boss"), job.id)


async def test_a_cancelled_job_cannot_be_approved(desk: Desk) -> None:
    account = await desk.account(threshold=1)
    job = await desk.submit(account, 3)
    await cancel(desk.pool, acting(account, "me"), job.id)
    with pytest.raises(Conflict, match="is Cancelled"):
        await approve(desk.pool, acting(account, "boss"), job.id, digest=job.digest)


async def test_approve_and_cancel_at_once_leave_one_truth(desk: Desk) -> None:
    account = await desk.account(threshold=1)
    for _ in range(5):
        job = await desk.checked(account, 3)
        answers = await asyncio.gather(
            approve(desk.pool, acting(account, "boss"), job.id), cancel(desk.pool, acting(account, "me"), job.id),
            return_exceptions=True)
        assert isinstance(answers[0], (JobOverview, Conflict))
        assert isinstance(answers[1], JobOverview)
        assert (await now(desk, job)).status is Status.CANCELLED


async def test_nobody_approves_cancels_or_sees_another_accounts_job(desk: Desk) -> None:
    mine, theirs = await desk.account("mine", threshold=1), await desk.account("theirs")
    job = await desk.submit(mine, 3)
    for attempt in (approve(desk.pool, acting(theirs, "x"), job.id), cancel(desk.pool, acting(theirs, "x"), job.id),
                    report.report(desk.pool, acting(theirs), job.id), report.content_of(desk.pool, acting(theirs), job.id),
                    approve(desk.pool, acting(999, "x"), job.id), cancel(desk.pool, acting(mine, "x"), 2**70)):
        with pytest.raises(NotFound):
            await attempt
    assert (await now(desk, job)).status is Status.PENDING_APPROVAL


# -- cancel -------------------------------------------------------------------------------------------------------------


async def test_a_cancel_at_the_gate_means_that_nothing_was_ever_dispatched(desk: Desk) -> None:
    account = await desk.account(threshold=1)
    job = await desk.submit(account, 3)
    view = await cancel(desk.pool, acting(account, "boss"), job.id, note="Wrong list.")
    assert (view.status, view.unsent, view.sent, view.started_at, view.reason) == (Status.CANCELLED, 3, 0, None, "Wrong list.")
    assert await lanes(desk) == {}
    assert await desk.query("SELECT count(*) FROM hand_off_window") == [(0,)]


async def test_a_cancel_in_the_queue_leaves_the_active_job_alone(desk: Desk) -> None:
    account = await desk.account()
    active, waiting = await desk.submit(account, 3), await desk.submit(account, 3)
    view = await cancel(desk.pool, acting(account, "me"), waiting.id)
    assert (view.status, view.queue_position, view.started_at) == (Status.CANCELLED, None, None)
    assert (await now(desk, active)).status is Status.SENDING


async def test_a_cancel_while_sending_ends_it_at_once_and_starts_the_next(desk: Desk) -> None:
    account = await desk.account()
    active, waiting = await desk.submit(account, 3), await desk.submit(account, 3)
    view = await cancel(desk.pool, acting(account, "me"), active.id)
    assert (view.status, view.unsent) == (Status.CANCELLED, 3)
    assert (await now(desk, waiting)).status is Status.SENDING
    assert await desk.query("SELECT lease_epoch FROM chunk ORDER BY job_id, chunk_no") == [(1,)] * 3 + [(0,)] * 3


async def test_cancelling_twice_or_by_two_answers_the_same(desk: Desk) -> None:
    account = await desk.account()
    job = await desk.checked(account, 3)
    views = await asyncio.gather(*(cancel(desk.pool, acting(account, by), job.id, note=by) for by in ("ann", "bob")))
    assert views[0] == views[1] == await cancel(desk.pool, acting(account, "cy"), job.id)
    assert [event.verb for event in await report.trail(desk.pool, acting(account), job.id)] == ["submit", "start", "cancel"]


@pytest.mark.parametrize("note", ["nul\0", "half \ud800", "byte \udcff"])
async def test_a_note_that_cannot_be_kept_is_refused_and_cancels_nothing(desk: Desk, note: str) -> None:
    account = await desk.account()
    job = await desk.submit(account, 3)
    with pytest.raises(InvalidInput):
        await cancel(desk.pool, acting(account, "me"), job.id, note=note)
    assert (await now(desk, job)).status is Status.SENDING


async def test_a_cancel_after_the_end_is_refused_with_the_counts(desk: Desk) -> None:
    account = await desk.account()
    job = await desk.submit(account, 3)
    await book_everything(desk, job.id)
    assert await finish.complete(desk.pool, account, job.id)
    with pytest.raises(Conflict, match="is already Completed: 3 sent, 0 failed") as caught:
        await cancel(desk.pool, acting(account, "me"), job.id)
    assert "0 skipped, 0 unconfirmed, 0 unsent of 3" in str(caught.value)
    assert caught.value.job_id == job.id
    failed = await desk.submit(account, 3)
    assert await finish.fail(desk.pool, account, failed.id, reason="No gateway.")
    with pytest.raises(Conflict, match="is already Failed"):
        await cancel(desk.pool, acting(account, "me"), failed.id)


async def test_a_cancel_does_not_wait_for_a_list_that_is_being_frozen(desk: Desk) -> None:
    account = await desk.account(threshold=3)
    job = await desk.submit(account, 2)
    async with desk.pool.connection() as freezing, freezing.transaction(force_rollback=True):
        await freezing.execute(
            "INSERT INTO job (account_id, gateway_id, status, subject, content, bodies, duplicates, unusable_addresses, "
            "recipient_count, lanes, approval_threshold, digest, message_key, created_by, moved_by) "
            "SELECT account_id, gateway_id, 'pending_approval', '', content, bodies, duplicates, unusable_addresses, "
            "3, 1, 3, digest, 'k', 'me', 'me' FROM job")
        view = await asyncio.wait_for(cancel(desk.pool, acting(account, "me"), job.id), 10)
    assert view.status is Status.CANCELLED


# -- ends and the queue -------------------------------------------------------------------------------------------------


async def test_a_job_completes_only_when_nothing_is_left(desk: Desk) -> None:
    account = await desk.account()
    job = await desk.submit(account, 3)
    assert not await finish.complete(desk.pool, account, job.id)
    await book_everything(desk, job.id)
    assert sorted(await asyncio.gather(*(finish.complete(desk.pool, account, job.id) for _ in range(3)))) == [False, False, True]


async def test_a_failed_job_keeps_its_unsent_recipients_and_says_why(desk: Desk) -> None:
    account = await desk.account()
    job = await desk.submit(account, 3)
    assert await finish.fail(desk.pool, account, job.id, reason="The gateway was away for a day.")
    assert not await finish.fail(desk.pool, account, job.id, reason="again")
    view = await now(desk, job)
    assert (view.status, view.unsent, view.reason) == (Status.FAILED, 3, "The gateway was away for a day.")


@pytest.mark.parametrize("ending", ["complete", "cancel", "fail"])
async def test_the_next_job_starts_in_the_transaction_that_ends_one(desk: Desk, ending: str) -> None:
    account = await desk.account()
    first, second = await desk.submit(account, 3), await desk.submit(account, 3)
    await book_everything(desk, first.id)
    match ending:
        case "complete":
            await finish.complete(desk.pool, account, first.id)
        case "cancel":
            await cancel(desk.pool, acting(account, "me"), first.id)
        case "fail":
            await finish.fail(desk.pool, account, first.id, reason="r")
    ended, started = await desk.query("SELECT xmin FROM job ORDER BY id")
    assert ended == started
    assert (await now(desk, second)).status is Status.SENDING
    assert (await lanes(desk))[second.id] == 3


async def test_who_was_approved_first_is_sent_first(desk: Desk) -> None:
    account, other = await desk.account(threshold=1), await desk.account("other")
    made = [await desk.checked(account, 2) for _ in range(4)]
    for job in (made[0], made[3], made[1], made[2]):
        await approve(desk.pool, acting(account, "boss"), job.id)
    elsewhere = await desk.submit(other, 2)
    assert elsewhere.status is Status.SENDING
    assert [(await now(desk, job)).queue_position for job in made] == [None, 2, 3, 1]
    told = await report.report(desk.pool, acting(account), made[1].id)
    assert told.queue is not None
    assert told.queue.waits_for is not None
    assert told.queue.waits_for.id == made[0].id
    assert told.sentence.startswith("Your send is queued. Sending will start automatically when the current send finishes.")
    order = [made[0].id]
    for _ in made[1:]:
        await finish.fail(desk.pool, account, order[-1], reason="next")
        order += [row[0] for row in await desk.query("SELECT id FROM job WHERE status = 'sending' AND account_id = %s", account)]
    assert order == [made[0].id, made[3].id, made[1].id, made[2].id]


async def test_however_many_approve_at_once_one_job_sends_and_each_has_a_place_of_its_own(desk: Desk) -> None:
    account = await desk.account(threshold=1)
    made = [await desk.checked(account, 1) for _ in range(8)]
    await asyncio.gather(*(approve(desk.pool, acting(account, "boss"), job.id) for job in made))
    assert sorted(await statuses(desk)) == ["queued"] * 7 + ["sending"]
    places = [(await now(desk, job)).queue_position for job in made]
    assert sorted(place for place in places if place) == [1, 2, 3, 4, 5, 6, 7]
    approved = await desk.query("SELECT j.id FROM job j JOIN approval p ON p.job_id = j.id ORDER BY j.queue_no")
    events = await desk.query("SELECT job_id FROM job_event WHERE verb = 'approve' ORDER BY id")
    assert approved == events


async def test_a_job_whose_time_has_not_come_lets_others_pass(desk: Desk) -> None:
    account = await desk.account()
    later = await desk.submit(account, 2, not_before=datetime.now(UTC) + timedelta(hours=1))
    assert later.status is Status.QUEUED
    assert (await report.report(desk.pool, acting(account), later.id)).sentence.startswith("Scheduled: it does not start before")
    sooner = await desk.submit(account, 2)
    assert sooner.status is Status.SENDING
    await start_idle_queue(desk.pool, account)
    assert await statuses(desk) == ["queued", "sending"]


async def test_a_queue_that_nobody_moved_on_is_moved_by_the_sweep(desk: Desk) -> None:
    account = await desk.account()
    job = await desk.submit(account, 2, not_before=datetime.now(UTC) + timedelta(hours=1))
    async with desk.pool.connection() as conn:
        await conn.execute("UPDATE job SET not_before = now()")
    await sweep(desk.pool, give_up_s=60, lease_s=30)
    assert (await now(desk, job)).status is Status.SENDING
    await book_everything(desk, job.id)
    await sweep(desk.pool, give_up_s=60, lease_s=30)
    assert (await now(desk, job)).status is Status.COMPLETED


async def test_a_move_from_a_status_that_it_has_left_is_a_conflict(desk: Desk) -> None:
    account = await desk.account()
    job = await desk.submit(account, 2)
    async with desk.pool.connection() as conn:
        with pytest.raises(Conflict, match="is no longer Queued"):
            await jobs.move(conn, account, job.id, Status.QUEUED, Status.SENDING, by=acting(account, "x"))


# -- what is shown ------------------------------------------------------------------------------------------------------


async def test_the_history_is_newest_first_filtered_and_paged_by_cursor(desk: Desk) -> None:
    account = await desk.account(threshold=2)
    made = [await desk.submit(account, 2 if n % 2 else 1) for n in range(7)]
    ids = [job.id for job in reversed(made)]
    page = await report.history(desk.pool, acting(account), limit=3)
    rest = await report.history(desk.pool, acting(account), limit=10, before=page[-1].id)
    assert [job.id for job in page + rest] == ids
    waiting = await report.history(desk.pool, acting(account), status=Status.PENDING_APPROVAL)
    assert [job.id for job in waiting] == [made[5].id, made[3].id, made[1].id]
    assert await report.history(desk.pool, acting(account), since=datetime.now(UTC) + timedelta(hours=1)) == []
    assert len(await report.history(desk.pool, acting(account), until=datetime.now(UTC) + timedelta(hours=1))) == 7


async def test_a_condition_keeps_its_first_moment_and_counts_each_round_once(desk: Desk) -> None:
    account = await desk.account()
    job = await desk.submit(account, 2)
    async with desk.pool.connection() as conn:
        for reason, delay_s in (("It is away.", 0), ("It is still away.", 60), ("Another lane says so.", 60)):
            await jobs.set_condition(conn, account, job.id, "gateway", reason=reason, delay_s=delay_s)
        since, = (await desk.query("SELECT since FROM job_condition"))[0]
        view = await jobs.view_job(conn, account, job.id)
        assert (view.waits_for, view.waits_because, view.waits_since) == ("gateway", "It is still away.", since)
        assert await jobs.condition_times(conn, account, job.id, "gateway") == 2
        await jobs.clear_conditions(conn, account, job.id)
        assert await jobs.condition_times(conn, account, job.id, "gateway") == 0
