"""A person settles doubts: assumed sent or sent again, each audited, all of what was asked or none of it."""

from __future__ import annotations

from typing import Never

import pytest

from acting import acting
from contest import book_first, claimed, comes_to_light
from postroom.domain.job import Status
from postroom.domain.outcome import Contradiction, Evidence, Kind, Outcome
from postroom.errors import Conflict, InvalidInput, NotFound
from postroom.flow.audience.suppressions import suppress
from postroom.flow.delivery import recover
from postroom.flow.job import finish, report, settlement
from postroom.flow.job.continuation import continue_the_rest
from postroom.flow.job.pause import pause
from postroom.flow.job.settlement import Settlement, settle
from postroom.flow.job.submit import IdempotencyKey
from postroom.ledger.delivery import windows
from postroom.ledger.delivery.windows import Claim, Window
from postroom.ledger.job import jobs
from postroom.ledger.job.jobs import JobOverview
from proofs.races import all_sent, at_once
from stage import Stage


async def doubted(stage: Stage, count: int = 5, doubts: int = 3,
                  **options: object) -> tuple[JobOverview, list[tuple[Claim, Window]]]:
    """A sending job whose first recipients are unconfirmed, and the rest untouched; and the windows that held them."""
    account = await stage.account(connections=1, **options)
    job = await stage.started(account, count)
    return job, await book_first(stage.pool, account, job.id, {
        at: Outcome(at, 1, Kind.UNCONFIRMED, Evidence.CONNECTION_LOST, reply="The connection was lost.")
        for at in range(1, doubts + 1)})


async def decide(stage: Stage, job: JobOverview, decision: str, *positions: int, **more: object) -> Settlement:
    return await settle(stage.pool, stage.deployment, acting(job.account_id, "boss"), job.id, decision,
                        positions=positions or None,
                        **more)


async def rest(stage: Stage, job: JobOverview, which: str) -> JobOverview:
    return await continue_the_rest(stage.pool, stage.deployment, acting(job.account_id, "boss"), job.id, which=which)


def told_of(**count: int) -> tuple[str, ...]:
    return tuple(Contradiction(**{"unsent": 0, "failed": 0, "sent": 0, "twice": 0, **count}).sentences)


async def rows_of(stage: Stage, job: JobOverview) -> list[int]:
    return [row.row_no for row in await report.recipient_page(stage.pool, acting(job.account_id), job.id)]


async def state(stage: Stage, job: JobOverview) -> list[tuple[str | None, str | None]]:
    return [(row.kind, row.evidence) for row in await report.recipient_page(stage.pool, acting(job.account_id), job.id)]


async def events(stage: Stage, job: JobOverview) -> list[tuple[str, str | None]]:
    trail = await report.trail(stage.pool, acting(job.account_id), job.id)
    return [(one.by, one.reason) for one in trail if one.verb == "settle"]


async def test_those_that_are_assumed_sent_are_sent_by_a_persons_evidence(stage: Stage) -> None:
    job, _ = await doubted(stage)
    told = await decide(stage, job, "assume_sent", note="Zoe has it.")
    assert (told.settled, told.job.sent, told.job.unconfirmed, told.job.unsent, told.continuation) == (3, 3, 0, 2, None)
    assert "gets none" in told.warning
    assert await state(stage, job) == [("sent", "person")] * 3 + [(None, None)] * 2
    assert await events(stage, job) == [("boss", "Assumed sent: 3 unconfirmed. Zoe has it.")]
    (first, *_) = await report.recipient_page(stage.pool, acting(job.account_id), job.id, recipient_class="sent")
    assert (first.attempt_no, first.reply) == (1, "Assumed sent by boss. Zoe has it.")


async def test_some_are_settled_and_the_others_stay_unconfirmed(stage: Stage) -> None:
    job, _ = await doubted(stage)
    told = await decide(stage, job, "assume_sent", 1, 3)
    assert (told.settled, told.job.sent, told.job.unconfirmed) == (2, 2, 1)
    assert (await state(stage, job))[:3] == [("sent", "person"), ("unconfirmed", "connection_lost"), ("sent", "person")]


async def test_in_a_sending_job_those_that_are_sent_again_are_unsent_and_due_now(stage: Stage) -> None:
    job, _ = await doubted(stage)
    told = await decide(stage, job, "send_again")
    assert (told.settled, told.job.unconfirmed, told.job.unsent, told.job.status) == (3, 0, 5, Status.SENDING)
    assert "twice" in told.warning
    assert (await state(stage, job))[:3] == [("released", "person")] * 3
    assert await events(stage, job) == [("boss", "To be sent again: 3 unconfirmed.")]
    async with stage.worker():
        told_at_last = await stage.over(job.account_id, job.id)
    assert (told_at_last.sent, told_at_last.status) == (5, Status.COMPLETED)
    attempts = [row.attempt_no for row in await report.recipient_page(stage.pool, acting(job.account_id), job.id)]
    assert attempts == [2, 2, 2, 1, 1]


