"""A gateway that refuses for good, and does not say whom it is about: nobody fails by what is about us, and nobody is left over
by what is about them."""

from __future__ import annotations

import pytest

from acting import acting
from postroom.domain.job import Status
from postroom.flow.account import accounts
from postroom.flow.job import report
from postroom.flow.job.finish import cancel
from postroom.gateway.sandbox.providers import REFUSALS, script_of
from postroom.gateway.sandbox.script import Answer, Refusal, Script
from stage import Stage, eventually, staged

COUNT = 200
LOGIN = ("club", "open sesame")


async def waits(stage: Stage, account: int, job_id: int) -> str:
    """What the page says once the job waits and everybody is unsent."""
    async def told() -> str | None:
        view = await report.report(stage.pool, acting(account), job_id)
        assert (view.job.failed, view.job.unconfirmed) == (0, 0)
        return view.sentence if view.job.waits_because and view.job.in_hand == 0 else None
    sentence: str = await eventually(told)
    return sentence


@pytest.mark.parametrize("name", [name for name, refusal in REFUSALS.items() if refusal.about == "us"])
async def test_what_is_about_us_fails_nobody_whoever_it_is_said_to_and_all_are_sent_when_it_is_over(
        pool, database, name: str) -> None:
    async with staged(pool, database, script_of(name), credentials=LOGIN) as stage:
        account = await stage.account(login=LOGIN)
        async with stage.worker():
            job = await stage.started(account, COUNT)
            assert REFUSALS[name].reply[4:] in await waits(stage, account, job.id)
            stage.sandbox.script = Script()
            assert (await stage.over(account, job.id)).status is Status.COMPLETED
        assert (await stage.sides(account, job.id)).counts == (COUNT, 0, 0, 0, 0)


@pytest.mark.parametrize("name", [name for name, refusal in REFUSALS.items() if refusal.about == "pace"])
async def test_what_is_about_the_pace_slows_the_job_and_fails_nobody(stage: Stage, name: str) -> None:
    stage.sandbox.script = script_of(name)
    account = await stage.account()
    async with stage.worker():
        job = await stage.started(account, COUNT)
        assert REFUSALS[name].reply[4:] in await waits(stage, account, job.id)
        await cancel(stage.pool, acting(account, "boss"), job.id)
    assert (await stage.sides(account, job.id)).counts == (0, 0, 0, 0, COUNT)


@pytest.mark.parametrize("name", [name for name, refusal in REFUSALS.items() if refusal.about == "them"])
async def test_what_is_about_them_leaves_nobody_waiting(stage: Stage, name: str) -> None:
    stage.sandbox.script = script_of(name)
    account = await stage.account()
    await accounts.change_account(stage.pool, acting(account), retry_attempts_max=3)  # a full mailbox is tried again
    async with stage.worker():
        job = await stage.started(account, COUNT)
        assert (await stage.over(account, job.id)).status is Status.COMPLETED
    assert (await stage.sides(account, job.id)).counts == (0, COUNT, 0, 0, 0)


@pytest.mark.parametrize("name", [name for name, refusal in REFUSALS.items() if refusal.about == "message"])
async def test_what_is_about_the_message_fails_the_job_and_leaves_everybody_unsent(stage: Stage, name: str) -> None:
    stage.sandbox.script = script_of(name)
    account = await stage.account()
    async with stage.worker():
        job = await stage.started(account, COUNT)
        over = await stage.over(account, job.id)
    assert (over.status, REFUSALS[name].reply[4:] in (over.reason or "")) == (Status.FAILED, True)
    assert (await stage.sides(account, job.id)).counts == (0, 0, 0, 0, COUNT)


async def test_a_limit_that_is_met_in_the_middle_fails_nobody(stage: Stage) -> None:
    stage.sandbox.script = Script(dot=Answer(delay_s=0.005))
    account = await stage.account()
    async with stage.worker():
        job = await stage.started(account, COUNT)
        await stage.until_accepted(60)
        stage.sandbox.script = Script(rcpt=Answer(permanent=1.0, permanent_reply="550 You have sent too much"))
        await waits(stage, account, job.id)
        stage.sandbox.script = Script()
        assert (await stage.over(account, job.id)).status is Status.COMPLETED
    assert (await stage.sides(account, job.id)).counts == (COUNT, 0, 0, 0, 0)


