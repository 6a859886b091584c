"""The rest of a job that is over: exactly those, the same message, the gate again, and once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from acting import acting
from contest import book_first, claimed, turned
from postroom.domain.audience import IncomingRow
from postroom.domain.job import Status
from postroom.domain.outcome import Evidence, Kind, Outcome
from postroom.errors import Conflict, InvalidInput, NotFound
from postroom.flow.audience.suppressions import suppress
from postroom.flow.delivery import recover
from postroom.flow.job import finish, report
from postroom.flow.job.approve import approve
from postroom.flow.job.continuation import continue_the_rest
from postroom.flow.job.submit import IdempotencyKey
from postroom.gateway.sandbox.script import Refusal, Script
from postroom.ledger.delivery import windows
from postroom.ledger.job.jobs import JobOverview
from proofs.races import all_sent, at_once
from stage import CONTENT, Stage, rows


async def begun(stage: Stage, account: int, job: JobOverview) -> None:
    """One is sent, one failed, one refused for now."""
    await book_first(stage.pool, account, job.id, {
        1: Outcome(1, 1, Kind.SENT, Evidence.REPLY, 250, "2.0.0", "Ok"),
        2: Outcome(2, 1, Kind.FAILED, Evidence.REPLY, 550, "5.1.1", "No such user"),
        3: Outcome(3, 1, Kind.REFUSED, Evidence.REPLY, 451, "4.7.1", "Later", retry_in_s=60, refusals=1)})


async def cancelled(stage: Stage, account: int, count: int = 10, **options: object) -> JobOverview:
    """A job of which one is sent, one failed, and the rest is unsent."""
    job = await stage.submit(account, count, **options)
    await begun(stage, account, job)
    return await finish.cancel(stage.pool, acting(account, "boss"), job.id)


async def rest(stage: Stage, account: int, job: JobOverview, which: str = "unsent", **more: object) -> JobOverview:
    return await continue_the_rest(stage.pool, stage.deployment, acting(account, "boss"), job.id, which=which, **more)


async def test_the_unsent_of_a_cancelled_job_are_sent_by_a_new_one_that_says_whose_rest_it_is(stage: Stage) -> None:
    account = await stage.account(connections=1)
    job = await cancelled(stage, account, field_policy="blank", duplicates="send")
    made = await rest(stage, account, job)
    assert (made.recipient_count, made.status, made.created_by) == (8, Status.SENDING, "boss")
    assert (made.continues, made.continued_class) == (job.id, "unsent")
    assert (made.field_policy, made.duplicates, made.unusable_addresses) == ("blank", "send", "exclude")
    kept = "SELECT row_no, address, fields::text FROM recipient WHERE job_id = %s AND position >= %s ORDER BY position"
    assert await stage.query(kept, made.id, 1) == await stage.query(kept, job.id, 3), "the rows of the original list"
    said = (await report.report(stage.pool, acting(account), job.id)).continued_by
    assert [(one.id, one.which) for one in said] == [(made.id, "unsent")]
    (listed,) = [one for one in await report.reports(stage.pool, acting(account)) if one.job.id == job.id]
    assert listed.continued_by == said
    async with stage.worker():
        await stage.over(account, made.id)
    assert (await stage.sides(account, made.id)).taken.keys() == set(range(1, 9))


async def test_the_failed_of_a_completed_job_are_exactly_those(stage: Stage) -> None:
    stage.sandbox.script = Script(refuse={
        f"person{n}@list.example": Refusal("rcpt", 550, "5.1.1 No such mailbox") for n in (3, 7)})
    account = await stage.account()
    listed = [*rows(9), IncomingRow(11, "nowhere", {"name": "N"})]
    async with stage.worker():
        job = await stage.started(account, listed, unusable_addresses="fail")
        job = await stage.over(account, job.id)
    made = await rest(stage, account, job, "failed")
    ledger = await report.recipient_page(stage.pool, acting(account), made.id)
    assert [(row.row_no, row.address) for row in ledger] == [
        (4, "person3@list.example"), (8, "person7@list.example"), (11, "nowhere")]
    before = (await report.recipient_page(stage.pool, acting(account), job.id))[-1]
    assert (ledger[-1].kind, ledger[-1].reply) == ("failed", before.reply), "nobody can mail it now either, for its reason"


async def test_the_message_of_a_continuation_is_that_of_the_job_with_its_files(stage: Stage) -> None:
    account = await stage.account()
    job = await stage.submit(account, 5, content=replace(CONTENT, html="<p>Hello {{ name }}</p>"), files=(("a.txt", b"text"),))
    await finish.cancel(stage.pool, acting(account, "boss"), job.id)
    made = await rest(stage, account, job)
    same = "SELECT content::text, bodies::text, gateway_id FROM job WHERE id = %s"
    assert await stage.query(same, made.id) == await stage.query(same, job.id)
    assert made.digest != job.digest, "another list, and so another approval"
    async with stage.worker():
        assert (await stage.over(account, made.id)).sent == 5


async def test_it_passes_the_gate_like_any_other(stage: Stage) -> None:
    account = await stage.account(threshold=100, connections=1)
    job = await stage.started(account, 150)
    await begun(stage, account, job)
    await finish.cancel(stage.pool, acting(account, "boss"), job.id)
    made = await rest(stage, account, job)
    assert (made.status, made.recipient_count, made.to_check) == (Status.PENDING_APPROVAL, 148, 148)
    await stage.check(made)
    assert (await approve(stage.pool, acting(account, "boss"), made.id, digest=made.digest)).status is Status.SENDING


async def test_who_was_suppressed_since_is_left_out_and_listed(stage: Stage) -> None:
    account = await stage.account()
    job = await cancelled(stage, account, 5)
    await suppress(stage.pool, acting(account), ["person4@list.example"], reason="Asked by letter.")
    made = await rest(stage, account, job)
    assert made.recipient_count == 2
    (left_out,) = await report.exclusion_page(stage.pool, acting(account), made.id)
    assert (left_out.row_no, left_out.kind, left_out.reason) == (5, "suppressed", "Asked by letter.")


async def test_a_rest_of_which_nobody_is_left_is_refused(stage: Stage) -> None:
    account = await stage.account()
    job = await cancelled(stage, account, 3)
    await suppress(stage.pool, acting(account), ["person3@list.example"])
    with pytest.raises(InvalidInput, match="Nobody is left to send to: 1 suppressed"):
        await rest(stage, account, job)
    assert len(await report.history(stage.pool, acting(account))) == 1


async def test_each_rest_is_continued_once_and_the_refusal_names_the_job_that_does_it(stage: Stage) -> None:
    account = await stage.account()
    job = await cancelled(stage, account)
    made = await rest(stage, account, job)
    with pytest.raises(Conflict, match=f"Job {made.id} continues what job {job.id} left unsent") as refused:
        await rest(stage, account, job)
    assert refused.value.job_id == made.id
    assert (await rest(stage, account, job, "failed")).recipient_count == 1, "another class, another rest"


async def test_who_joins_a_rest_by_late_evidence_is_continued_by_another_job(stage: Stage) -> None:
    """The window of a lost machine is in doubt when the rest is continued; then it comes back with its journal."""
    account = await stage.account(connections=1)
    job = await stage.submit(account, 10)
    claim = await claimed(stage.pool, account, job.id)
    assert claim is not None
    window = await turned(stage.pool, claim, [], 3)
    assert window is not None
    job = await finish.cancel(stage.pool, acting(account, "boss"), job.id)
    await stage.query("UPDATE chunk SET lease_until = now() - interval '1 s' WHERE window_open RETURNING 1")
    await recover.sweep(stage.pool, give_up_s=60, lease_s=30)
    first = await rest(stage, account, job)
    assert first.recipient_count == 7
    told = [Outcome(one.position, 1, Kind.RELEASED, Evidence.WORKER, retry_in_s=0.0) for one in window.recipients]
    async with stage.pool.connection() as conn:
        await windows.settle_window(conn, claim, window.window_no, told)
    assert (await report.report(stage.pool, acting(account), job.id)).rests["unsent"] == 3
    second = await rest(stage, account, job)
    assert [row.row_no for row in await report.recipient_page(stage.pool, acting(account), second.id)] == [2, 3, 4]
    with pytest.raises(Conflict, match=f"Job {second.id} continues what job {job.id} left unsent"):
        await rest(stage, account, job)
    assert (await report.report(stage.pool, acting(account), job.id)).rests["unsent"] == 0


async def test_of_many_who_continue_a_rest_at_once_one_does(stage: Stage) -> None:
    account = await stage.account(threshold=5)
    small, large = await cancelled(stage, await stage.account("small"), 8), await stage.checked(account, 50)
    large = await finish.cancel(stage.pool, acting(account, "boss"), large.id)
    for job in (small, large):
        answers = await at_once(*[lambda job=job: rest(stage, job.account_id, job)] * 4)
        assert sum(isinstance(one, JobOverview) for one in answers) == 1, answers
        assert all(isinstance(one, JobOverview | Conflict) for one in answers), answers


async def test_the_same_request_again_answers_with_the_same_job(stage: Stage) -> None:
    account = await stage.account()
    job = await cancelled(stage, account)
    key = IdempotencyKey("once", bytes(32))
    assert await rest(stage, account, job, idempotency=key) == await rest(stage, account, job, idempotency=key)
    with pytest.raises(InvalidInput, match="was used for another request"):
        await rest(stage, account, job, idempotency=IdempotencyKey("once", b"x" * 32))


async def test_a_continuation_that_was_cancelled_is_itself_continued(stage: Stage) -> None:
    account = await stage.account(connections=1)
    first = await cancelled(stage, account)
    second = await rest(stage, account, first)
    await begun(stage, account, second)
    second = await finish.cancel(stage.pool, acting(account, "boss"), second.id)
    third = await rest(stage, account, second)
    assert (third.recipient_count, third.continues) == (6, second.id)
    assert [row.row_no for row in await report.recipient_page(stage.pool, acting(account), third.id)] == [6, 7, 8, 9, 10, 11]


async def test_what_cannot_be_continued_is_refused_with_the_reason(stage: Stage) -> None:
    account = await stage.account(connections=1)
    job = await stage.submit(account, 5)
    with pytest.raises(Conflict, match=f"Job {job.id} is Sending: its rest can be continued once it is over"):
        await rest(stage, account, job)
    claim = await claimed(stage.pool, account, job.id)
    assert claim is not None
    window = await turned(stage.pool, claim, [], 1)
    assert window is not None
    await finish.cancel(stage.pool, acting(account, "boss"), job.id)
    with pytest.raises(Conflict, match=f"still have messages of job {job.id} in hand"):
        await rest(stage, account, job)
    async with stage.pool.connection() as conn:
        await windows.settle_window(conn, claim, window.window_no, all_sent(window))
    with pytest.raises(Conflict, match=f"Job {job.id} has no failed recipients"):
        await rest(stage, account, job, "failed")
    with pytest.raises(InvalidInput, match='not "sent"'):
        await rest(stage, account, job, "sent")
    with pytest.raises(NotFound):
        await rest(stage, await stage.account("other"), job)
    assert len(await report.history(stage.pool, acting(account))) == 1