async def test_only_a_job_that_is_made_of_them_has_its_message_read_again(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []

    async def message_of(*job: object) -> Never:
        read.append(job[2:])
        raise InvalidInput("read")

    monkeypatch.setattr(settlement, "message_of", message_of)
    job, _ = await doubted(stage)
    await decide(stage, job, "assume_sent", 1)
    await decide(stage, job, "send_again", 2)
    assert read == []
    await finish.cancel(stage.pool, acting(job.account_id, "boss"), job.id)
    with pytest.raises(InvalidInput, match="read"):
        await decide(stage, job, "send_again", 3)
    assert read == [(job.account_id, job.id)]


async def test_a_job_that_ends_while_it_is_decided_on_has_them_sent_again_by_another(
        stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    job, _ = await doubted(stage)
    settled = settlement._settle

    async def cancelled_first(*given: object) -> Settlement:
        monkeypatch.setattr(settlement, "_settle", settled)
        await finish.cancel(stage.pool, acting(job.account_id, "boss"), job.id)
        return await settled(*given)

    monkeypatch.setattr(settlement, "_settle", cancelled_first)
    told = await decide(stage, job, "send_again", 1)
    assert told.continuation is not None
    assert (told.settled, told.continuation.recipient_count) == (1, 1)


async def test_in_a_paused_job_they_are_unsent_and_wait(stage: Stage) -> None:
    job, _ = await doubted(stage, 3, 3)
    await pause(stage.pool, acting(job.account_id, "boss"), job.id)
    told = await decide(stage, job, "send_again", 2)
    assert (told.job.unsent, told.job.unconfirmed, told.job.paused_by) == (1, 2, "boss")


async def test_in_a_job_that_is_over_they_fail_and_a_linked_job_sends_exactly_those(stage: Stage) -> None:
    job, _ = await doubted(stage)
    await finish.cancel(stage.pool, acting(job.account_id, "boss"), job.id)
    told = await decide(stage, job, "send_again", 1, 3)
    made = told.continuation
    assert made is not None
    assert (made.continues, made.continued_class, made.recipient_count) == (job.id, "unconfirmed", 2)
    assert (told.job.failed, told.job.unconfirmed, told.job.unsent, told.job.status) == (2, 1, 2, Status.CANCELLED)
    failed = await report.recipient_page(stage.pool, acting(job.account_id), job.id, recipient_class="failed")
    assert [(row.position, row.evidence, row.reply) for row in failed] == [
        (at, "person", f"Sent again by a person's decision, in job {made.id}.") for at in (1, 3)]
    assert await events(stage, job) == [("boss", f"To be sent again in job {made.id}: 2 unconfirmed.")]
    assert [row.row_no for row in await report.recipient_page(stage.pool, acting(job.account_id), made.id)] == [2, 4]
    other = (await decide(stage, job, "send_again")).continuation
    assert other is not None
    assert other.recipient_count == 1
    said = (await report.report(stage.pool, acting(job.account_id), job.id)).continued_by
    assert [(one.id, one.which) for one in said] == [(made.id, "unconfirmed"), (other.id, "unconfirmed")]


async def test_many_that_are_sent_again_after_the_end_wait_for_an_approval(stage: Stage) -> None:
    job, _ = await doubted(stage, 30, 20, threshold=10)
    await finish.cancel(stage.pool, acting(job.account_id, "boss"), job.id)
    made = (await decide(stage, job, "send_again")).continuation
    assert made is not None
    assert (made.status, made.recipient_count) == (Status.PENDING_APPROVAL, 20)


async def test_one_that_is_not_unconfirmed_is_named_and_nothing_is_done(stage: Stage) -> None:
    job, _ = await doubted(stage)
    for decision in ("assume_sent", "send_again"):
        with pytest.raises(InvalidInput, match=r"no\. 4 is not unconfirmed") as refused:
            await decide(stage, job, decision, 1, 4, 99)
        assert [fault.field for fault in refused.value.faults] == ["positions", "positions"]
    assert (await state(stage, job))[:3] == [("unconfirmed", "connection_lost")] * 3
    assert await events(stage, job) == []


async def test_one_that_is_in_hand_again_is_refused(stage: Stage) -> None:
    job, _ = await doubted(stage, 3, 3)
    await decide(stage, job, "send_again", 1)
    again = await claimed(stage.pool, job.account_id, job.id, "another")
    assert again is not None
    async with stage.pool.connection() as conn:
        taken = await windows.turn_to_retries(conn, again, [], 50)
    assert taken is not None
    with pytest.raises(InvalidInput, match=r"no\. 1 is not unconfirmed, or is in a worker's hands"):
        await decide(stage, job, "assume_sent", 1)


async def test_where_nobody_is_unconfirmed_there_is_nothing_to_settle(stage: Stage) -> None:
    job, _ = await doubted(stage)
    await decide(stage, job, "assume_sent")
    with pytest.raises(Conflict, match=f"Nobody in job {job.id} is unconfirmed"):
        await decide(stage, job, "assume_sent")
    with pytest.raises(InvalidInput, match='not "forget"'):
        await decide(stage, job, "forget")
    with pytest.raises(InvalidInput, match="NUL"):
        await decide(stage, job, "assume_sent", note="a\0")
    with pytest.raises(NotFound):
        await settle(stage.pool, stage.deployment, acting(await stage.account("other"), "boss"), job.id, "assume_sent")


async def test_whom_another_job_sends_again_is_not_continued_with_the_failed(stage: Stage) -> None:
    job, held = await doubted(stage, 5, 2)
    await finish.cancel(stage.pool, acting(job.account_id, "boss"), job.id)
    await decide(stage, job, "send_again")
    with pytest.raises(Conflict, match="no failed recipients"):
        await continue_the_rest(stage.pool, stage.deployment, acting(job.account_id, "boss"), job.id, which="failed")
    for claim, window in held:
        async with stage.pool.connection() as conn:
            await windows.settle_window(conn, claim, window.window_no, [
                Outcome(one.position, 1, Kind.FAILED, Evidence.REPLY, 550, "5.1.1", "No such user") for one in window.recipients])
    with pytest.raises(Conflict, match="no failed recipients"):
        await continue_the_rest(stage.pool, stage.deployment, acting(job.account_id, "boss"), job.id, which="failed")


async def test_who_was_suppressed_since_is_not_sent_again_after_the_end(stage: Stage) -> None:
    job, _ = await doubted(stage, 5, 1)
    await finish.cancel(stage.pool, acting(job.account_id, "boss"), job.id)
    await suppress(stage.pool, acting(job.account_id), ["person1@list.example"])
    with pytest.raises(InvalidInput, match="Nobody is left"):
        await decide(stage, job, "send_again")
    assert (await report.report(stage.pool, acting(job.account_id), job.id)).job.unconfirmed == 1


async def test_the_gateways_own_answer_that_comes_late_stands_above_a_person(stage: Stage) -> None:
    job, held = await doubted(stage)
    await decide(stage, job, "assume_sent")
    for claim, window in held:
        late = [Outcome(1, 1, Kind.FAILED, Evidence.REPLY, 550, "5.1.1", "No such user") if one.position == 1 else one
                for one in all_sent(window)]
        async with stage.pool.connection() as conn:
            await windows.settle_window(conn, claim, window.window_no, late)
    assert (await state(stage, job))[:3] == [("failed", "reply"), ("sent", "reply"), ("sent", "reply")]
    listed = await report.recipient_page(stage.pool, acting(job.account_id), job.id, recipient_class="sent")
    assert [row.position for row in listed] == [2, 3], "each once, and none that is no longer sent"


async def test_who_was_assumed_sent_and_never_got_it_is_unsent_and_continued_alone(stage: Stage) -> None:
    job, held = await doubted(stage)
    await finish.cancel(stage.pool, acting(job.account_id, "boss"), job.id)
    await rest(stage, job, "unsent")
    await decide(stage, job, "assume_sent")
    await comes_to_light(stage.pool, held, Kind.RELEASED)
    assert (await state(stage, job))[:3] == [("released", "worker")] * 3
    told = await report.report(stage.pool, acting(job.account_id), job.id)
    assert told.contradictions == told_of(unsent=3)
    assert told.rests == {"unsent": 3, "failed": 0}
    (listed,) = [one for one in await report.reports(stage.pool, acting(job.account_id)) if one.job.id == job.id]
    assert listed.contradictions == told.contradictions
    assert await rows_of(stage, await rest(stage, job, "unsent")) == [2, 3, 4]
    with pytest.raises(Conflict, match="continues what job"):
        await rest(stage, job, "unsent")


async def test_what_came_to_light_under_a_version_before_is_told_in_its_words(stage: Stage) -> None:
    job, held = await doubted(stage)
    before = "What a person had settled of 3 was otherwise, as is known now: the list shows both."
    async with stage.pool.connection() as conn:
        for _ in range(2):
            await jobs.record_event(conn, job.account_id, job.id, "contradict", by=acting(job.account_id, "postroom"),
                                    reason=before)
    await decide(stage, job, "assume_sent")
    await comes_to_light(stage.pool, held, Kind.RELEASED)
    assert (await report.report(stage.pool, acting(job.account_id), job.id)).contradictions == (before, *told_of(unsent=3))


async def test_in_a_completed_job_who_never_got_it_is_failed_and_continued_alone(stage: Stage) -> None:
    job, held = await doubted(stage, 3)
    await decide(stage, job, "assume_sent")
    await recover.sweep(stage.pool, give_up_s=60, lease_s=30)
    await comes_to_light(stage.pool, held, Kind.RELEASED)
    told = await report.report(stage.pool, acting(job.account_id), job.id)
    assert (told.job.status, told.job.failed, told.rests["failed"]) == (Status.COMPLETED, 3, 3)
    assert told.contradictions == told_of(failed=3)
    assert await rows_of(stage, await rest(stage, job, "failed")) == [2, 3, 4]


async def test_in_a_sending_job_who_never_got_it_gets_it_from_that_job(stage: Stage) -> None:
    job, held = await doubted(stage)
    await decide(stage, job, "assume_sent")
    await comes_to_light(stage.pool, held, Kind.RELEASED)
    assert (await report.report(stage.pool, acting(job.account_id), job.id)).contradictions == told_of(unsent=3)
    async with stage.worker():
        assert (await stage.over(job.account_id, job.id)).sent == 5
    assert [row.attempt_no for row in await report.recipient_page(stage.pool, acting(job.account_id), job.id)] == [2, 2, 2, 1, 1]


async def test_who_had_it_before_another_job_sent_it_again_is_sent_and_may_have_it_twice(stage: Stage) -> None:
    job, held = await doubted(stage, 5, 2)
    await book_first(stage.pool, job.account_id, job.id, {3: Outcome(3, 1, Kind.FAILED, Evidence.REPLY, 550, "5.1.1", "No")})
    await finish.cancel(stage.pool, acting(job.account_id, "boss"), job.id)
    await decide(stage, job, "send_again")
    await comes_to_light(stage.pool, held, Kind.SENT)
    assert (await state(stage, job))[:3] == [("sent", "reply")] * 2 + [("failed", "reply")]
    told = await report.report(stage.pool, acting(job.account_id), job.id)
    assert told.contradictions == told_of(sent=2, twice=2)
    assert told.rests == {"unsent": 2, "failed": 1}, "whom the other job has taken up is no rest of this one"
    assert await rows_of(stage, await rest(stage, job, "failed")) == [4]


async def test_of_those_who_had_it_before_only_whom_a_continuation_took_up_may_have_it_twice(stage: Stage) -> None:
    job, held = await doubted(stage, 5, 2)
    await decide(stage, job, "send_again", 1)
    await finish.cancel(stage.pool, acting(job.account_id, "boss"), job.id)
    await rest(stage, job, "unsent")
    await decide(stage, job, "assume_sent", 2)
    await comes_to_light(stage.pool, held, Kind.SENT)
    told = await report.report(stage.pool, acting(job.account_id), job.id)
    assert told.contradictions == told_of(sent=1, twice=1)
    assert (told.job.sent, told.rests) == (2, {"unsent": 0, "failed": 0})


async def test_the_same_request_again_settles_nothing_more(stage: Stage) -> None:
    job, _ = await doubted(stage)
    await finish.cancel(stage.pool, acting(job.account_id, "boss"), job.id)
    key = IdempotencyKey("once", bytes(32))
    first = await decide(stage, job, "send_again", 1, idempotency=key)
    again = await decide(stage, job, "send_again", 1, idempotency=key)
    assert (first.settled, again.settled) == (1, 0)
    assert (again.job, again.continuation) == (first.job, first.continuation)


async def test_of_two_who_decide_at_once_one_does(stage: Stage) -> None:
    job, _ = await doubted(stage)
    answers = await at_once(*[lambda decision=decision: decide(stage, job, decision) for decision in
                              ("assume_sent", "send_again", "assume_sent")])
    assert sum(isinstance(one, Settlement) for one in answers) == 1, answers
    assert sum(isinstance(one, Conflict) for one in answers) == 2, answers


async def test_a_decision_and_the_end_of_the_job_at_once_lose_nobody(stage: Stage) -> None:
    for n in range(10):
        job, _ = await doubted(stage, 3, 3, name=f"Club {n}")
        decided, _ = await at_once(lambda job=job: decide(stage, job, "send_again"),
                                   lambda job=job: recover.sweep(stage.pool, give_up_s=60, lease_s=30))
        assert isinstance(decided, Settlement), decided
        now = (await report.report(stage.pool, acting(job.account_id), job.id)).job
        if now.status is Status.COMPLETED:
            assert decided.continuation is not None
            assert (now.failed, decided.continuation.recipient_count) == (3, 3)
        else:
            assert (now.status, now.unsent, decided.continuation) == (Status.SENDING, 3, None)