async def test_whoever_is_refused_among_others_who_are_accepted_fails_with_the_gateways_words(stage: Stage) -> None:
    theirs = {f"person{n}@list.example": Refusal("rcpt", 550, "5.7.1 We do not want your mail") for n in range(3, 200, 10)}
    stage.sandbox.script = Script(refuse=theirs, dot=Answer(delay_s=0.005))
    account = await stage.account()
    async with stage.worker():
        job = await stage.started(account, COUNT)
        assert (await stage.over(account, job.id)).status is Status.COMPLETED
    sides = await stage.sides(account, job.id)
    assert sides.counts == (COUNT - len(theirs), len(theirs), 0, 0, 0)
    assert all("5.7.1 We do not want your mail" in (told.reply or "") for told in sides.told.values() if told.kind == "failed")


ONLY_TO_ONE = [Refusal("rcpt", 501, "malformed address"), Refusal("rcpt", 550, "5.7.25 the host of that address said: no PTR"),
               Refusal("dot", 550, "5.7.3 authentication required to send to this group"),
               Refusal("dot", 550, "5.7.26 unauthenticated"), Refusal("rcpt", 503, "not now")]


@pytest.mark.parametrize("refusal", ONLY_TO_ONE)
async def test_what_is_said_to_one_while_others_are_accepted_is_about_that_one_whatever_it_sounds_like(
        stage: Stage, refusal: Refusal) -> None:
    stage.sandbox.script = Script(refuse={"person7@list.example": refusal})
    account = await stage.account(connections=1)
    await accounts.change_account(stage.pool, acting(account), retry_attempts_max=3)
    async with stage.worker():
        job = await stage.started(account, 20)
        assert (await stage.over(account, job.id)).status is Status.COMPLETED
    sides = await stage.sides(account, job.id)
    assert sides.counts == (19, 1, 0, 0, 0)
    assert [refusal.text in (told.reply or "") for told in sides.told.values() if told.kind == "failed"] == [True]


@pytest.mark.parametrize("refusal", [Refusal("rcpt", 421, "4.7.0 not now"), Refusal("dot", 451, "4.7.1 try later"),
                                     Refusal("rcpt", 452, "4.3.1 no space")])
async def test_one_whom_the_gateway_puts_off_for_ever_ends_with_the_jobs_tail_whatever_it_says(
        stage: Stage, refusal: Refusal) -> None:
    stage.sandbox.script = Script(refuse={"person7@list.example": refusal})
    account = await stage.account(connections=1)
    await accounts.change_account(stage.pool, acting(account), retry_tail_s=2)
    async with stage.worker():
        job = await stage.started(account, 20)
        assert (await stage.over(account, job.id)).status is Status.COMPLETED
    assert (await stage.sides(account, job.id)).counts == (19, 1, 0, 0, 0)


async def test_addresses_in_front_that_are_refused_keep_nobody_behind_them_from_getting_it(stage: Stage) -> None:
    dead = range(1, 13)
    stage.sandbox.script = Script(refuse={f"person{n}@list.example": Refusal("rcpt", 550, "Unrouteable address") for n in dead})
    account = await stage.account(connections=1)
    async with stage.worker():
        job = await stage.started(account, 20)
        await stage.until_accepted(8)
        await cancel(stage.pool, acting(account, "boss"), job.id)
        await stage.over(account, job.id)
    assert (await stage.sides(account, job.id)).counts[0] == 8


@pytest.mark.parametrize("count", [1, 4])
async def test_a_few_of_whom_nothing_else_is_known_fail_at_their_second_refusal(stage: Stage, count: int) -> None:
    stage.sandbox.script = Script(rcpt=Answer(permanent=1.0, permanent_reply="550 We do not want your mail"))
    account = await stage.account()
    async with stage.worker():
        job = await stage.started(account, count)
        assert (await stage.over(account, job.id)).status is Status.COMPLETED
    assert (await stage.sides(account, job.id)).counts == (0, count, 0, 0, 0)


async def test_what_each_worker_saw_too_little_of_is_seen_by_all_together(stage: Stage) -> None:
    """None of them saw five, and yet nobody's second refusal is the last."""
    stage.sandbox.script = Script(rcpt=Answer(permanent=1.0, permanent_reply="550 We do not want your mail"))
    account = await stage.account(connections=1)
    job = await stage.started(account, 6)
    for _ in range(2):
        for _ in await stage.query("SELECT FROM chunk"):  # each by a worker of its own
            async with stage.deliveries() as deliveries:
                deliveries.retry_base_s = 60
                await deliveries.deliver(account, job.id)
        await stage.query("UPDATE retry SET not_before = now() RETURNING 1")
        await stage.query("UPDATE chunk SET available_at = NULL RETURNING 1")
    view = (await report.report(stage.pool, acting(account), job.id)).job
    assert (view.failed, view.unsent) == (0, 6)
