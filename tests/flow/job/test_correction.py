"""A job that is changed before it is sent: another one takes its place, so that nobody of them is mailed in both."""

from __future__ import annotations

from typing import Any

import pytest

from acting import acting
from postroom.errors import Conflict
from postroom.flow.audience.suppressions import suppress
from postroom.flow.job import finish, report
from postroom.flow.job.approve import approve
from postroom.flow.job.continuation import continue_the_rest
from postroom.ledger.job.jobs import Continuation, JobOverview
from proofs.races import at_once
from stage import CONTENT, Stage, Submission, rows, submit


async def at_gate(stage: Stage, account: int, count: int = 9) -> JobOverview:
    return await stage.checked(account, count, waits_at_gate=True)


async def dropped(stage: Stage, job: JobOverview) -> None:
    await finish.cancel_at_gate(stage.pool, acting(job.account_id, "boss"), job.id, note="Changed before it was sent.")


async def changed(stage: Stage, job: JobOverview, **options: Any) -> JobOverview:
    """As the form does it, with the list of the job or another one."""
    new_list = options.pop("list", None)
    made = await submit(stage.pool, stage.deployment, Submission(
        acting(job.account_id, "boss"), CONTENT, waits_at_gate=True, corrects=job.id, list_of=None if new_list else job.id,
        **options),
        new_list)
    await stage.check(made)
    return made


async def continued(stage: Stage, job: JobOverview, which: str = "unsent", **options: Any) -> JobOverview:
    return await continue_the_rest(stage.pool, stage.deployment, acting(job.account_id, "boss"), job.id, which=which, **options)


async def told(stage: Stage, job: JobOverview) -> report.JobReport:
    return await report.report(stage.pool, acting(job.account_id), job.id)


@pytest.mark.parametrize("with_new_list", [False, True])
async def test_a_job_that_was_changed_names_the_one_that_took_its_place_and_has_no_rest(
        stage: Stage, with_new_list: bool) -> None:
    account = await stage.account()
    first = await at_gate(stage, account)
    await dropped(stage, first)
    assert (await told(stage, first)).rests["unsent"] == 9, "until there is another one, this one can be continued"
    second = await changed(stage, first, list=rows(9) if with_new_list else None)
    then, now = await told(stage, first), await told(stage, second)
    assert (then.correction.corrected_by, now.correction.corrects) == (second.id, first.id)
    assert then.rests == {"unsent": 0, "failed": 0}
    assert [one.correction for one in await report.reports(stage.pool, acting(account))] == [now.correction, then.correction]
    await approve(stage.pool, acting(account, "boss"), second.id, digest=second.digest)
    with pytest.raises(Conflict, match=f"job {second.id} took its place") as refused:
        await continued(stage, first)
    assert refused.value.job_id == second.id
    async with stage.worker():
        await stage.over(account, second.id)
    assert len(await report.history(stage.pool, acting(account))) == 2


async def test_where_the_one_that_took_the_place_was_cancelled_too_the_newest_is_continued(stage: Stage) -> None:
    account = await stage.account()
    first = await at_gate(stage, account)
    await dropped(stage, first)
    second = await changed(stage, first)
    await finish.cancel(stage.pool, acting(account, "boss"), second.id)
    assert [(await told(stage, one)).rests["unsent"] for one in (first, second)] == [0, 9]
    third = await changed(stage, first)
    assert (await told(stage, third)).correction.corrects == second.id, "it stands behind the second one"
    with pytest.raises(Conflict, match=f"job {third.id} took its place"):
        await continued(stage, second)
    await finish.cancel(stage.pool, acting(account, "boss"), third.id)
    assert (await continued(stage, third)).recipient_count == 9


async def test_of_the_jobs_that_came_of_one_form_only_one_can_be_sent(stage: Stage) -> None:
    account = await stage.account()
    first = await at_gate(stage, account)
    await dropped(stage, first)
    outcomes = await at_once(*(lambda: changed(stage, first) for _ in range(3)))
    assert sorted(type(one).__name__ for one in outcomes) == ["Conflict", "Conflict", "JobOverview"]
    (made,) = [one for one in outcomes if isinstance(one, JobOverview)]
    with pytest.raises(Conflict, match=f"Job {made.id} took the place of job {first.id} and is Pending approval. Cancel"):
        await changed(stage, first, list=rows(9))


async def test_what_is_continued_already_is_changed_no_more(stage: Stage) -> None:
    account = await stage.account()
    first = await at_gate(stage, account)
    await dropped(stage, first)
    made = await continued(stage, first, waits_at_gate=True)
    with pytest.raises(Conflict, match=f"Job {made.id} continues what job {first.id} left unsent"):
        await changed(stage, first)


async def test_a_continuation_that_is_changed_stays_one_and_the_first_job_names_the_newest(stage: Stage) -> None:
    account = await stage.account()
    first = await at_gate(stage, account)
    await finish.cancel(stage.pool, acting(account, "boss"), first.id)
    await suppress(stage.pool, acting(account), ["person4@list.example"], reason="Asked by letter.")
    second = await continued(stage, first, waits_at_gate=True)
    assert second.recipient_count == 8
    await dropped(stage, second)
    third = await changed(stage, second)
    assert (third.continues, third.continued_class, third.recipient_count) == (first.id, "unsent", 8)
    now = await told(stage, first)
    assert now.continued_by == (Continuation(third.id, "unsent", 9),), "with the one that was left out of the second"
    assert now.rests["unsent"] == 0
    with pytest.raises(Conflict, match=f"Job {third.id} continues what job {first.id} left unsent"):
        await continued(stage, first)


async def test_what_is_like_a_job_that_was_sent_takes_no_place(stage: Stage) -> None:
    account = await stage.account()
    async with stage.worker():
        job = await stage.started(account, 3)
        await stage.over(account, job.id)
    made = await changed(stage, job)
    assert (await told(stage, made)).correction.corrects is None
