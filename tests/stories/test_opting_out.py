"""Who opts out after the freeze is skipped, within a window, and the count stays what was approved."""

from __future__ import annotations

import asyncio

from acting import acting
from postroom.domain.job import Status
from postroom.flow.audience.suppressions import suppress
from postroom.flow.job.approve import approve
from postroom.gateway.sandbox.script import Answer, Refusal, Script
from stage import Stage, eventually

COUNT = 400


async def test_an_opt_out_in_the_middle_of_a_send_is_honoured_within_a_window(stage: Stage) -> None:
    stage.sandbox.script = Script(dot=Answer(delay_s=0.005))
    account = await stage.account(connections=2)
    leaving = set(range(1, COUNT + 1, 2))
    async with stage.worker():
        job = await stage.started(account, COUNT)
        await stage.until_accepted(50)
        await suppress(stage.pool, acting(account), [f"Person{n}@LIST.example" for n in leaving], reason="Opted out.")
        await asyncio.sleep(0.05)  # a statement that was under way may not have seen it
        held = {row[0] for row in await stage.query("SELECT unnest(positions) FROM hand_off_window WHERE job_id = %s", job.id)}
        await stage.over(account, job.id)
    sides = await stage.sides(account, job.id)
    skipped = sides.positions("skipped")
    assert (sides.numbers.status, sides.numbers.recipient_count) == (Status.COMPLETED, COUNT)
    assert sides.counts == (COUNT - len(skipped), 0, len(skipped), 0, 0)
    assert leaving - held == skipped, "whoever no window had held by then is skipped, and nobody else"
    assert skipped
    assert {sides.told[position][2:] for position in skipped} == {("suppression", None, "Opted out.")}


async def test_an_opt_out_before_the_approval_is_skipped_and_one_before_the_freeze_is_not_counted(stage: Stage) -> None:
    account = await stage.account()
    await suppress(stage.pool, acting(account), ["person1@list.example"])
    job = await stage.checked(account, 101)
    assert (job.recipient_count, job.excluded_suppressed) == (100, 1)
    await suppress(stage.pool, acting(account), ["person2@list.example"])
    async with stage.worker():
        await approve(stage.pool, acting(account, "boss"), job.id, digest=job.digest)
        await stage.over(account, job.id)
    assert (await stage.sides(account, job.id)).counts == (99, 0, 1, 0, 0)


async def test_an_opt_out_between_two_attempts_is_honoured(stage: Stage) -> None:
    stage.sandbox.script = Script(refuse={"person1@list.example": Refusal("rcpt", 450, "4.2.1 Mailbox busy")})
    account = await stage.account()
    async with stage.worker(retry_base_s=0.5):
        job = await stage.started(account, 2)
        await eventually(lambda: stage.query("SELECT 1 FROM outcome WHERE job_id = %s AND kind = 'refused'", job.id))
        await suppress(stage.pool, acting(account), ["person1@list.example"])
        await stage.over(account, job.id)
    sides = await stage.sides(account, job.id)
    assert sides.counts == (1, 0, 1, 0, 0)
    assert sides.told[1].attempt_no >= 2


async def test_a_job_of_which_everybody_opted_out_completes_without_a_connection(stage: Stage) -> None:
    account = await stage.account()
    job = await stage.checked(account, 100)
    await suppress(stage.pool, acting(account), [f"person{n}@list.example" for n in range(1, 101)])
    async with stage.worker():
        await approve(stage.pool, acting(account, "boss"), job.id, digest=job.digest)
        await stage.over(account, job.id)
    assert (await stage.sides(account, job.id)).counts == (0, 0, 100, 0, 0)
    assert stage.sandbox.accepted == 0
